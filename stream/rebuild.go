package stream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Rebuilt names one log thrown away by Rebuild.
type Rebuilt struct {
	Stream   string
	Messages uint64
	From     uint64 // derived again after this root; 0 = from the first
	Through  uint64 // INGEST stood at this root
}

// Standing is how far somebody who reads a log, and is not rebuilt with it, has
// come: its projection. ok is false where that is not known or there is none.
type Standing func(log LogName, partition int) (root uint64, ok bool)

// ErrNoSeed says that a log can't be derived again from what is retained.
var ErrNoSeed = errors.New("nothing is retained that it could be derived from")

// Rebuild throws a derived log and all that derives from it away, with the
// snapshots of the stages that write them. Running stages notice and derive the
// same bytes again; readers that are ahead wait for them. Where the log that is
// read begins at root 1 all of it is derived again, otherwise what follows a
// retained snapshot of every stage. readers may be nil.
func (b *Broker) Rebuild(ctx context.Context, log LogName, blobs Blobs, readers Standing) ([]Rebuilt, error) {
	spec, ok := Spec(log)
	if !ok {
		return nil, fmt.Errorf("rebuild %s: no such log; see `edgepulse topology`", log)
	}
	if spec.Truth {
		return nil, fmt.Errorf("rebuild %s: it is a log of truth and can't be derived from anything", log)
	}
	logs := Downstream(log)
	var done []Rebuilt
	for p := range b.cfg.Partitions {
		ingest, err := b.js.Stream(ctx, StreamName(Ingest, p))
		if err != nil {
			return done, fmt.Errorf("look up %s: %w", StreamName(Ingest, p), err)
		}
		// First the marks, then the look at what is left: the janitor announces a cut
		// before it makes one, and makes none while a mark is open.
		marks := map[LogName]rebuildMark{}
		for _, l := range logs {
			if marks[l], err = b.openRebuild(ctx, l, p); err != nil {
				return done, err
			}
		}
		seeds, err := b.rebuildSeeds(ctx, spec.From, logs, p, blobs, readers, marks)
		if err != nil {
			return done, errors.Join(fmt.Errorf("rebuild %s: %w", log, err), b.closeRebuilds(ctx, p, marks))
		}
		// The farthest log first: nothing is derived from a log that is about to go.
		for _, l := range slices.Backward(logs) {
			r, err := b.throwAway(ctx, l, p, ingest, blobs, marks[l], seeds[l])
			if err != nil {
				return done, err
			}
			done = append(done, r)
		}
	}
	return done, nil
}

// openRebuild marks a log as about to be emptied.
func (b *Broker) openRebuild(ctx context.Context, log LogName, p int) (rebuildMark, error) {
	s, err := b.js.Stream(ctx, StreamName(log, p))
	if err != nil {
		return rebuildMark{}, fmt.Errorf("look up %s: %w", StreamName(log, p), err)
	}
	cfg := s.CachedInfo().Config
	before := rebuildOf(cfg)
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return rebuildMark{}, fmt.Errorf("draw id: %w", err)
	}
	mark := rebuildMark{ID: fmt.Sprintf("%x", id), At: time.Now().UTC(), Open: true, Before: []string{before.ID}, was: &before}
	if before.Open {
		// One that did not come to its end: it may have moved the snapshots already, or not.
		mark.Before = append(mark.Before, before.Before...)
	}
	return mark, b.markRebuild(ctx, cfg, mark)
}

