package deliverer

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/edgepulse/edgepulse/schemas"
)

func answering(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

func TestSignedDelivery(t *testing.T) {
	r := newReceiver(t, answering(204))
	ep := endpointOf(r, 1)
	ep.Secrets = [][]byte{testSecret, otherKey} // in the middle of a rotation
	b := newBench(t, ep)
	b.start(r)
	b.offer(42, event(1, 0))

	req := r.next(t)
	for _, key := range ep.Secrets {
		verifier, err := standardwebhooks.NewWebhook(secretText(key))
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.Verify(req.body, req.header); err != nil {
			t.Errorf("independent verification: %v", err)
		}
	}
	want := schemas.WebhookID(schemas.ID(event(1, 0).EventId), ep.ID).String()
	if got := req.header.Get("webhook-id"); got != want {
		t.Errorf("webhook-id %s, want %s", got, want)
	}
	var body map[string]any
	if err := json.Unmarshal(req.body, &body); err != nil {
		t.Fatal(err)
	}
	data := body["data"].(map[string]any)
	if body["type"] != "alert.opened" || body["timestamp"] == nil {
		t.Errorf("envelope: %v", body)
	}
	for _, field := range []string{"tenant_id", "metric_id", "window_end", "score", "label", "explanation", "root"} {
		if _, ok := data[field]; !ok {
			t.Errorf("data has no %s", field)
		}
	}
	plan := b.journal.next(t)
	if plan.Kind != schemas.DeliveryKind_DELIVERY_KIND_PLANNED || plan.Root != 42 {
		t.Errorf("the first fact is %v", plan)
	}
	if f := b.journal.attempt(t); f.Outcome != schemas.DeliveryOutcome_DELIVERY_OUTCOME_DELIVERED || f.Status != 204 || f.Attempt != 1 {
		t.Errorf("attempt: %v", f)
	}
	b.stop()
	b.wait()
	if b.journal.position != 42 {
		t.Errorf("position %d", b.journal.position)
	}
}

func TestOutcomes(t *testing.T) {
	// Until the client has given up.
	hang := func(req *http.Request) { <-req.Context().Done() }
	for _, c := range []struct {
		name    string
		answer  http.HandlerFunc
		timeout time.Duration
		outcome string
		err     string
		wait    time.Duration
	}{
		{"500", answering(500), 0, "retry", "status 500", 5 * time.Second},
		{"404", answering(404), 0, "retry", "status 404", 5 * time.Second},
		{"302", func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, "/elsewhere", http.StatusFound)
		}, 0, "retry", "status 302: redirects are not followed", 5 * time.Second},
		{"410", answering(410), 0, "gave_up", "status 410", 0},
		{"429 with seconds", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(429)
		}, 0, "retry", "status 429", 2 * time.Minute},
		{"503 with an absurd wait", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "99999999")
			w.WriteHeader(503)
		}, 0, "retry", "status 503", 24 * time.Hour},
		{"500 may not ask for patience", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(500)
		}, 0, "retry", "status 500", 5 * time.Second},
		{"no answer", func(_ http.ResponseWriter, req *http.Request) { hang(req) }, 200 * time.Millisecond, "retry", "time-out", 5 * time.Second},
		{"an answer that never ends", func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "slowly")
			w.(http.Flusher).Flush()
			hang(req)
		}, 200 * time.Millisecond, "retry", "time-out", 5 * time.Second},
		{"a huge answer is not read to its end", func(w http.ResponseWriter, req *http.Request) {
			_, _ = w.Write(make([]byte, maxAnswer+1))
			w.(http.Flusher).Flush()
			hang(req)
		}, 0, "delivered", "", 0},
		{"huge headers", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 64<<10))
			w.WriteHeader(200)
		}, 0, "retry", "request failed", 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceiver(t, c.answer)
			ep := endpointOf(r, 1)
			b := newBench(t, ep)
			if c.timeout != 0 {
				b.cfg.Timeout = c.timeout
			}
			b.start(r)
			b.offer(1, event(1, 0))
			f := b.journal.attempt(t)
			if f.Outcome.Word() != c.outcome || f.Error != c.err {
				t.Errorf("%s %q", f.Outcome.Word(), f.Error)
			}
			if c.wait != 0 && micros(f.NextAt).Sub(micros(f.At)) != c.wait {
				t.Errorf("waits %s, want %s", micros(f.NextAt).Sub(micros(f.At)), c.wait)
			}
			if strings.Contains(f.Error, "s3cret") || strings.Contains(f.Error, "127.0.0.1") {
				t.Errorf("error %q gives the URL away", f.Error)
			}
			if (c.name == "410") != (b.settings.reason(ep.ID) != "") {
				t.Errorf("disabled: %q", b.settings.reason(ep.ID))
			}
			b.stop()
			b.wait()
		})
	}
}

