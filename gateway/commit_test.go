package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/schemas/payload"
)

// until waits for a state.
func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !reached() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func (c *committer) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.queue.system)
	for _, l := range c.queue.lanes {
		n += len(l.waiting)
	}
	return n
}

// gated makes a bench of one partition whose publishes the test lets pass.
func gated(t *testing.T, change func(*Config, *Deps)) (*bench, *gate) {
	var g *gate
	b := newBench(t, func(c *Config, d *Deps) {
		c.Partitions = 1
		g = newGate(d.Log)
		d.Log = g
		if change != nil {
			change(c, d)
		}
	})
	return b, g
}

// send starts a request and returns where its answer will be.
func (b *bench) send(key, body string, headers ...string) <-chan *httptest.ResponseRecorder {
	done := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		done <- b.do(http.MethodPost, "/v1/ingest", key, strings.NewReader(body), headers...)
	}()
	return done
}

func TestRequestsGatherWhileAPublishIsInFlight(t *testing.T) {
	b, g := gated(t, nil)
	first := b.send(b.key, oneMetric("first"))
	<-g.entered
	var rest []<-chan *httptest.ResponseRecorder
	for i := range 50 {
		rest = append(rest, b.send(b.key, oneMetric(fmt.Sprint("d", i))))
	}
	until(t, "all requests wait", func() bool { return b.server.committers[0].waiting() == 50 })
	select {
	case w := <-first:
		t.Fatalf("answered %d before the log has it", w.Code)
	default:
	}
	g.pass <- struct{}{}
	if w := <-first; w.Code != http.StatusAccepted {
		t.Fatal(w.Code, w.Body)
	}
	g.pass <- struct{}{}
	for _, r := range rest {
		if w := <-r; w.Code != http.StatusAccepted {
			t.Fatal(w.Code, w.Body)
		}
	}
	groups := b.broker.groups(t, 0)
	if len(groups) != 2 || len(groups[0]) != 1 || len(groups[1]) != 50 {
		t.Fatalf("%d groups", len(groups))
	}
}

// TestWhatStandsInTheLog: the entry holds the bytes of the devices, and from them
// the normaliser's decoder finds what the gateway accepted.
func TestWhatStandsInTheLog(t *testing.T) {
	b := newBench(t, nil)
	body := `{"batches":[` +
		`{"device_external_id":"a","metrics":[{"name":"v","value":1},{"name":"v","value":"x"},{"name":"w","value":2}]},7,` +
		` {"metrics":[{"name":"v","value":3,"unit":"°C"}] , "device_external_id":" b "}],"backfill":true}`
	w := b.ingest(body, "Idempotency-Key", "k-1")
	var answer api.IngestAnswer
	decode(t, w, &answer)
	if w.Code != http.StatusAccepted || answer.Accepted != 3 || answer.Rejected != 2 || answer.ErrorCount != 2 {
		t.Fatal(w.Code, w.Body)
	}
	sum := sha256.Sum256([]byte(body))
	found := map[string]int{}
	elsewhere := 0
	for p := range 4 {
		for _, group := range b.broker.groups(t, p) {
			for _, e := range group {
				batch := e.GetBatch()
				elsewhere += int(batch.RejectedElsewhere)
				if batch.RequestId != answer.BatchID || batch.IdempotencyKey != "k-1" || !bytes.Equal(batch.BodySha256, sum[:]) || !batch.Backfill ||
					!bytes.Equal(batch.TenantId, b.tenant[:]) || batch.Source != "http" || batch.ReceivedAt != testStart.UnixMicro() || batch.KeyId == "" {
					t.Fatalf("batch %v", batch)
				}
				for _, sl := range batch.Slices {
					if got := body[sl.Offset : int(sl.Offset)+len(sl.Json)]; got != string(sl.Json) {
						t.Fatalf("slice %q, body has %q", sl.Json, got)
					}
					var skip []uint32
					for _, r := range sl.Rejected {
						skip = append(skip, r.Index)
					}
					dev, fault := payload.NewDecoder().DecodeDevice(sl.Json, payload.Options{ReceivedAt: batch.ReceivedAt, Backfill: batch.Backfill}, skip)
					if fault != nil || len(dev.Rejected) != 0 || schemas.Partition(b.tenant, dev.ExternalID, 4) != p {
						t.Fatal(fault, dev)
					}
					found[dev.ExternalID] += len(dev.Samples)
				}
			}
		}
	}
	if found["a"] != 2 || found["b"] != 1 || elsewhere != 1 {
		t.Fatalf("found %v, elsewhere %d", found, elsewhere)
	}
}

