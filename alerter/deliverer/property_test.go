package deliverer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/edgepulse/edgepulse/schemas"
)

// TestCrashesLoseNothing kills the engine at random commits while a receiver
// fails at random. Whatever happens, every event that is not given up reaches
// the receiver, the first arrivals of one alert are in order, no root is planned
// twice, and no attempt is recorded that was not made.
func TestCrashesLoseNothing(t *testing.T) {
	var mu sync.Mutex
	var answer func(id string) int
	r := newReceiver(t, func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.WriteHeader(answer(req.Header.Get("webhook-id")))
	})
	go func() {
		for range r.requests { // nobody looks at them here
		}
	}()
	rapid.Check(t, func(rt *rapid.T) {
		ep := endpointOf(r, 1)
		b := newBench(t, ep)
		ids := map[string]*schemas.AlertEvent{}
		var arrivals []*schemas.AlertEvent
		arrived, requests := map[string]bool{}, map[string]int{}
		failures := rapid.IntRange(0, len(schedule)-1).Draw(rt, "failures") // one less than would give up
		mu.Lock()
		answer = func(id string) int {
			requests[id]++
			if failures > 0 {
				failures--
				return http.StatusInternalServerError
			}
			if e := ids[id]; e != nil && !arrived[id] {
				arrived[id] = true
				arrivals = append(arrivals, e)
			}
			return http.StatusOK
		}
		mu.Unlock()
		var events []*schemas.AlertEvent
		ordinals := map[byte]uint32{}
		for range rapid.IntRange(1, 8).Draw(rt, "events") {
			alert := rapid.Byte().Draw(rt, "alert") % 3
			e := event(alert, ordinals[alert])
			ordinals[alert]++
			events = append(events, e)
			mu.Lock()
			ids[schemas.WebhookID(schemas.ID(e.EventId), ep.ID).String()] = e
			mu.Unlock()
		}
		crashes := rapid.IntRange(0, 4).Draw(rt, "crashes")
		for {
			left := rapid.IntRange(1, 6).Draw(rt, "commits until the crash")
			crashed := errors.New("crash")
			b.journal.mu.Lock()
			b.journal.fail = func([]*schemas.Entry) error {
				if left--; left < 0 && crashes > 0 {
					return crashed
				}
				return nil
			}
			b.journal.mu.Unlock()
			b.start(r)
			if live(b, events) {
				b.stop()
				b.wait()
				break
			}
			crashes--
			if err := b.wait(); !errors.Is(err, crashed) {
				rt.Fatalf("the engine ended with %v", err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if len(arrivals) != len(events) {
			rt.Fatalf("%d of %d events arrived", len(arrivals), len(events))
		}
		next := map[string]uint32{}
		for _, e := range arrivals {
			if next[string(e.AlertId)] != e.Ordinal {
				rt.Fatalf("alert %x: event %d came when %d was next", e.AlertId[:2], e.Ordinal, next[string(e.AlertId)])
			}
			next[string(e.AlertId)]++
		}
		if err := consistent(b.journal, requests, len(events)); err != nil {
			rt.Fatal(err)
		}
	})
}

// live offers all events from the beginning and moves the clock until the book
// is empty; false when the engine has died.
func live(b *bench, events []*schemas.AlertEvent) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i, e := range events {
		if b.engine.Offer(ctx, uint64(i+1), []*schemas.AlertEvent{e}) != nil {
			return false
		}
	}
	for {
		pending, next := b.journal.pending()
		if pending == 0 {
			return true
		}
		select {
		case <-b.engine.stopped:
			return false
		case <-b.journal.news:
		case <-b.clock.reached(next):
		case <-time.After(50 * time.Millisecond):
			// The engine may have read the clock before it moved and set its timer
			// after: with a clock that never moves by itself it would sleep for ever.
			b.clock.wakeFirst()
		case <-ctx.Done():
			return false
		}
	}
}

// wakeFirst moves the clock to the timer that is due first.
func (c *fakeClock) wakeFirst() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var first time.Time
	for _, t := range c.timers {
		if t.at.After(c.now) && (first.IsZero() || t.at.Before(first)) {
			first = t.at
		}
	}
	if !first.IsZero() {
		c.moveTo(first)
	}
}

// pending folds the facts independently of the engine: how many deliveries are
// under way, and when the first that failed is tried again.
func (j *memJournal) pending() (n int, next time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	open := map[string]time.Time{}
	for _, entry := range j.facts {
		f := entry.GetDelivery()
		switch {
		case f.Kind == schemas.DeliveryKind_DELIVERY_KIND_PLANNED:
			open[string(f.WebhookId)] = time.Time{}
		case f.Outcome == schemas.DeliveryOutcome_DELIVERY_OUTCOME_RETRY:
			open[string(f.WebhookId)] = micros(f.NextAt)
		default:
			delete(open, string(f.WebhookId))
		}
	}
	for _, at := range open {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return len(open), next
}

// reached moves the clock to an instant. The channel it answers is closed then,
// and stays open when there is no instant or the clock is past it already.
func (c *fakeClock) reached(at time.Time) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	done := make(chan struct{})
	if at.After(c.now) {
		c.moveTo(at)
		close(done)
	}
	return done
}

// consistent compares the facts with what the receiver saw.
func consistent(j *memJournal, requests map[string]int, events int) error {
	planned, attempted, lastRoot := map[string]bool{}, map[string]int{}, uint64(0)
	for _, entry := range j.facts {
		f := entry.GetDelivery()
		id := schemas.ID(f.WebhookId).String()
		if f.Kind == schemas.DeliveryKind_DELIVERY_KIND_PLANNED {
			if planned[id] || f.Root <= lastRoot {
				return fmt.Errorf("root %d is planned twice", f.Root)
			}
			planned[id], lastRoot = true, f.Root
			continue
		}
		attempted[id]++
		if int(f.Attempt) != attempted[id] {
			return fmt.Errorf("attempt %d is recorded as the %d.", attempted[id], f.Attempt)
		}
	}
	if len(planned) != events {
		return fmt.Errorf("%d of %d events were planned", len(planned), events)
	}
	for id, n := range attempted {
		if requests[id] < n {
			return fmt.Errorf("%d attempts are recorded, %d requests were made", n, requests[id])
		}
	}
	return nil
}
