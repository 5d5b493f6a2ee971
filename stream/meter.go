package stream

import (
	"context"
	"time"
)

// SnapshotCost is what one snapshot takes and gives.
type SnapshotCost struct {
	Records int
	Bytes   int           // of the records as encoded
	Stored  int           // of the object, compressed
	Fold    time.Duration // taken from the goroutine that folds, in all
	Longest time.Duration // the longest it was kept at once
	Write   time.Duration // beside it: hash, compress, store
}

// SnapshotMeter takes snapshots of a state that no runner drives, by the runner's
// own means, to measure them.
type SnapshotMeter struct {
	state *State
	store *snapshotStore
}

// NewSnapshotMeter prepares a chain of snapshots of its own.
func NewSnapshotMeter(blobs Blobs, stage string, s *State) *SnapshotMeter {
	return &SnapshotMeter{s, newSnapshotStore(blobs, stage, 0, "")}
}

// Take stores what has changed since the last call, all of it at first.
func (m *SnapshotMeter) Take(ctx context.Context, root uint64) (SnapshotCost, error) {
	var cost SnapshotCost
	m.state.beginCapture(root)
	for done := false; !done; {
		start := time.Now()
		done = m.state.stepCapture(captureStep)
		took := time.Since(start)
		cost.Fold += took
		cost.Longest = max(cost.Longest, took)
	}
	c := m.state.endCapture()
	cost.Records = len(c.records)
	for _, r := range c.records {
		cost.Bytes += len(r.bytes)
	}
	before := m.store.baseBytes + m.store.deltaBytes
	start := time.Now()
	err := m.store.write(ctx, c, 1, 0)
	cost.Write = time.Since(start)
	cost.Stored = m.store.baseBytes + m.store.deltaBytes - before
	return cost, err
}

// MeasureRestore loads the newest of them into a state with the same tables.
func MeasureRestore(ctx context.Context, blobs Blobs, stage string, into *State) (time.Duration, error) {
	start := time.Now()
	_, _, err := newSnapshotStore(blobs, stage, 0, "").restore(ctx, into, 1<<62)
	return time.Since(start), err
}
