package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/schemas/apikey"
)

func TestIdempotency(t *testing.T) {
	b, g := gated(t, nil)
	first := b.send(b.key, oneMetric("d"), "Idempotency-Key", "k")
	<-g.entered
	if w := b.ingest(oneMetric("d"), "Idempotency-Key", "k"); w.Code != http.StatusConflict || problemOf(t, w).Code != "in_flight" || w.Header().Get("Retry-After") == "" {
		t.Fatal(w.Code, w.Body)
	}
	if w := b.ingest(oneMetric("other"), "Idempotency-Key", "k"); w.Code != http.StatusUnprocessableEntity || problemOf(t, w).Code != "idempotency_key_reused" {
		t.Fatal(w.Code, w.Body)
	}
	g.pass <- struct{}{}
	var one, two api.IngestAnswer
	decode(t, <-first, &one)
	w := b.ingest(oneMetric("d"), "Idempotency-Key", "k")
	decode(t, w, &two)
	if w.Code != http.StatusAccepted || !two.Repeat || two.BatchID != one.BatchID || one.Repeat || two.Accepted != 1 {
		t.Fatal(one, two)
	}
	// Another tenant's key of the same text is another key.
	other := b.keys.add(schemas.NewID(), nil, ScopeIngest)
	g.pass <- struct{}{}
	if w := <-b.send(other, oneMetric("d"), "Idempotency-Key", "k"); w.Code != http.StatusAccepted || strings.Contains(w.Body.String(), "repeat") {
		t.Fatal(w.Code, w.Body)
	}
	if n := len(b.broker.groups(t, 0)); n != 2 {
		t.Fatalf("%d groups", n)
	}
	b.wall.advance(25 * time.Hour)
	g.pass <- struct{}{}
	if w := b.ingest(oneMetric("other"), "Idempotency-Key", "k"); w.Code != http.StatusAccepted {
		t.Fatal("the key is not forgotten after a day", w.Code, w.Body)
	}
}

func TestIdempotencyIsBounded(t *testing.T) {
	c := newIdempotency(3, time.Now)
	for i := range 10 {
		id := idemKey{key: fmt.Sprint(i)}
		if s, _ := c.begin(id, [32]byte{}); s != idemNew {
			t.Fatal(s)
		}
		c.finish(id, [32]byte{}, &api.IngestAnswer{})
	}
	if len(c.entries) != 3 || c.order.Len() != 3 {
		t.Fatal(len(c.entries), c.order.Len())
	}
}

// TestInflightBytesAreBounded: one tenant gets 429, all together 503, and a free
// gateway takes requests again.
func TestInflightBytesAreBounded(t *testing.T) {
	b, g := gated(t, func(c *Config, _ *Deps) {
		c.MaxWire, c.MaxInflated, c.TenantShare, c.Inflight = 32<<10, 64<<10, 100<<10, 150<<10
	})
	other := b.keys.add(schemas.NewID(), nil, ScopeIngest)
	body := `{"device_external_id":"d",` + strings.Repeat(" ", 20<<10) + `"metrics":[{"name":"v","value":1}]}`
	held := []<-chan int{}
	hold := func(key string) {
		r := b.send(key, body)
		code := make(chan int, 1)
		go func() { code <- (<-r).Code }()
		held = append(held, code)
	}
	hold(b.key)
	<-g.entered
	for n := range 2 {
		hold(b.key)
		until(t, "it waits", func() bool { return b.server.committers[0].waiting() == n+1 })
	}
	if w := b.ingest(body); w.Code != http.StatusTooManyRequests || problemOf(t, w).Code != "too_much_in_flight" || w.Header().Get("Retry-After") == "" {
		t.Fatal(w.Code, w.Body)
	}
	hold(other)
	until(t, "it waits", func() bool { return b.server.committers[0].waiting() == 3 })
	if w := <-b.send(other, body); w.Code != http.StatusServiceUnavailable || problemOf(t, w).Code != "overloaded" {
		t.Fatal(w.Code, w.Body)
	}
	for range 10 {
		g.pass <- struct{}{}
	}
	for _, c := range held {
		if code := <-c; code != http.StatusAccepted {
			t.Fatal(code)
		}
	}
	until(t, "the budget is given back", func() bool {
		b.server.budget.mu.Lock()
		defer b.server.budget.mu.Unlock()
		return b.server.budget.total == 0
	})
	if w := b.ingest(body); w.Code != http.StatusAccepted {
		t.Fatal(w.Code, w.Body)
	}
}

func TestQuota(t *testing.T) {
	b := newBench(t, nil)
	key := b.keys.add(schemas.NewID(), func(r *KeyRecord) { r.PointsPerSecond = 1 }, ScopeIngest)
	for range 10 {
		if w := <-b.send(key, oneMetric("d")); w.Code != http.StatusAccepted {
			t.Fatal(w.Code, w.Body)
		}
	}
	w := <-b.send(key, oneMetric("d"))
	if w.Code != http.StatusTooManyRequests || problemOf(t, w).Code != "quota_exceeded" || w.Header().Get("Retry-After") != "1" || w.Header().Get("RateLimit") == "" {
		t.Fatal(w.Code, w.Header(), w.Body)
	}
	b.wall.advance(time.Second)
	if w := <-b.send(key, oneMetric("d")); w.Code != http.StatusAccepted {
		t.Fatal(w.Code, w.Body)
	}
}

