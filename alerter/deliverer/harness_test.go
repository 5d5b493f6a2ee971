package deliverer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgepulse/edgepulse/schemas"
)

// patience bounds every wait for a state; reaching it fails the test.
const patience = 20 * time.Second

// fakeClock moves only when a test says so.
type fakeClock struct {
	mu     sync.Mutex
	cond   *sync.Cond
	now    time.Time
	timers []fakeTimer
}

type fakeTimer struct {
	at time.Time
	ch chan time.Time
}

func newClock() *fakeClock {
	c := &fakeClock{now: time.Now().UTC().Truncate(time.Second)}
	c.cond = sync.NewCond(&c.mu)
	return c
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	if d <= 0 {
		ch <- c.now
		return ch
	}
	c.timers = append(c.timers, fakeTimer{c.now.Add(d), ch})
	c.cond.Broadcast()
	return ch
}

// runTo waits until somebody waits for an instant, and moves there.
func (c *fakeClock) runTo(t *testing.T, at time.Time) {
	t.Helper()
	late := false
	stop := time.AfterFunc(patience, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		late = true
		c.cond.Broadcast()
	})
	defer stop.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.awaited(at) {
		if late {
			t.Fatalf("nobody waits for %s (now %s, %d timers)", at, c.now, len(c.timers))
		}
		c.cond.Wait()
	}
	c.moveTo(at)
}

// moveTo fires what was waited for; c.mu is held.
func (c *fakeClock) moveTo(at time.Time) {
	c.now = at
	var rest []fakeTimer
	for _, timer := range c.timers {
		if timer.at.After(at) {
			rest = append(rest, timer)
			continue
		}
		timer.ch <- at
	}
	c.timers = rest
}

func (c *fakeClock) awaited(at time.Time) bool {
	for _, timer := range c.timers {
		if timer.at.Equal(at) {
			return true
		}
	}
	return false
}

// memJournal keeps commits in memory; fail makes the next ones fail.
type memJournal struct {
	mu       sync.Mutex
	position uint64
	facts    []*schemas.Entry
	commits  int
	fail     func(entries []*schemas.Entry) error
	news     chan *schemas.Delivery
}

func newJournal() *memJournal { return &memJournal{news: make(chan *schemas.Delivery, 1000)} }

func (j *memJournal) Commit(_ context.Context, to uint64, entries []*schemas.Entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail != nil {
		if err := j.fail(entries); err != nil {
			return err
		}
	}
	if to < j.position {
		return errors.New("position went back")
	}
	j.position = to
	j.commits++
	for _, e := range entries {
		// Through the wire format, as a real log does it.
		raw, err := e.MarshalVT()
		if err != nil {
			return err
		}
		stored := new(schemas.Entry)
		if err := stored.UnmarshalVT(raw); err != nil {
			return err
		}
		j.facts = append(j.facts, stored)
		j.news <- stored.GetDelivery()
	}
	return nil
}

func (j *memJournal) next(t *testing.T) *schemas.Delivery {
	t.Helper()
	select {
	case f := <-j.news:
		return f
	case <-time.After(patience):
		t.Fatal("no fact was recorded")
		return nil
	}
}

// attempt returns the next fact of an attempt.
func (j *memJournal) attempt(t *testing.T) *schemas.Delivery {
	t.Helper()
	for {
		if f := j.next(t); f.Kind == schemas.DeliveryKind_DELIVERY_KIND_ATTEMPTED {
			return f
		}
	}
}

// settings are a tenant's endpoints.
type settings struct {
	mu       sync.Mutex
	list     []Endpoint
	disabled map[schemas.ID]string
	broken   error
	asked    int
}

func (s *settings) add(ep Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, ep)
}

func (s *settings) reads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *settings) Endpoints(_ context.Context, tenant schemas.ID) ([]Endpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.broken != nil {
		return nil, s.broken
	}
	if tenant != testTenant {
		return nil, nil
	}
	var out []Endpoint
	for _, ep := range s.list {
		if s.disabled[ep.ID] == "" {
			out = append(out, ep)
		}
	}
	return out, nil
}

// Gone implements Endpoints: no tenant of these tests is deleted.
func (s *settings) Gone(context.Context, []schemas.ID) ([]schemas.ID, error) { return nil, nil }

func (s *settings) Disable(_ context.Context, _, endpoint schemas.ID, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	if s.disabled == nil {
		s.disabled = map[schemas.ID]string{}
	}
	s.disabled[endpoint] = reason
	return nil
}

