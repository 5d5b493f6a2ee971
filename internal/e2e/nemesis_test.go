//go:build unix

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgepulse/edgepulse/stream"
)

// deed is one thing done to the running system.
type deed int

const (
	killStage deed = iota
	killBroker
	freezeStage
)

// nemesis does its deeds in a random order, spread evenly over the load.
type nemesis struct {
	w     *world
	deeds []deed
	done  atomic.Int64

	kills, freezes map[string]int // by stage
	brokerKills    int
	thawing        sync.WaitGroup
}

func newNemesis(w *world) *nemesis {
	n := &nemesis{w: w, kills: map[string]int{}, freezes: map[string]int{}}
	n.deeds = append(n.deeds, slices.Repeat([]deed{killStage}, w.kills)...)
	n.deeds = append(n.deeds, slices.Repeat([]deed{killBroker}, w.brokerKills)...)
	n.deeds = append(n.deeds, slices.Repeat([]deed{freezeStage}, w.stops)...)
	w.rng.Shuffle(len(n.deeds), func(i, j int) { n.deeds[i], n.deeds[j] = n.deeds[j], n.deeds[i] })
	return n
}

// share is how much of the load may have been sent, given what was done.
func (n *nemesis) share(done int64) int64 {
	if len(n.deeds) == 0 {
		return int64(n.w.points)
	}
	return int64(n.w.points) * done / int64(len(n.deeds))
}

// run feeds and torments the system until both are at their end.
func (w *world) run(ctx context.Context) (*nemesis, error) {
	n := newNemesis(w)
	base := w.load.sent.Load()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for {
			sent := w.load.sent.Load() - base
			done := n.done.Load()
			finished := done == int64(len(n.deeds))
			if finished && sent >= int64(w.points) {
				return w.load.finish(gctx)
			}
			if !finished && sent > n.share(done+1) {
				select { // the nemesis is the slower one
				case <-gctx.Done():
					return context.Cause(gctx)
				case <-time.After(5 * time.Millisecond):
				}
				continue
			}
			if err := w.load.round(gctx); err != nil {
				return err
			}
		}
	})
	g.Go(func() error {
		defer n.thawing.Wait()
		for i, d := range n.deeds {
			err := poll(gctx, "the load has come this far", func() (bool, error) { return w.load.sent.Load()-base >= n.share(int64(i)), nil })
			if err != nil {
				return err
			}
			if err := n.do(gctx, d); err != nil {
				return err
			}
			n.done.Add(1)
		}
		return nil
	})
	err := g.Wait()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause // what the watchdog saw says more than who was interrupted
	}
	return n, err
}

// pause is part of the torment: how long something stays down.
func (n *nemesis) pause(least, most time.Duration) time.Duration {
	return least + time.Duration(n.w.rng.Int64N(int64(most-least)))
}

func (n *nemesis) do(ctx context.Context, d deed) error {
	switch d {
	case killBroker:
		n.w.broker.kill()
		n.brokerKills++
		time.Sleep(n.pause(50*time.Millisecond, 800*time.Millisecond))
		return n.w.startBroker(ctx)
	case freezeStage:
		victim := n.w.stages[n.w.rng.IntN(len(n.w.stages))]
		victim.freeze()
		n.freezes[victim.stage]++
		timer := time.After(n.pause(300*time.Millisecond, 3*time.Second))
		n.thawing.Go(func() { <-timer; victim.thaw() })
		time.Sleep(n.pause(20*time.Millisecond, 200*time.Millisecond))
	case killStage:
		victims := append(n.w.stages[:len(n.w.stages):len(n.w.stages)], n.w.gateway)
		victim := victims[n.w.rng.IntN(len(victims))]
		victim.kill()
		n.kills[victim.stage]++
		time.Sleep(n.pause(0, 400*time.Millisecond))
		if err := victim.start(); err != nil {
			return err
		}
		time.Sleep(n.pause(20*time.Millisecond, 300*time.Millisecond))
	}
	return nil
}

func (n *nemesis) String() string {
	count := func(m map[string]int) string {
		sum, parts := 0, []string{}
		for _, k := range slices.Sorted(maps.Keys(m)) {
			sum += m[k]
			parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
		}
		return fmt.Sprintf("%d (%s)", sum, strings.Join(parts, ", "))
	}
	return fmt.Sprintf("SIGKILL %s; SIGKILL of the broker %d; SIGSTOP/SIGCONT %s", count(n.kills), n.brokerKills, count(n.freezes))
}

// watched ends ctx with a reason as soon as a process ends by itself, a log
// raises an alarm, or nothing moves for too long.
func (w *world) watched(ctx context.Context) (context.Context, func()) {
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

// behind tells whether partition p has something left to do.
func (r *reached) behind(p int) bool {
	end := r.logs[stream.Ingest][p]
	for _, log := range derived {
		if r.logs[log][p] < end || r.projected[log][p] < end {
			return true
		}
	}
	return r.logs[stream.Deliveries][p] < end || r.projected[stream.Deliveries][p] < r.recorded[p]
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