func TestWholeSchedule(t *testing.T) {
	r := newReceiver(t, answering(500))
	b := newBench(t, endpointOf(r, 1))
	b.start(r)
	b.offer(1, event(1, 0))
	var first received
	for attempt := uint32(1); ; attempt++ {
		req, f := r.next(t), b.journal.attempt(t)
		if attempt == 1 {
			first = req
		}
		if f.Attempt != attempt || req.header.Get("webhook-id") != first.header.Get("webhook-id") || string(req.body) != string(first.body) {
			t.Fatalf("attempt %d is not the first one again", attempt)
		}
		if int(attempt) == len(schedule) {
			if f.Outcome != schemas.DeliveryOutcome_DELIVERY_OUTCOME_GAVE_UP {
				t.Errorf("the last attempt ends with %s", f.Outcome.Word())
			}
			return
		}
		if got := micros(f.NextAt).Sub(micros(f.At)); got != schedule[attempt] {
			t.Errorf("wait after attempt %d is %s, want %s", attempt, got, schedule[attempt])
		}
		b.clock.runTo(t, micros(f.NextAt))
	}
}

func TestOrderPerAlert(t *testing.T) {
	var fails atomic.Int32
	fails.Store(2)
	r := newReceiver(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("webhook-id") == schemas.WebhookID(schemas.ID(event(1, 0).EventId), schemas.ID{9, 1}).String() && fails.Add(-1) >= 0 {
			w.WriteHeader(500)
		}
	})
	b := newBench(t, endpointOf(r, 1))
	b.start(r)
	b.offer(1, event(1, 0))
	if f := b.journal.attempt(t); f.Outcome != schemas.DeliveryOutcome_DELIVERY_OUTCOME_RETRY {
		t.Fatal(f)
	}
	b.offer(2, event(1, 1), event(2, 0)) // another alert does not wait
	b.offer(3, event(1, 2))
	if f := b.journal.attempt(t); string(f.EventId) != string(event(2, 0).EventId) {
		t.Fatalf("expected the other alert, got %v", f)
	}
	b.clock.runTo(t, b.clock.Now().Add(schedule[1]))
	again := b.journal.attempt(t)
	b.clock.runTo(t, micros(again.NextAt))
	for want := uint32(0); want < 3; want++ {
		if f := b.journal.attempt(t); string(f.EventId) != string(event(1, want).EventId) ||
			f.Outcome != schemas.DeliveryOutcome_DELIVERY_OUTCOME_DELIVERED {
			t.Fatalf("event %d: %v", want, f)
		}
	}
}

// TestNewEndpointTakesTheNextEvent: the endpoints were read a moment ago, and one has
// been made since, before a value was received: its alert goes there. Older events ask
// nobody again.
func TestNewEndpointTakesTheNextEvent(t *testing.T) {
	r := newReceiver(t, answering(200))
	b := newBench(t, endpointOf(r, 1))
	b.start(r)
	received := func(e *schemas.AlertEvent, after time.Duration) *schemas.AlertEvent {
		e.ReceivedAt = b.clock.Now().Add(after).UnixMicro()
		return e
	}
	b.offer(1, received(event(1, 0), 0))
	r.next(t)
	b.settings.add(endpointOf(r, 2))
	reads := b.settings.reads()
	b.offer(2, received(event(2, 0), -time.Second))
	r.next(t)
	if again := b.settings.reads(); again != reads {
		t.Errorf("the endpoints were read %d times for an older event", again-reads)
	}
	b.offer(3, received(event(3, 0), time.Second))
	got := map[string]bool{}
	for range 2 {
		got[r.next(t).header.Get("webhook-id")] = true
	}
	for n := range byte(2) {
		if id := schemas.WebhookID(schemas.ID(event(3, 0).EventId), schemas.ID{9, n + 1}).String(); !got[id] {
			t.Errorf("endpoint %d was not told of it: %v", n+1, got)
		}
	}
}