func TestRevocationActsWithinFiveSeconds(t *testing.T) {
	b := newBench(t, nil)
	key := b.keys.add(b.tenant, nil, ScopeIngest)
	try := func() int { return (<-b.send(key, oneMetric("d"))).Code }
	first, second := try(), try()
	if first != http.StatusAccepted || second != http.StatusAccepted || b.keys.asked != 1 {
		t.Fatal("the record is not cached", b.keys.asked)
	}
	b.keys.change(key, func(r *KeyRecord) { r.Revoked = true })
	b.wall.advance(5 * time.Second)
	if code := try(); code != http.StatusUnauthorized {
		t.Fatal("revoked 5 s ago", code)
	}
}

// TestAProofIsOfOneSecret: that a secret was right counts only while the record
// has the hash it was compared with.
func TestAProofIsOfOneSecret(t *testing.T) {
	b := newBench(t, nil)
	key := b.keys.add(b.tenant, nil, ScopeIngest)
	for range 2 { // the second finds the proof of the first
		if w := <-b.send(key, oneMetric("d")); w.Code != http.StatusAccepted {
			t.Fatal(w.Code, w.Body)
		}
	}
	b.keys.change(key, func(r *KeyRecord) { r.Hash = apikey.Hash([]byte("pepper"), []byte("another secret")) })
	b.wall.advance(5 * time.Second)
	if w := <-b.send(key, oneMetric("d")); w.Code != http.StatusUnauthorized {
		t.Fatal("another secret's record", w.Code)
	}
}

// TestKnownKeysOutliveAnAbsentStore: with the store away, known keys work for a
// while; unknown ones are 503, not 401.
func TestKnownKeysOutliveAnAbsentStore(t *testing.T) {
	b := newBench(t, nil)
	unseen := b.keys.add(b.tenant, nil, ScopeIngest)
	if w := b.ingest(oneMetric("d")); w.Code != http.StatusAccepted {
		t.Fatal(w.Code, w.Body)
	}
	b.keys.err = errors.New("connection refused")
	b.wall.advance(time.Minute)
	if w := b.ingest(oneMetric("d")); w.Code != http.StatusAccepted {
		t.Fatal(w.Code, w.Body)
	}
	if w := <-b.send(unseen, oneMetric("d")); w.Code != http.StatusServiceUnavailable || problemOf(t, w).Code != "keys_unavailable" {
		t.Fatal(w.Code, w.Body)
	}
	b.wall.advance(5 * time.Minute)
	if w := b.ingest(oneMetric("d")); w.Code != http.StatusServiceUnavailable {
		t.Fatal(w.Code, w.Body)
	}
}

func TestBearer(t *testing.T) {
	b := newBench(t, nil)
	w := b.do(http.MethodPost, "/v1/ingest", "", strings.NewReader(oneMetric("d")), "Authorization", "Bearer "+b.key)
	if w.Code != http.StatusAccepted {
		t.Fatal(w.Code, w.Body)
	}
	if w := b.do(http.MethodPost, "/v1/ingest", "", strings.NewReader(oneMetric("d"))); w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" {
		t.Fatal(w.Code, w.Header())
	}
}

// slowKeys answers strangers only when told to.
type slowKeys struct {
	Keys
	known   string
	entered chan struct{}
	release chan struct{}
}

func (k *slowKeys) LookupKey(ctx context.Context, id string) (KeyRecord, error) {
	if id != k.known {
		k.entered <- struct{}{}
		<-k.release
	}
	return k.Keys.LookupKey(ctx, id)
}

// TestInventedKeysDoNotCrowdOutRealOnes: however many unknown ids are presented, few
// look-ups run at a time, and a known key is refreshed beside them.
func TestInventedKeysDoNotCrowdOutRealOnes(t *testing.T) {
	slow := &slowKeys{entered: make(chan struct{}, 100), release: make(chan struct{})}
	b := newBench(t, func(_ *Config, d *Deps) { slow.Keys, d.Keys = d.Keys, slow })
	slow.known, _, _ = apikey.Parse(b.key)
	if w := b.ingest(oneMetric("d")); w.Code != http.StatusAccepted {
		t.Fatal(w.Code, w.Body)
	}
	var all []<-chan *httptest.ResponseRecorder
	for range 50 {
		invented, _, _ := apikey.New("test", []byte("other"))
		all = append(all, b.send(invented, oneMetric("d")))
	}
	for range cap(b.server.auth.strangers) {
		<-slow.entered
	}
	b.wall.advance(5 * time.Second)
	if w := b.ingest(oneMetric("d")); w.Code != http.StatusAccepted {
		t.Fatal(w.Code, w.Body)
	}
	if n := len(slow.entered); n != 0 {
		t.Fatalf("%d more look-ups", n)
	}
	close(slow.release)
	for _, r := range all {
		// Those that waited too long for their turn are 503.
		if w := <-r; w.Code != http.StatusUnauthorized && w.Code != http.StatusServiceUnavailable {
			t.Fatal(w.Code, w.Body)
		}
	}
}

type stalled struct{}

func (stalled) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

func TestSlowBodyIs408(t *testing.T) {
	b := newBench(t, nil)
	w := b.do(http.MethodPost, "/v1/ingest", b.key, stalled{})
	if w.Code != http.StatusRequestTimeout || problemOf(t, w).Code != "body_too_slow" || b.server.budget.total != 0 {
		t.Fatal(w.Code, w.Body)
	}
}
