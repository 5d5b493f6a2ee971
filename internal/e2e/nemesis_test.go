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