// TestCrashBetweenPostAndRecord: the journal refuses the attempt's record, as if
// the process had died after the receiver took the event.
func TestCrashBetweenPostAndRecord(t *testing.T) {
	r := newReceiver(t, answering(200))
	b := newBench(t, endpointOf(r, 1))
	fenced := errors.New("fenced")
	b.journal.fail = func(entries []*schemas.Entry) error {
		for _, e := range entries {
			if e.GetDelivery().GetKind() == schemas.DeliveryKind_DELIVERY_KIND_ATTEMPTED {
				return fenced
			}
		}
		return nil
	}
	b.start(r)
	b.offer(1, event(1, 0))
	if err := b.wait(); !errors.Is(err, fenced) {
		t.Fatalf("the engine ended with %v", err)
	}
	b.journal.fail = nil
	b.start(r)
	// ALERTS is read again from the journal's position, and even from before it.
	b.offer(1, event(1, 0))
	first, second := r.next(t), r.next(t)
	if first.header.Get("webhook-id") != second.header.Get("webhook-id") || string(first.body) != string(second.body) {
		t.Error("the repeat is not the same webhook")
	}
	if f := b.journal.attempt(t); f.Outcome != schemas.DeliveryOutcome_DELIVERY_OUTCOME_DELIVERED {
		t.Error(f)
	}
	b.stop()
	b.wait()
	b.start(r)
	b.offer(1, event(1, 0))
	b.offer(2, event(1, 1)) // its delivery shows that root 1 was not planned again
	if got := r.next(t).header.Get("webhook-id"); got != schemas.WebhookID(schemas.ID(event(1, 1).EventId), schemas.ID{9, 1}).String() {
		t.Errorf("root 1 was sent again")
	}
}

func TestRestartKeepsSchedule(t *testing.T) {
	var healthy atomic.Bool
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
		if !healthy.Load() {
			w.WriteHeader(500)
		}
	})
	b := newBench(t, endpointOf(r, 1))
	b.start(r)
	b.offer(1, event(1, 0))
	f := b.journal.attempt(t)
	b.clock.runTo(t, micros(f.NextAt))
	f = b.journal.attempt(t)
	b.stop()
	b.wait()
	healthy.Store(true)
	b.start(r)
	b.clock.runTo(t, micros(f.NextAt))
	if f := b.journal.attempt(t); f.Attempt != 3 || f.Outcome != schemas.DeliveryOutcome_DELIVERY_OUTCOME_DELIVERED {
		t.Errorf("after the restart: %v", f)
	}
}

func TestWhoIsTold(t *testing.T) {
	r := newReceiver(t, answering(200))
	all, critical := endpointOf(r, 1), endpointOf(r, 2)
	critical.MinSeverity = schemas.Severity_SEVERITY_CRITICAL
	b := newBench(t, all, critical)
	b.cfg.NotifyFloor = 10
	b.start(r)
	muted, foreign, worse := event(1, 0), event(2, 0), event(3, 0)
	muted.Notify = false
	foreign.TenantId = make([]byte, 16)
	worse.Severity = schemas.Severity_SEVERITY_CRITICAL
	b.offer(10, event(9, 0)) // at the floor of a rebuild: sent in an earlier life
	b.offer(11, muted, foreign, event(4, 0))
	b.offer(12, worse)
	got := map[string]int{}
	for range 3 {
		f := b.journal.attempt(t)
		got[string(f.EventId)+string(f.EndpointId)]++
	}
	for _, want := range []string{string(event(4, 0).EventId) + string(all.ID[:]), string(worse.EventId) + string(all.ID[:]),
		string(worse.EventId) + string(critical.ID[:])} {
		if got[want] != 1 {
			t.Errorf("%x was told %d times", want, got[want])
		}
	}
}

