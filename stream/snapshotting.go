package stream

import (
	"context"
	"errors"
	"time"
)

const (
	// captureStep bounds how much state is encoded at once, in bytes: less than a
	// millisecond of work, with a rest of at least as long after it.
	captureStep = 128 << 10
	// A record that is about to change must be encoded before: a capture that meets a
	// burst of input (all metrics are evaluated at the full second) delays it by
	// all that is left to encode. So it begins when nothing has come for captureQuiet,
	// and goes on while nothing comes; but it waits for that no longer than captureWait.
	captureQuiet = 50 * time.Millisecond
	captureWait  = 2 * time.Second
)

// stepSnapshot moves the snapshot of this partition on: begin, encode a little,
// wait for the commit that covers it, write in the background. idle says that no
// input waits. The answer is when to come again, 0 = with the next event.
func (p *partitionRun) stepSnapshot(ctx context.Context, idle bool, done chan<- error) time.Duration {
	state := p.fold.State()
	now := time.Now()
	switch {
	case p.captured != nil:
		if p.done.Load() >= p.captured.root {
			c := p.captured
			p.captured = nil
			p.snapshotBusy = true
			version := p.version
			go func() {
				fill := p.fill(ctx) // a broker that is slow to answer is no cost of snapshots
				start := time.Now()
				err := p.snapshots.write(ctx, c, version, fill)
				p.writeSpent.Store(int64(time.Since(start)))
				done <- err
			}()
		}
	case state.capture != nil:
		if !idle && now.Sub(p.captureBegan) < captureWait {
			return 0
		}
		complete := state.stepCapture(captureStep)
		spent := time.Since(now)
		p.captureSpent += spent
		if complete {
			p.captured = state.endCapture()
			return time.Nanosecond // it may be covered already
		}
		return max(spent, time.Millisecond)
	case p.snapshotBusy || p.pos < p.muted || p.pos <= p.snapshots.last || now.Before(p.snapshotAt):
	case now.Sub(p.snapshotAt) < captureWait && (!idle || now.Sub(p.folded) < captureQuiet):
		return max(p.folded.Add(captureQuiet).Sub(now), time.Millisecond)
	default:
		p.captureSpent, p.captureBegan = 0, now
		state.beginCapture(p.pos)
		return time.Nanosecond
	}
	return 0
}

// fill is that of the logs that the snapshots of this stage hold back, of the fuller
// one; 0 when nobody can tell.
func (p *partitionRun) fill(ctx context.Context) float64 {
	most := 0.0
	for _, log := range []LogName{Ingest, p.stage.From} {
		if share, err := p.broker.Fill(ctx, log, p.partition); err == nil {
			most = max(most, share)
		}
	}
	return most
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
