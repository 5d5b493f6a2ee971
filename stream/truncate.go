package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// cutKey is the stream metadata of INGEST in which the janitor says how far it
// may cut the logs of a partition: before it does, so that a rebuild knows what
// it can still count on.
const cutKey = "edgepulse_cut"

// Cuts are roots by log (of DELIVERIES its own sequences): what stands at or
// below them may be gone at any moment.
type Cuts map[LogName]uint64

func cutsOf(cfg jetstream.StreamConfig) Cuts {
	c := Cuts{}
	_ = json.Unmarshal([]byte(cfg.Metadata[cutKey]), &c) // absent = nothing was ever cut
	return c
}

// Announced reads the cuts of a partition.
func (b *Broker) Announced(ctx context.Context, partition int) (Cuts, error) {
	s, err := b.js.Stream(ctx, StreamName(Ingest, partition))
	if err != nil {
		return nil, fmt.Errorf("look up log %s: %w", StreamName(Ingest, partition), err)
	}
	return cutsOf(s.CachedInfo().Config), nil
}

// Announce says that the logs of a partition may be cut up to these roots. Only
// the janitor writes it.
func (b *Broker) Announce(ctx context.Context, partition int, cuts Cuts) error {
	s, err := b.js.Stream(ctx, StreamName(Ingest, partition))
	if err != nil {
		return fmt.Errorf("look up log %s: %w", StreamName(Ingest, partition), err)
	}
	encoded, err := json.Marshal(cuts)
	if err != nil {
		return fmt.Errorf("encode cuts: %w", err)
	}
	cfg := s.CachedInfo().Config
	if cfg.Metadata[cutKey] == string(encoded) {
		return nil
	}
	cfg.Metadata[cutKey] = string(encoded)
	if _, err := b.js.UpdateStream(ctx, cfg); err != nil {
		return fmt.Errorf("announce cuts of %s: %w", cfg.Name, err)
	}
	return nil
}

// Rebuilding tells whether a rebuild of one of a partition's logs is under way:
// what its readers need can't be told then.
func (b *Broker) Rebuilding(ctx context.Context, partition int) (bool, error) {
	for _, spec := range Topology {
		if spec.From == "" {
			continue
		}
		s, err := b.js.Stream(ctx, StreamName(spec.Name, partition))
		if err != nil {
			return false, fmt.Errorf("look up log %s: %w", StreamName(spec.Name, partition), err)
		}
		if rebuildOf(s.CachedInfo().Config).Open {
			return true, nil
		}
	}
	return false, nil
}

// RetainedSnapshot is the root of the oldest complete snapshot that a stage can
// still fall back to; 0 when it has none and would begin with its log's first entry.
func (b *Broker) RetainedSnapshot(ctx context.Context, blobs Blobs, to LogName, partition int) (uint64, error) {
	spec, _ := Spec(to)
	generation, err := b.generation(ctx, to, partition)
	if errors.Is(err, errRebuilding) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	names, err := newSnapshotStore(blobs, spec.Writer, partition, generation).list(ctx)
	if err != nil {
		return 0, err
	}
	for _, n := range names {
		if n.kind == kindBase {
			return n.root, nil
		}
	}
	return 0, nil
}

// Keep says what stays in a log although nobody needs it.
type Keep struct {
	Age  time.Duration // younger messages stay, while there is room
	Room float64       // share of the log's bound beyond which they do not
	Now  time.Time
}

// Cut is what became of a log, or could.
type Cut struct {
	Root     uint64 // nothing at or below it is wanted any more, by need and by age
	Messages uint64 // that go
	Bytes    uint64 // about
	First    uint64 // sequence of the first message that stays
}

