package stream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Rebuilt names one log thrown away by Rebuild.
type Rebuilt struct {
	Stream   string
	Messages uint64
	Through  uint64 // INGEST stood at this root
}

// Rebuild throws a derived log and all that derives from it away, with the
// snapshots of the stages that write them. Running stages notice and derive the
// same bytes again from INGEST; readers that are ahead wait for them.
func (b *Broker) Rebuild(ctx context.Context, log LogName, blobs Blobs) ([]Rebuilt, error) {
	spec, ok := Spec(log)
	if !ok {
		return nil, fmt.Errorf("rebuild %s: no such log; see `edgepulse topology`", log)
	}
	if spec.Truth {
		return nil, fmt.Errorf("rebuild %s: it is a log of truth and can't be derived from anything", log)
	}
	var done []Rebuilt
	for p := range b.cfg.Partitions {
		ingest, err := b.js.Stream(ctx, StreamName(Ingest, p))
		if err != nil {
			return done, fmt.Errorf("look up %s: %w", StreamName(Ingest, p), err)
		}
		st := ingest.CachedInfo().State
		if st.FirstSeq > 1 {
			return done, fmt.Errorf("rebuild %s: %s begins at root %d, older roots are in the archive only; replay them into a recovered INGEST first",
				log, StreamName(Ingest, p), st.FirstSeq)
		}
		// The farthest log first: nothing is derived from a log that is about to go.
		logs := Downstream(log)
		slices.Reverse(logs)
		for _, l := range logs {
			r, err := b.throwAway(ctx, l, p, ingest, blobs)
			if err != nil {
				return done, err
			}
			done = append(done, r)
		}
	}
	return done, nil
}

// throwAway marks, un-snapshots and empties one stream, in this order: a reader
// that meets the emptied log must find the mark. The mark stays open until then.
// Stages are at work meanwhile: how far the log had been read at most is known
// when it is empty.
func (b *Broker) throwAway(ctx context.Context, log LogName, p int, ingest jetstream.Stream, blobs Blobs) (Rebuilt, error) {
	name := StreamName(log, p)
	s, err := b.js.Stream(ctx, name)
	if err != nil {
		return Rebuilt{}, fmt.Errorf("look up %s: %w", name, err)
	}
	info := s.CachedInfo()
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return Rebuilt{}, fmt.Errorf("draw id: %w", err)
	}
	mark := rebuildMark{ID: fmt.Sprintf("%x", id), At: time.Now().UTC(), Open: true}
	if err := b.markRebuild(ctx, info.Config, mark); err != nil {
		return Rebuilt{}, err
	}
	spec, _ := Spec(log)
	prefix := snapshotPrefix(spec.Writer, p)
	names, err := blobs.List(ctx, prefix)
	if err != nil {
		return Rebuilt{}, fmt.Errorf("list snapshots: %w", err)
	}
	for _, n := range names {
		if err := blobs.Delete(ctx, n); err != nil {
			return Rebuilt{}, fmt.Errorf("delete snapshot: %w", err)
		}
	}
	if err := s.Purge(ctx); err != nil {
		return Rebuilt{}, fmt.Errorf("purge %s: %w", name, err)
	}
	truth, err := ingest.Info(ctx)
	if err != nil {
		return Rebuilt{}, fmt.Errorf("look up %s: %w", StreamName(Ingest, p), err)
	}
	mark.Open, mark.Through = false, truth.State.LastSeq
	if err := b.markRebuild(ctx, info.Config, mark); err != nil {
		return Rebuilt{}, err
	}
	return Rebuilt{Stream: name, Messages: info.State.Msgs, Through: mark.Through}, nil
}

func (b *Broker) markRebuild(ctx context.Context, cfg jetstream.StreamConfig, mark rebuildMark) error {
	encoded, err := json.Marshal(mark)
	if err != nil {
		return fmt.Errorf("encode mark: %w", err)
	}
	cfg.Metadata[rebuildKey] = string(encoded)
	if _, err := b.js.UpdateStream(ctx, cfg); err != nil {
		return fmt.Errorf("mark %s: %w", cfg.Name, err)
	}
	return nil
}
