package stream

import (
	"context"
	"math/rand/v2"
	"time"
)

// standBy waits until a partition stands still although there is work: the log of
// inputs is further than the log of outputs, and nobody has written to that one
// for the time of a takeover. Its own progress is an owner's lease; it needs no
// clock but each process's own, and decides about liveness only: who is wrong
// about it is fenced or fences, and nothing is lost. Broker failures are waited
// out. It returns early when ctx ends.
func (r *Runner) standBy(ctx context.Context, partition int) {
	// Two that stand by do not wake in step.
	patience := r.cfg.Takeover + rand.N(r.cfg.Takeover/2+1)
	var last mark
	since := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(r.cfg.Takeover / 6):
		}
		done, _, err := r.broker.lastMark(ctx, r.stage.To, partition)
		if err != nil {
			since = time.Now()
			continue
		}
		end, err := r.broker.End(ctx, r.stage.From, partition)
		if err != nil || done != last || done.to >= end {
			last, since = done, time.Now()
			continue
		}
		if time.Since(since) >= patience {
			return
		}
	}
}
