package stream

import (
	"context"
	"errors"
	"fmt"
)

// Seed is the state of a stage at a root, from which its fold can go on: a
// retained snapshot, or the empty state before root 1.
type Seed struct {
	Root    uint64 `json:"root"`
	Version uint32 `json:"version"` // of the fold that goes on
}

// FindSeed looks for the newest snapshot of a live stage at or below limit and
// copies it, as one base, to where the snapshots of a shadow's stage are kept.
// Without one the seed is the empty state, and the fold version that of the
// log's first commit.
func (b *Broker) FindSeed(ctx context.Context, stage Stage, partition int, limit uint64, from, to Blobs) (Seed, error) {
	generation, err := b.generation(ctx, stage.To, partition)
	if err != nil {
		return Seed{}, err
	}
	live := newSnapshotStore(from, stage.Name, partition, generation)
	const patience = 5
	for try := 0; ; try++ {
		chain, err := live.newestChain(ctx, limit)
		if errors.Is(err, ErrBlobNotFound) && try < patience {
			continue // pruned while it was read: a newer base has taken its place
		}
		if err != nil {
			return Seed{}, fmt.Errorf("seed from the %s's snapshots: %w", stage.Name, err)
		}
		if chain == nil {
			version, err := b.firstVersion(ctx, stage, partition)
			return Seed{Version: version}, err
		}
		last := chain[len(chain)-1]
		base := &snapshot{foldVersion: last.foldVersion, kind: kindBase, root: last.root, digest: last.digest, records: mergeRecords(chain)}
		if err := newSnapshotStore(to, stage.Name, partition, "").create(ctx, base, base.encode()); err != nil {
			return Seed{}, fmt.Errorf("copy snapshot: %w", err)
		}
		return Seed{Root: last.root, Version: last.foldVersion}, nil
	}
}

// newestChain reads the newest snapshot at or below a root with its
// predecessors; nil when there is none.
func (st *snapshotStore) newestChain(ctx context.Context, limit uint64) ([]*snapshot, error) {
	names, err := st.list(ctx)
	if err != nil {
		return nil, err
	}
	for i := len(names) - 1; i >= 0; i-- {
		if names[i].root <= limit {
			return st.chain(ctx, names, names[i].root)
		}
	}
	return nil, nil
}

// firstVersion is the fold version that a log began with.
func (b *Broker) firstVersion(ctx context.Context, stage Stage, partition int) (uint32, error) {
	s, err := b.js.Stream(ctx, StreamName(stage.To, partition))
	if err != nil {
		return 0, fmt.Errorf("look up log %s: %w", StreamName(stage.To, partition), err)
	}
	if s.CachedInfo().State.Msgs == 0 {
		return stage.Version, nil
	}
	_, c, err := b.markAt(ctx, s, stage.To, partition, s.CachedInfo().State.FirstSeq)
	if err != nil {
		return 0, err
	}
	return c.FoldVersion, nil
}
