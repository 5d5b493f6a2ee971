package stream

import (
	"context"
	"errors"
	"time"
)

// captureStep bounds how much state is encoded between two entries, in bytes:
// well under a millisecond.
const captureStep = 256 << 10

// stepSnapshot moves the snapshot of this partition on: begin, encode a little,
// wait for the commit that covers it, write in the background.
func (p *partitionRun) stepSnapshot(ctx context.Context, done chan<- error) {
	state := p.fold.State()
	switch {
	case p.captured != nil:
		if p.done.Load() >= p.captured.root {
			c := p.captured
			p.captured = nil
			p.snapshotBusy = true
			version := p.version
			go func() {
				start := time.Now()
				err := p.snapshots.write(ctx, c, version)
				p.writeSpent.Store(int64(time.Since(start)))
				done <- err
			}()
		}
	case state.capture != nil:
		start := time.Now()
		if state.stepCapture(captureStep) {
			p.captured = state.endCapture()
		}
		p.captureSpent += time.Since(start)
	case !p.snapshotBusy && p.pos >= p.muted && p.pos > p.snapshots.last && time.Now().After(p.snapshotAt):
		p.captureSpent = 0
		state.beginCapture(p.pos)
	}
}

// snapshotDone paces the next snapshot so that those of all partitions, captured
// and written, stay within their share of a core.
func (p *partitionRun) snapshotDone(err error) {
	p.snapshotBusy = false
	spent := p.captureSpent + time.Duration(p.writeSpent.Load())
	pause := max(p.cfg.SnapshotEvery, time.Duration(float64(spent)*float64(len(p.partitions))/p.cfg.SnapshotLoad))
	p.snapshotAt = time.Now().Add(pause)
	p.metrics.snapshotCost.Observe(p.captureSpent.Seconds())
	switch {
	case err == nil:
		l := label(p.partition)
		p.metrics.snapshots.WithLabelValues(l).Inc()
		p.metrics.snapshotRoot.WithLabelValues(l).Set(float64(p.snapshots.last))
		p.metrics.snapshotStored.WithLabelValues(l).Set(float64(p.snapshots.baseBytes + p.snapshots.deltaBytes))
		p.metrics.snapshotAt.WithLabelValues(l).SetToCurrentTime()
		return
	case errors.Is(err, ErrNotDeterministic):
		p.metrics.nondeterminism.Inc()
		p.log.Error("determinism alarm", "error", err)
	case errors.Is(err, context.Canceled):
		return
	default:
		p.log.Error("snapshot failed", "error", err)
	}
	// The chain in the store no longer follows the state: begin a new one with all records.
	p.snapshots.forget()
	p.fold.State().touchAll()
}