// closeRebuilds takes back the marks on logs that were not touched. One that an
// unfinished rebuild left open stays open.
func (b *Broker) closeRebuilds(ctx context.Context, p int, marks map[LogName]rebuildMark) error {
	var errs []error
	for l, mark := range marks {
		if mark.was.Open {
			continue
		}
		s, err := b.js.Stream(ctx, StreamName(l, p))
		if err == nil {
			err = b.markRebuild(ctx, s.CachedInfo().Config, *mark.was)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// rebuildSeeds finds where the folds of a rebuild begin: nowhere (nil) while the
// log they read is whole, otherwise at a retained snapshot of each stage, none
// newer than that of the stage behind it or than a reader that stays.
func (b *Broker) rebuildSeeds(ctx context.Context, from LogName, logs []LogName, p int, blobs Blobs, readers Standing, marks map[LogName]rebuildMark) (map[LogName]*snapshot, error) {
	begin, err := b.Beginning(ctx, from, p)
	if err != nil || begin == 0 {
		return nil, err
	}
	limit := uint64(math.MaxUint64)
	for _, l := range logs {
		if readers == nil {
			break
		}
		if root, ok := readers(l, p); ok {
			limit = min(limit, root)
		}
	}
	sent, _, err := b.lastMark(ctx, Deliveries, p)
	if err != nil {
		return nil, err
	}
	if sent.seq != 0 {
		limit = min(limit, sent.to)
	}
	seeds := map[LogName]*snapshot{}
	for _, l := range slices.Backward(logs) {
		spec, _ := Spec(l)
		var chain []*snapshot
		for _, generation := range marks[l].Before {
			chain, err = newSnapshotStore(blobs, spec.Writer, p, generation).newestChain(ctx, limit)
			if err != nil {
				return nil, fmt.Errorf("read snapshots of the %s: %w", spec.Writer, err)
			}
			if chain != nil {
				break
			}
		}
		if chain == nil {
			last, _, err := b.lastMark(ctx, l, p)
			if err != nil {
				return nil, err
			}
			if last.to == 0 {
				continue // nobody has derived anything there yet
			}
			return nil, fmt.Errorf("%w: %s begins after root %d, and the %s has no snapshot at or below root %d; `edgepulse replay` derives older roots from the archive",
				ErrNoSeed, StreamName(from, p), begin, spec.Writer, limit)
		}
		last := chain[len(chain)-1]
		seeds[l] = &snapshot{foldVersion: last.foldVersion, kind: kindBase, root: last.root, digest: last.digest, records: mergeRecords(chain)}
		limit = last.root
	}
	if limit < begin {
		return nil, fmt.Errorf("%w: %s begins after root %d, the newest snapshots that fit end at root %d", ErrNoSeed, StreamName(from, p), begin, limit)
	}
	return seeds, nil
}

// Beginning is the root after which a log is whole, and stays so.
func (b *Broker) Beginning(ctx context.Context, log LogName, p int) (uint64, error) {
	cuts, err := b.Announced(ctx, p)
	if err != nil {
		return 0, err
	}
	s, err := b.js.Stream(ctx, StreamName(log, p))
	if err != nil {
		return 0, fmt.Errorf("look up %s: %w", StreamName(log, p), err)
	}
	st := s.CachedInfo().State
	if spec, _ := Spec(log); spec.Truth {
		return max(cuts[log], max(1, st.FirstSeq)-1), nil
	}
	if st.Msgs == 0 {
		return cuts[log], nil
	}
	_, c, err := b.markAt(ctx, s, log, p, st.FirstSeq)
	if err != nil {
		return 0, err
	}
	return max(cuts[log], c.From), nil
}

// throwAway un-snapshots and empties one stream that is marked: a reader that
// meets the emptied log must find the mark. The mark stays open until then.
// Stages are at work meanwhile: how far the log had been read at most is known
// when it is empty.
func (b *Broker) throwAway(ctx context.Context, log LogName, p int, ingest jetstream.Stream, blobs Blobs, mark rebuildMark, seed *snapshot) (Rebuilt, error) {
	name := StreamName(log, p)
	s, err := b.js.Stream(ctx, name)
	if err != nil {
		return Rebuilt{}, fmt.Errorf("look up %s: %w", name, err)
	}
	info := s.CachedInfo()
	spec, _ := Spec(log)
	if err := moveSnapshots(ctx, blobs, spec.Writer, p, mark.ID, seed); err != nil {
		return Rebuilt{}, err
	}
	if err := s.Purge(ctx); err != nil {
		return Rebuilt{}, fmt.Errorf("purge %s: %w", name, err)
	}
	done := Rebuilt{Stream: name, Messages: info.State.Msgs}
	if seed != nil {
		done.From = seed.root
		if err := b.beginAt(ctx, log, p, ShadowLog{After: seed.root, Version: seed.foldVersion}); err != nil {
			return Rebuilt{}, err
		}
	}
	truth, err := ingest.Info(ctx)
	if err != nil {
		return Rebuilt{}, fmt.Errorf("look up %s: %w", StreamName(Ingest, p), err)
	}
	mark.Open, mark.Before, mark.Through = false, nil, truth.State.LastSeq
	if err := b.markRebuild(ctx, info.Config, mark); err != nil {
		return Rebuilt{}, err
	}
	done.Through = mark.Through
	return done, nil
}

// moveSnapshots leaves a stage's partition nothing but the seed, in the new generation.
func moveSnapshots(ctx context.Context, blobs Blobs, writer string, p int, generation string, seed *snapshot) error {
	st, keep := newSnapshotStore(blobs, writer, p, generation), ""
	if seed != nil {
		if err := st.create(ctx, seed, seed.encode()); err != nil {
			return err
		}
		keep = st.name(seed.root, kindBase)
	}
	names, err := blobs.List(ctx, snapshotPrefix(writer, p))
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	for _, n := range names {
		if n == keep {
			continue
		}
		if err := blobs.Delete(ctx, n); err != nil {
			return fmt.Errorf("delete snapshot: %w", err)
		}
	}
	return nil
}

func (b *Broker) markRebuild(ctx context.Context, cfg jetstream.StreamConfig, mark rebuildMark) error {
	encoded, err := json.Marshal(mark)
	if err != nil {
		return fmt.Errorf("encode mark: %w", err)
	}
	cfg.Metadata[rebuildKey] = string(encoded)
	if mark.ID == "" {
		delete(cfg.Metadata, rebuildKey) // it never was rebuilt
	}
	if _, err := b.js.UpdateStream(ctx, cfg); err != nil {
		return fmt.Errorf("mark %s: %w", cfg.Name, err)
	}
	return nil
}
