//go:build unix

package e2e

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/edgepulse/edgepulse/stream"
)

// watched ends ctx with a reason as soon as a process ends by itself, nothing
// moves for too long, or, where none is expected, a log raises an alarm.
func (w *world) watched(ctx context.Context, alarms bool) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		last, moved := "", time.Now()
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(200 * time.Millisecond):
			}
			for _, p := range w.all() {
				p.mu.Lock()
				died := p.died
				p.mu.Unlock()
				if died != nil {
					cancel(died)
					return
				}
				if !alarms {
					continue
				}
				if a := p.newAlarm(); a != "" {
					cancel(fmt.Errorf("alarm: %s", a))
					return
				}
			}
			if now := w.progress(ctx); now != "" && now != last {
				last, moved = now, time.Now()
			}
			if time.Since(moved) > w.stall {
				cancel(fmt.Errorf("%w for %s: %s", errStalled, w.stall, last))
				return
			}
		}
	}()
	return ctx, func() { cancel(nil); <-stopped }
}

// progress describes how far everything is; empty when the broker can't say now.
func (w *world) progress(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	at, err := w.positions(ctx)
	if err != nil {
		return ""
	}
	events, _ := w.inbox.count()
	return fmt.Sprintf("%s webhook events %d, points %d", at, events, w.load.sent.Load())
}

// reached is how far logs and projections are, by log and partition.
type reached struct {
	logs      map[stream.LogName][partitions]uint64 // INGEST and derived logs: roots
	projected map[stream.LogName][partitions]uint64
	recorded  [partitions]uint64 // DELIVERIES: its last message
}

func (w *world) positions(ctx context.Context) (*reached, error) {
	status, err := w.inspect.Status(ctx)
	if err != nil {
		return nil, err
	}
	r := &reached{logs: map[stream.LogName][partitions]uint64{}, projected: map[stream.LogName][partitions]uint64{}}
	for _, s := range status {
		at := r.logs[s.Log]
		at[s.Partition] = s.Root
		r.logs[s.Log] = at
		if s.Log == stream.Deliveries {
			r.recorded[s.Partition] = s.LastSeq
		}
	}
	positions, err := w.store.Positions(ctx)
	if err != nil {
		return nil, err
	}
	for log, by := range positions {
		at := r.projected[log]
		for p, root := range by {
			at[p] = root
		}
		r.projected[log] = at
	}
	return r, nil
}

var derived = []stream.LogName{stream.Points, stream.Features, stream.Scores, stream.Alerts}

func (r *reached) String() string {
	s := fmt.Sprintf("INGEST %v", r.logs[stream.Ingest])
	for _, log := range derived {
		s += fmt.Sprintf(", %s %v projected %v", log, r.logs[log], r.projected[log])
	}
	return s + fmt.Sprintf(", DELIVERIES %v at message %v projected %v;", r.logs[stream.Deliveries], r.recorded, r.projected[stream.Deliveries])
}

// logsBehind tells whether a derived log of partition p is not at the end of INGEST.
func (r *reached) logsBehind(p int) bool {
	for _, log := range derived {
		if r.logs[log][p] < r.logs[stream.Ingest][p] {
			return true
		}
	}
	return false
}

// behind tells whether partition p has something left to do.
func (r *reached) behind(p int) bool {
	end := r.logs[stream.Ingest][p]
	for _, log := range derived {
		if r.projected[log][p] < end {
			return true
		}
	}
	return r.logsBehind(p) || r.logs[stream.Deliveries][p] < end || r.projected[stream.Deliveries][p] < r.recorded[p]
}

// drained waits until every log, projection and delivery of the given
// partitions has reached the end of INGEST.
func (w *world) drained(ctx context.Context, of ...int) error {
	err := poll(ctx, "everything has reached the end of INGEST", func() (bool, error) {
		at, err := w.positions(ctx)
		if err != nil {
			return false, nil // the broker is busy; the watchdog bounds this
		}
		for p := range partitions {
			if (len(of) == 0 || slices.Contains(of, p)) && at.behind(p) {
				return false, nil
			}
		}
		if len(of) > 0 {
			return true, nil
		}
		var notify int
		if err := w.db.QueryRow(ctx, `SELECT count(*) FROM alert_events WHERE notify`).Scan(&notify); err != nil {
			return false, err
		}
		events, _ := w.inbox.count()
		return events >= notify, nil
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// logsDrained waits for the logs only.
func (w *world) logsDrained(ctx context.Context) error {
	err := poll(ctx, "the logs have reached the end of INGEST", func() (bool, error) {
		at, err := w.positions(ctx)
		if err != nil {
			return false, nil // the broker is busy; the watchdog bounds this
		}
		for p := range partitions {
			if at.logsBehind(p) {
				return false, nil
			}
		}
		return true, nil
	})
	return first(context.Cause(ctx), err)
}