func (s *settings) reason(id schemas.ID) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disabled[id]
}

var (
	testTenant = schemas.ID{1, 2, 3}
	testSecret = []byte("0123456789abcdef0123456789abcdef")
	otherKey   = []byte("fedcba9876543210fedcba9876543210")
)

func secretText(key []byte) string { return "whsec_" + base64.StdEncoding.EncodeToString(key) }

// received is one request as a receiver saw it.
type received struct {
	header http.Header
	body   []byte
}

// receiver is a real HTTPS server whose answers a test decides.
type receiver struct {
	*httptest.Server
	requests chan received
}

func newReceiver(t *testing.T, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{requests: make(chan received, 1000)}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.requests <- received{req.Header.Clone(), body}
		answer(w, req)
	}))
	r.Server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) next(t *testing.T) received {
	t.Helper()
	select {
	case req := <-r.requests:
		return req
	case <-time.After(patience):
		t.Fatal("no request arrived")
		return received{}
	}
}

// bench is an engine with everything around it.
type bench struct {
	t        *testing.T
	clock    *fakeClock
	journal  *memJournal
	settings *settings
	cfg      Config
	engine   *Engine
	stop     context.CancelFunc
	done     chan error
}

func endpointOf(r *receiver, n byte) Endpoint {
	return Endpoint{ID: schemas.ID{9, n}, URL: r.URL + "/hook?token=s3cret", Secrets: [][]byte{testSecret}}
}

func newBench(t *testing.T, endpoints ...Endpoint) *bench {
	t.Helper()
	b := &bench{t: t, clock: newClock(), journal: newJournal(), settings: &settings{list: endpoints}}
	b.cfg = Config{Allow: []string{"127.0.0.1"}, Clock: b.clock, Jitter: func() float64 { return 0.5 }, Timeout: patience}
	return b
}

func trust(servers ...*receiver) func(*http.Transport) {
	return func(tr *http.Transport) {
		pool := x509.NewCertPool()
		for _, s := range servers {
			pool.AddCert(s.Certificate())
		}
		tr.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
}

// start begins a new life of the engine from what the journal holds.
func (b *bench) start(servers ...*receiver) {
	b.t.Helper()
	b.cfg.Transport = trust(servers...)
	d, err := New(b.cfg, b.settings, prometheus.NewPedanticRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.t.Fatal(err)
	}
	b.engine = d.Engine(0)
	b.journal.mu.Lock()
	for _, e := range b.journal.facts {
		if err := b.engine.Restore(e); err != nil {
			b.t.Fatal(err)
		}
	}
	position := b.journal.position
	b.journal.mu.Unlock()
	b.engine.Start(b.journal, position)
	ctx, cancel := context.WithCancel(context.Background())
	engine, done := b.engine, make(chan error, 1)
	b.stop, b.done = cancel, done
	go func() { done <- engine.Run(ctx) }()
	b.t.Cleanup(cancel)
}

// wait returns what Run ended with.
func (b *bench) wait() error {
	b.t.Helper()
	select {
	case err := <-b.done:
		return err
	case <-time.After(patience):
		b.t.Fatal("the engine does not stop")
		return nil
	}
}

func (b *bench) offer(root uint64, events ...*schemas.AlertEvent) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.engine.Offer(ctx, root, events); err != nil {
		b.t.Fatal(err)
	}
}

// event makes one transition of an alert.
func event(alert byte, ordinal uint32) *schemas.AlertEvent {
	alertID := schemas.ID{7, alert}
	id := schemas.EventID(alertID, ordinal)
	state := schemas.AlertState_ALERT_STATE_UPDATED
	if ordinal == 0 {
		state = schemas.AlertState_ALERT_STATE_OPENED
	}
	zero := schemas.ID{5}
	return &schemas.AlertEvent{EventId: id[:], AlertId: alertID[:], RuleId: zero[:], TenantId: testTenant[:], DeviceId: zero[:],
		MetricId: zero[:], RuleName: "rule", MetricName: "temp", State: state, Ordinal: ordinal, Ts: 1_700_000_000_000_000,
		Severity: schemas.Severity_SEVERITY_WARNING, Label: schemas.Label_LABEL_SPIKE, Explanation: "too hot", Notify: true, Score: .9}
}

func micros(us int64) time.Time { return time.UnixMicro(us).UTC() }