// Cuttable tells what of a log may go: what no reader needs (floor, a root; of
// DELIVERIES a sequence) and what is not to be kept. The last message of a log
// always stays, of a derived log also the last commit at or below the floor: the
// next reader checks what follows against it.
func (b *Broker) Cuttable(ctx context.Context, log LogName, partition int, floor uint64, keep Keep) (Cut, error) {
	name := StreamName(log, partition)
	s, err := b.js.Stream(ctx, name)
	if err != nil {
		return Cut{}, fmt.Errorf("look up log %s: %w", name, err)
	}
	info := s.CachedInfo()
	st := info.State
	if st.Msgs < 2 || floor == 0 {
		return Cut{}, nil
	}
	old, err := b.unkept(ctx, log, partition, info, keep)
	if err != nil {
		return Cut{}, err
	}
	if old <= st.FirstSeq {
		return Cut{}, nil // the rest of the search reads messages
	}
	first, root := min(floor+1, old, st.LastSeq), uint64(0)
	if spec, _ := Spec(log); spec.Truth {
		root = first - 1
	} else {
		last, _, err := b.lastMark(ctx, log, partition)
		if err != nil {
			return Cut{}, err
		}
		if first, root, err = b.lastCommit(ctx, s, log, partition, st.FirstSeq, min(old, last.seq), floor); err != nil {
			return Cut{}, err
		}
	}
	if first <= st.FirstSeq {
		return Cut{}, nil
	}
	n := first - st.FirstSeq
	return Cut{Root: root, Messages: n, Bytes: st.Bytes / st.Msgs * n, First: first}, nil
}

// lastCommit finds the last commit from first to limit that ends at or below a
// root, and where it ends; 0 when there is none.
func (b *Broker) lastCommit(ctx context.Context, s jetstream.Stream, log LogName, partition int, first, limit, floor uint64) (seq, root uint64, err error) {
	for lo, hi := first, limit+1; lo < hi; {
		mid := lo + (hi-lo)/2
		m, _, err := b.markAt(ctx, s, log, partition, mid)
		if err != nil {
			return 0, 0, err
		}
		if m.to <= floor {
			seq, root, lo = mid, m.to, mid+1
		} else {
			hi = mid
		}
	}
	return seq, root, nil
}

// unkept is the first sequence that is to be kept by age, or by room where that is later.
func (b *Broker) unkept(ctx context.Context, log LogName, partition int, info *jetstream.StreamInfo, keep Keep) (uint64, error) {
	st := info.State
	young, err := b.RootAt(ctx, log, partition, keep.Now.Add(-keep.Age))
	if err != nil {
		return 0, err
	}
	over := uint64(0)
	if room := uint64(keep.Room * float64(info.Config.MaxBytes)); keep.Room > 0 && info.Config.MaxBytes > 0 && st.Bytes > room {
		over = (st.Bytes - room) / max(1, st.Bytes/st.Msgs)
	}
	return max(young, st.FirstSeq+over), nil
}

// Truncate removes what stands before a cut. The server keeps sequences, so a
// cut that has grown old removes nothing it should not.
func (b *Broker) Truncate(ctx context.Context, log LogName, partition int, c Cut) error {
	name := StreamName(log, partition)
	if c.First <= 1 {
		return nil
	}
	s, err := b.js.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("look up log %s: %w", name, err)
	}
	st := s.CachedInfo().State
	// Whatever the caller worked out: the last message stays, its successor must find it.
	first := min(c.First, st.LastSeq)
	if first <= st.FirstSeq {
		return nil
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSequence(first)); err != nil {
		return fmt.Errorf("truncate %s: %w", name, err)
	}
	return nil
}

// BeginAt lets an empty log of truth begin at a sequence: what was before it is
// nowhere any more.
func (b *Broker) BeginAt(ctx context.Context, log LogName, partition int, first uint64) error {
	name := StreamName(log, partition)
	s, err := b.js.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("look up log %s: %w", name, err)
	}
	if st := s.CachedInfo().State; st.LastSeq != 0 {
		return fmt.Errorf("begin %s at %d: it is not empty", name, first)
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSequence(first)); err != nil {
		return fmt.Errorf("begin %s at %d: %w", name, first, err)
	}
	info, err := s.Info(ctx)
	if err != nil {
		return fmt.Errorf("look up log %s: %w", name, err)
	}
	if info.State.LastSeq != first-1 {
		return fmt.Errorf("begin %s at %d: the server goes on at %d", name, first, info.State.LastSeq+1)
	}
	return nil
}