// TestOneTenantDoesNotStarveAnother: behind a flood of one tenant, a small request
// of another is in the next group.
func TestOneTenantDoesNotStarveAnother(t *testing.T) {
	b, g := gated(t, func(c *Config, _ *Deps) { c.Inflight, c.TenantShare = 1<<30, 1<<29 })
	other := schemas.NewID()
	otherKey := b.keys.add(other, nil, ScopeIngest)
	big := `{"device_external_id":"d","metrics":[{"name":"v","value":1,"unit":"` + strings.Repeat(" ", 60<<10) + `V"}]}`
	if len(big) > 64<<10 {
		t.Fatal("body too large for the test")
	}
	big = `{"device_external_id":"d",` + strings.Repeat(" ", 60<<10) + `"metrics":[{"name":"v","value":1}]}`
	all := []<-chan *httptest.ResponseRecorder{b.send(b.key, oneMetric("first"))}
	<-g.entered
	for range 100 {
		all = append(all, b.send(b.key, big))
	}
	until(t, "the flood waits", func() bool { return b.server.committers[0].waiting() == 100 })
	all = append(all, b.send(otherKey, oneMetric("small")))
	until(t, "the small one waits", func() bool { return b.server.committers[0].waiting() == 101 })
	for range len(all) {
		g.pass <- struct{}{}
	}
	for _, r := range all {
		if w := <-r; w.Code != http.StatusAccepted {
			t.Fatal(w.Code, w.Body)
		}
	}
	groups := b.broker.groups(t, 0)
	for _, e := range groups[1] {
		if bytes.Equal(e.GetBatch().TenantId, other[:]) {
			if len(groups) < 10 {
				t.Fatalf("the flood fitted %d groups: the cap does not hold", len(groups))
			}
			return
		}
	}
	t.Fatalf("the small request is not in the first group after the flood (%d groups)", len(groups))
}

func TestLargeBodyTravelsAlone(t *testing.T) {
	b, g := gated(t, nil)
	large := `{"device_external_id":"d",` + strings.Repeat(" ", 900<<10) + `"metrics":[{"name":"v","value":1}]}`
	all := []<-chan *httptest.ResponseRecorder{b.send(b.key, oneMetric("first"))}
	<-g.entered
	for i, body := range []string{oneMetric("a"), large, oneMetric("b")} {
		all = append(all, b.send(b.key, body))
		until(t, "it waits", func() bool { return b.server.committers[0].waiting() == i+1 })
	}
	for range 4 {
		g.pass <- struct{}{}
	}
	for _, r := range all {
		if w := <-r; w.Code != http.StatusAccepted {
			t.Fatal(w.Code, w.Body)
		}
	}
	groups := b.broker.groups(t, 0)
	if len(groups) != 4 {
		t.Fatalf("%d groups, want first, a, large, b", len(groups))
	}
}

// TestOneFailedPartRefusesTheRequest: a 202 needs every part on disk, and a failed
// group fails all its requests and is not published again.
func TestOneFailedPartRefusesTheRequest(t *testing.T) {
	broken := errors.New("no answer from the broker")
	b := newBench(t, func(_ *Config, d *Deps) { d.Log = &failing{Log: d.Log, partition: 2, err: broken} })
	var devices []string
	for i := range 20 {
		devices = append(devices, oneMetric(fmt.Sprint("d", i)))
	}
	w := b.ingest(`{"batches":[`+strings.Join(devices, ",")+`]}`, "Idempotency-Key", "k")
	if p := problemOf(t, w); w.Code != http.StatusServiceUnavailable || p.Code != "log_unavailable" || w.Header().Get("Retry-After") == "" {
		t.Fatal(w.Code, w.Body)
	}
	if n := len(b.broker.groups(t, 2)); n != 0 {
		t.Fatalf("%d groups in the broken partition", n)
	}
	if n := b.server.deps.Log.(*failing).tries; n != 1 {
		t.Fatalf("published %d times", n)
	}
	// The key is free again: the same request is tried anew, not answered 409 or as a repeat.
	if w := b.ingest(`{"batches":[`+strings.Join(devices, ",")+`]}`, "Idempotency-Key", "k"); w.Code != http.StatusServiceUnavailable {
		t.Fatal(w.Code, w.Body)
	}
}

type failing struct {
	Log
	partition int
	err       error
	tries     int
}

func (f *failing) Append(ctx context.Context, p int, group []byte) (uint64, error) {
	if p == f.partition {
		f.tries++
		return 0, f.err
	}
	return f.Log.Append(ctx, p, group)
}

func TestFullLogIs503(t *testing.T) {
	b := newBench(t, func(c *Config, d *Deps) { c.Partitions = 1 })
	small := startBroker(t, 1, 8<<10)
	b.server.committers[0].log = small
	for i := range 100 {
		w := b.ingest(oneMetric(fmt.Sprint("d", i)))
		if w.Code == http.StatusAccepted {
			continue
		}
		if p := problemOf(t, w); w.Code != http.StatusServiceUnavailable || p.Code != "log_full" {
			t.Fatal(w.Code, w.Body)
		}
		if n := len(small.groups(t, 0)); n != i {
			t.Fatalf("%d accepted, %d in the log", i, n)
		}
		return
	}
	t.Fatal("a log of 8 KiB takes 100 requests")
}