func TestDisabledAfterFiveDays(t *testing.T) {
	r := newReceiver(t, answering(500))
	ep := endpointOf(r, 1)
	b := newBench(t, ep)
	b.start(r)
	b.offer(1, event(1, 0))
	begin := b.clock.Now()
	root := uint64(1)
	for b.settings.reason(ep.ID) == "" {
		f := b.journal.attempt(t)
		at := micros(f.NextAt)
		if f.Outcome == schemas.DeliveryOutcome_DELIVERY_OUTCOME_GAVE_UP {
			if b.settings.reason(ep.ID) != "" {
				break
			}
			root++
			b.offer(root, event(byte(root), 0))
			continue
		}
		b.clock.runTo(t, at)
	}
	if failed := b.clock.Now().Sub(begin); failed < disableAfter || failed > disableAfter+24*time.Hour {
		t.Errorf("disabled after %s", failed)
	}
	for {
		if f := b.journal.next(t); f.Kind == schemas.DeliveryKind_DELIVERY_KIND_ENDPOINT_DISABLED {
			return
		}
	}
}

func TestSuccessElsewhereKeepsEndpoint(t *testing.T) {
	r := newReceiver(t, answering(500))
	ep := endpointOf(r, 1)
	b := newBench(t, ep)
	b.settings.list[0].LastDelivered = b.clock.Now().Add(10 * 24 * time.Hour) // another partition delivers all the time
	b.start(r)
	for root := uint64(1); root <= 2; root++ {
		b.offer(root, event(byte(root), 0))
		for {
			f := b.journal.attempt(t)
			if f.Outcome == schemas.DeliveryOutcome_DELIVERY_OUTCOME_GAVE_UP {
				break
			}
			b.clock.runTo(t, micros(f.NextAt))
		}
	}
	if reason := b.settings.reason(ep.ID); reason != "" {
		t.Errorf("disabled: %s", reason)
	}
}

func TestEndpointGoneBeforeItsTurn(t *testing.T) {
	r := newReceiver(t, answering(500))
	ep := endpointOf(r, 1)
	b := newBench(t, ep)
	b.start(r)
	b.offer(1, event(1, 0))
	f := b.journal.attempt(t)
	if err := b.settings.Disable(t.Context(), testTenant, ep.ID, "by its owner"); err != nil {
		t.Fatal(err)
	}
	b.clock.runTo(t, micros(f.NextAt))
	if f := b.journal.attempt(t); f.Outcome != schemas.DeliveryOutcome_DELIVERY_OUTCOME_GAVE_UP || f.Error != noEndpoint {
		t.Error(f)
	}
}

func TestBoundedConcurrency(t *testing.T) {
	gate := make(chan struct{})
	var now, most atomic.Int32
	r := newReceiver(t, func(http.ResponseWriter, *http.Request) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-gate
		now.Add(-1)
	})
	b := newBench(t, endpointOf(r, 1))
	b.start(r)
	for alert := byte(1); alert <= 6; alert++ {
		b.offer(uint64(alert), event(alert, 0))
	}
	r.next(t)
	r.next(t)
	close(gate)
	for range 6 {
		if f := b.journal.attempt(t); f.Outcome != schemas.DeliveryOutcome_DELIVERY_OUTCOME_DELIVERED {
			t.Error(f)
		}
	}
	if most.Load() > perEndpoint {
		t.Errorf("%d requests at a time", most.Load())
	}
}

func TestPositionWithoutPlansIsKept(t *testing.T) {
	b := newBench(t)
	b.start()
	b.offer(7)
	b.clock.runTo(t, b.clock.Now().Add(positionEvery))
	b.offer(8 + positionRoots)
	b.stop()
	b.wait()
	if b.journal.position < 7 || b.journal.commits > 2 {
		t.Errorf("position %d after %d commits", b.journal.position, b.journal.commits)
	}
}
