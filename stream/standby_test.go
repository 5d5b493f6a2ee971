package stream

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestStandby: of two processes with all partitions one works and one waits; it
// takes over when work lies undone, and not before.
func TestStandby(t *testing.T) {
	c := newChain(t)
	owner := func() (stop func()) {
		ctx, cancel := context.WithCancel(c.ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			r := NewRunner(testStages()[0], RunnerConfig{SnapshotEvery: 20 * time.Millisecond, SnapshotLoad: 1, Takeover: 300 * time.Millisecond}, c.b, c.blobs,
				NewMetrics(prometheus.NewRegistry()), slog.New(slog.NewTextHandler(c.said, nil)), []int{0})
			if err := r.Run(ctx); err != nil {
				t.Errorf("run: %v", err)
			}
		}()
		return func() { cancel(); <-done }
	}
	epoch := func() uint64 {
		m, _, err := c.b.lastMark(c.ctx, Points, 0)
		if err != nil {
			t.Fatal(err)
		}
		return m.epoch
	}
	derived := func() {
		t.Helper()
		waitUntil(t, c.ctx, func() bool {
			m, _, err := c.b.lastMark(c.ctx, Points, 0)
			return err == nil && m.to >= c.last
		})
	}
	endFirst := owner()
	c.append(5)
	derived()
	endSecond := owner()
	waitUntil(t, c.ctx, func() bool { return epoch() == 2 }) // who begins takes over
	for began := time.Now(); time.Since(began) < 2*time.Second; {
		c.append(1)
		derived()
	}
	if e := epoch(); e != 2 {
		t.Fatalf("epoch %d: an owner at work was disturbed", e)
	}
	endSecond()
	c.append(5)
	derived()
	if e := epoch(); e != 3 {
		t.Fatalf("epoch %d after one takeover", e)
	}
	endFirst()
}