// TestBrokerAway: no answer from the broker is 503 within the time-out, for all who
// gathered; none of it hangs, and draining still works.
func TestBrokerAway(t *testing.T) {
	b := newBench(t, func(c *Config, _ *Deps) { c.AppendTimeout = 300 * time.Millisecond })
	if w := b.ingest(oneMetric("d")); w.Code != http.StatusAccepted {
		t.Fatal(w.Code, w.Body)
	}
	b.broker.server.Shutdown()
	var all []<-chan *httptest.ResponseRecorder
	for i := range 20 {
		all = append(all, b.send(b.key, oneMetric(fmt.Sprint("d", i))))
	}
	for _, r := range all {
		if w := <-r; w.Code != http.StatusServiceUnavailable || problemOf(t, w).Code != "log_unavailable" {
			t.Fatal(w.Code, w.Body)
		}
	}
	if err := b.server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// wildClock jumps back and forth.
type wildClock struct{}

func (wildClock) Now() int64 { return testStart.UnixMicro() + rand.Int64N(1e6) }

func TestReceivedAtNeverGoesBack(t *testing.T) {
	b := newBench(t, func(c *Config, d *Deps) { c.Clock, d.Clock, c.Ticks, c.Partitions = "system", wildClock{}, false, 2 })
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 25 {
				if w := b.ingest(oneMetric(fmt.Sprint(g, "-", i))); w.Code != http.StatusAccepted {
					t.Error(w.Code, w.Body)
				}
			}
		})
	}
	wg.Wait()
	total := 0
	for p := range 2 {
		last := int64(0)
		for _, group := range b.broker.groups(t, p) {
			for _, e := range group {
				if at := e.GetBatch().ReceivedAt; at < last {
					t.Fatalf("partition %d: %d after %d", p, at, last)
				} else {
					last = at
				}
				total++
			}
		}
	}
	if total != 200 {
		t.Fatalf("%d entries of 200 requests", total)
	}
}

// TestStopDrains: what is in work gets its answer and is in the log; what comes
// later is refused.
func TestStopDrains(t *testing.T) {
	b, g := gated(t, nil)
	var all []<-chan *httptest.ResponseRecorder
	all = append(all, b.send(b.key, oneMetric("first")))
	<-g.entered
	for i := range 10 {
		all = append(all, b.send(b.key, oneMetric(fmt.Sprint("d", i))))
	}
	until(t, "requests wait", func() bool { return b.server.committers[0].waiting() == 10 })
	stopped := make(chan error, 1)
	go func() { stopped <- b.server.Stop(context.Background()) }()
	until(t, "draining", func() bool { return b.server.draining.Load() })
	if w := b.ingest(oneMetric("late")); w.Code != http.StatusServiceUnavailable || problemOf(t, w).Code != "draining" {
		t.Fatal(w.Code, w.Body)
	}
	if w := b.do(http.MethodGet, "/v1/ready", "", nil); w.Code != http.StatusServiceUnavailable {
		t.Fatal(w.Code, w.Body)
	}
	g.pass <- struct{}{}
	g.pass <- struct{}{}
	for _, r := range all {
		if w := <-r; w.Code != http.StatusAccepted {
			t.Fatal(w.Code, w.Body)
		}
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, group := range b.broker.groups(t, 0) {
		n += len(group)
	}
	if n != 11 {
		t.Fatalf("%d entries in the log", n)
	}
	if err := b.server.AppendControl(context.Background(), []int{0}, &schemas.Control{}); !errors.Is(err, errDraining) {
		t.Fatal(err)
	}
}

// TestGoneRequestIsLeftOut: its client has left before it was gathered.
func TestGoneRequestIsLeftOut(t *testing.T) {
	b, g := gated(t, nil)
	first := b.send(b.key, oneMetric("first"))
	<-g.entered
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan int, 1)
	go func() {
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/ingest", strings.NewReader(oneMetric("gone")))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-API-Key", b.key)
		w := httptest.NewRecorder()
		b.server.Handler().ServeHTTP(w, r)
		gone <- w.Code
	}()
	until(t, "it waits", func() bool { return b.server.committers[0].waiting() == 1 })
	cancel()
	g.pass <- struct{}{}
	<-first
	if code := <-gone; code != http.StatusServiceUnavailable {
		t.Fatal(code)
	}
	if groups := b.broker.groups(t, 0); len(groups) != 1 {
		t.Fatalf("%d groups", len(groups))
	}
}
