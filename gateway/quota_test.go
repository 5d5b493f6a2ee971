package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// points is a body with n points of one device.
func points(device string, n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`{"name":"v","ts":"2026-11-23T08:44:%02d.%06dZ","value":1}`, i/1000, i%1000))
	}
	return fmt.Sprintf(`{"device_external_id":%q,"metrics":[%s]}`, device, strings.Join(list, ","))
}

var (
	policyItem    = regexp.MustCompile(`^"[a-z]+";q=\d+;w=\d+(, "[a-z]+";q=\d+;w=\d+)*$`)
	remainingItem = regexp.MustCompile(`^"[a-z]+";r=\d+;t=\d+(, "[a-z]+";r=\d+;t=\d+)*$`)
)

func TestLoadBeyondThePlanIsRefusedAtItsRate(t *testing.T) {
	b := newBench(t, nil)
	const rate, size = 20, 4
	key := b.keys.add(schemas.NewID(), func(r *KeyRecord) { r.PointsPerSecond = rate }, ScopeIngest)
	body := points("d", size)
	var accepted, steps int
	began := time.Time{}
	for step := range 900 { // a minute at three times the rate
		w := <-b.send(key, body)
		switch {
		case w.Code == http.StatusTooManyRequests && began.IsZero():
			began = b.wall.Now() // the burst is spent
		case w.Code == http.StatusAccepted && !began.IsZero():
			accepted += size
		case w.Code != http.StatusAccepted && w.Code != http.StatusTooManyRequests:
			t.Fatal(w.Code, w.Body)
		}
		h := w.Header()
		if !policyItem.MatchString(h.Get("RateLimit-Policy")) || !remainingItem.MatchString(h.Get("RateLimit")) || (h.Get("Retry-After") == "") == (w.Code == http.StatusTooManyRequests) {
			t.Fatalf("step %d: %d, headers %v", step, w.Code, h)
		}
		b.wall.advance(time.Second / (3 * rate / size))
		steps++
	}
	elapsed := b.wall.Now().Sub(began).Seconds()
	off := float64(accepted)/(rate*elapsed) - 1
	t.Logf("%d points in %.1f s at %d points a second: %+.2f %%", accepted, elapsed, rate, 100*off)
	if math.Abs(off) > 0.02 {
		t.Fatalf("off by %.2f %%", 100*off)
	}
}

func TestRequestsPerSecond(t *testing.T) {
	b := newBench(t, nil)
	key := b.keys.add(b.tenant, func(r *KeyRecord) { r.RequestsPerSecond = 2 }, ScopeRead)
	get := func() (int, http.Header) {
		w := b.do(http.MethodGet, "/v1/devices", key, nil)
		return w.Code, w.Header()
	}
	for i := range 20 {
		if code, h := get(); code != http.StatusOK || h.Get("RateLimit-Policy") != `"requests";q=20;w=10` || !strings.HasPrefix(h.Get("RateLimit"), fmt.Sprintf(`"requests";r=%d;`, 19-i)) {
			t.Fatal(i, code, h)
		}
	}
	w := b.do(http.MethodGet, "/v1/devices", key, nil)
	if p := problemOf(t, w); w.Code != http.StatusTooManyRequests || p.Code != "too_many_requests" || w.Header().Get("Retry-After") != "1" {
		t.Fatal(w.Code, w.Body)
	}
	b.wall.advance(time.Second)
	for range 2 {
		if code, _ := get(); code != http.StatusOK {
			t.Fatal(code)
		}
	}
	if code, _ := get(); code != http.StatusTooManyRequests {
		t.Fatal("a second gives two requests only")
	}
}

// counter plays the usage that projectors count: what it was told, in its time.
type counter struct {
	mu      sync.Mutex
	points  int64
	through []uint64
	asked   int
	metrics []schemas.ID
	err     error
}

func (c *counter) MonthPoints(_ context.Context, _ schemas.ID, _ time.Time, partitions int) (int64, []uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if len(c.through) < partitions {
		c.through = append(c.through, make([]uint64, partitions-len(c.through))...)
	}
	return c.points, slices.Clone(c.through), c.err
}

func (c *counter) ActiveMetrics(context.Context, schemas.ID, time.Time) ([]schemas.ID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.metrics), c.err
}

func (c *counter) project(points int64, partition int, root uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.points += points
	c.through[partition] = root
}

func TestTheMonthlyPlanIsExhausted(t *testing.T) {
	used := &counter{points: 90}
	b := newBench(t, func(c *Config, d *Deps) { c.Partitions, d.Usage = 1, used })
	key := b.keys.add(schemas.NewID(), func(r *KeyRecord) { r.Plan, r.PointsPerMonth = "small", 100 }, ScopeIngest)
	send := func(n int) (int, string, http.Header) {
		w := <-b.send(key, points("d", n))
		if w.Code == http.StatusAccepted {
			return w.Code, "", w.Header()
		}
		return w.Code, problemOf(t, w).Code, w.Header()
	}
	if code, _, h := send(4); code != http.StatusAccepted || !strings.HasPrefix(h.Get("RateLimit"), `"month";r=6;t=`) {
		t.Fatal(code, h)
	}
	code, problem, h := send(7)
	if code != http.StatusTooManyRequests || problem != "plan_exhausted" || h.Get("RateLimit-Policy") != `"month";q=100;w=2592000` {
		t.Fatal(code, problem, h)
	}
	// The first of December is 7 days, 15 hours and a quarter away.
	if h.Get("Retry-After") != fmt.Sprint(int((7*24*time.Hour + 15*time.Hour + 15*time.Minute).Seconds())) {
		t.Fatal(h.Get("Retry-After"))
	}
	if code, problem, _ := send(6); code != http.StatusAccepted {
		t.Fatal(code, problem)
	}
	if code, problem, _ := send(1); problem != "plan_exhausted" {
		t.Fatal(code, problem)
	}
	// Projected, the first of the two requests is counted by usage and no more by us,
	// and one of its points was a duplicate.
	used.project(3, 0, 1)
	b.wall.advance(monthStale)
	if code, problem, _ := send(1); code != http.StatusAccepted {
		t.Fatal(code, problem)
	}
	if code, problem, _ := send(1); problem != "plan_exhausted" {
		t.Fatal(code, problem)
	}
	// Nobody can be asked: the last answer stands.
	used.mu.Lock()
	used.err = errors.New("away")
	used.mu.Unlock()
	b.wall.advance(monthStale)
	if code, problem, _ := send(1); problem != "plan_exhausted" {
		t.Fatal(code, problem)
	}
	// Another month.
	used.mu.Lock()
	used.err, used.points = nil, 0
	used.mu.Unlock()
	b.server.sim.set(time.Date(2026, 12, 1, 0, 0, 1, 0, time.UTC).UnixMicro())
	w := <-b.send(key, strings.ReplaceAll(points("d", 50), "2026-11-23T08:44", "2026-12-01T00:00"))
	if w.Code != http.StatusAccepted {
		t.Fatal(w.Code, w.Body)
	}
}

func TestASpillIsTakenWhenTheMonthIsUsedUp(t *testing.T) {
	b := newEdgeBench(t, nil)
	b.server.months.usage = &counter{points: 100}
	b.keys.change(b.key, func(r *KeyRecord) { r.PointsPerMonth = 100 })
	if w := b.ingest(oneMetric("d")); w.Code != http.StatusTooManyRequests {
		t.Fatal(w.Code, w.Body)
	}
	if w := b.spill(oneMetric("d"), nil); w.Code != http.StatusAccepted {
		t.Fatal(w.Code, w.Body)
	}
}

func TestUsageIsNotAskedPerRequest(t *testing.T) {
	used := &counter{}
	b := newBench(t, func(c *Config, d *Deps) { c.Partitions, d.Usage = 1, used })
	key := b.keys.add(schemas.NewID(), func(r *KeyRecord) { r.PointsPerMonth = 1000 }, ScopeIngest)
	for range 20 {
		if w := <-b.send(key, oneMetric("d")); w.Code != http.StatusAccepted {
			t.Fatal(w.Code, w.Body)
		}
	}
	if used.asked != 1 {
		t.Fatalf("asked %d times", used.asked)
	}
}

func TestNewMetricsBeyondThePlanAreRefused(t *testing.T) {
	used := &counter{}
	b := newBench(t, func(c *Config, d *Deps) { c.Partitions, d.Usage = 1, used })
	tenant := schemas.NewID()
	used.metrics = []schemas.ID{schemas.MetricID(schemas.DeviceID(tenant, "d"), "a")}
	key := b.keys.add(tenant, func(r *KeyRecord) { r.Plan, r.MaxMetrics = "small", 2 }, ScopeIngest)
	send := func(names ...string) (int, api.IngestAnswer, api.Problem) {
		var list []string
		for _, n := range names {
			list = append(list, fmt.Sprintf(`{"name":%q,"value":1}`, n))
		}
		w := <-b.send(key, `{"device_external_id":"d","metrics":[`+strings.Join(list, ",")+`]}`)
		var ok api.IngestAnswer
		if w.Code != http.StatusAccepted {
			return w.Code, ok, problemOf(t, w)
		}
		decode(t, w, &ok)
		return w.Code, ok, api.Problem{}
	}
	_, ok, _ := send("c", "a", "b")
	if ok.Accepted != 2 || ok.Rejected != 1 || ok.Errors[0].Code != "metric_limit" || ok.Errors[0].Pointer != "/metrics/2" {
		t.Fatalf("%+v", ok)
	}
	if code, _, p := send("b"); code != http.StatusUnprocessableEntity || p.Code != "no_acceptable_point" || p.Errors[0].Detail != "the plan small allows 2 metrics, and this one would be new" {
		t.Fatal(code, p)
	}
	if code, _, p := send("a", "c"); code != http.StatusAccepted {
		t.Fatal(code, p)
	}
	// The log has what was refused by its index, and the normaliser keeps to that.
	first := b.broker.groups(t, 0)[0][0].GetBatch().Slices[0]
	if len(first.Rejected) != 1 || first.Rejected[0].Index != 2 || first.Rejected[0].Code != "metric_limit" {
		t.Fatalf("%v", first.Rejected)
	}
	// "a" fell silent long ago: there is room, once the store is asked again.
	used.mu.Lock()
	used.metrics = nil
	used.mu.Unlock()
	b.wall.advance(metricsEvery)
	until(t, "there is room", func() bool { code, _, _ := send("b"); return code == http.StatusAccepted })
}

func TestAKeyWritesItsDevicesOnly(t *testing.T) {
	b := newBench(t, nil)
	key := b.keys.add(b.tenant, func(r *KeyRecord) { r.DevicePattern = "hall7-*" }, ScopeIngest)
	if w := <-b.send(key, oneMetric("hall7-press")); w.Code != http.StatusAccepted {
		t.Fatal(w.Code, w.Body)
	}
	w := <-b.send(key, oneMetric("hall8-press"))
	if p := problemOf(t, w); w.Code != http.StatusForbidden || p.Code != "device_not_allowed" || p.Errors[0].Pointer != "/device_external_id" {
		t.Fatal(w.Code, w.Body)
	}
	w = <-b.send(key, fmt.Sprintf(`{"batches":[%s,%s]}`, oneMetric("hall7-a"), oneMetric("hall70")))
	if p := problemOf(t, w); w.Code != http.StatusForbidden || len(p.Errors) != 1 || p.Errors[0].Pointer != "/batches/1/device_external_id" {
		t.Fatal(w.Code, w.Body)
	}
}

// uses keeps what it is told.
type uses struct {
	mu    sync.Mutex
	at    map[string]time.Time
	calls int
}

func (u *uses) NoteKeyUses(_ context.Context, at map[string]time.Time) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.at, u.calls = at, u.calls+1
	return nil
}

func TestLastUseIsWrittenTogether(t *testing.T) {
	noted := &uses{}
	b := newBench(t, func(_ *Config, d *Deps) { d.KeyUses = noted })
	for range 3 {
		b.ingest(oneMetric("d"))
	}
	b.do(http.MethodGet, "/v1/devices", "ep_live_nosuchkey234_x", nil)
	b.server.writeKeyUses(t.Context())
	b.server.writeKeyUses(t.Context()) // nothing to say
	if noted.calls != 1 || len(noted.at) != 1 {
		t.Fatalf("%d calls, %v", noted.calls, noted.at)
	}
}

// gateways are several over one broker that share quotas.
func gateways(t *testing.T, n int) []*Server {
	t.Helper()
	b := startBroker(t, 1, 1<<20)
	var list []*Server
	for i := range n {
		conn, err := stream.Connect(stream.BrokerConfig{Partitions: 1, Timeout: 5 * time.Second}, fmt.Sprint("gateway-", i), inProcess{b}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		if err := conn.WaitConnected(t.Context()); err != nil {
			t.Fatal(err)
		}
		cfg := DefaultConfig()
		cfg.Addr, cfg.Pepper, cfg.Partitions, cfg.Ticks = "", testPepper, 1, false
		s, err := New(cfg, Deps{Log: b, Keys: newKeyring(), Queries: newShelf(), Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Shares: conn.Shares()})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Stop(context.Background()) })
		list = append(list, s)
	}
	until(t, "all know each other", func() bool {
		for _, s := range list {
			s.quota.mu.Lock()
			peers := len(s.quota.peers)
			s.quota.mu.Unlock()
			if peers != n-1 {
				return false
			}
		}
		return true
	})
	return list
}

type inProcess struct{ b *broker }

func (p inProcess) InProcessConn() (net.Conn, error) { return p.b.server.InProcessConn() }

var _ nats.InProcessConnProvider = inProcess{}

// hammer sends to all gateways until done and answers how many points were taken.
func hammer(list []*Server, key KeyRecord, size int, done <-chan struct{}) int64 {
	var taken atomic.Int64
	var wg sync.WaitGroup
	for _, s := range list {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(2 * time.Millisecond):
				}
				for s.quota.take(key, size) == nil {
					taken.Add(int64(size))
				}
			}
		})
	}
	wg.Wait()
	return taken.Load()
}

func TestThreeGatewaysShareOneLimit(t *testing.T) {
	const rate, lasts = 2000, 5 * time.Second
	list := gateways(t, 3)
	key := KeyRecord{TenantID: schemas.NewID(), Limits: Limits{PointsPerSecond: rate}}
	for _, s := range list { // the burst is spent
		s.quota.mu.Lock()
		s.quota.of(key).points.tokens = 0
		s.quota.mu.Unlock()
	}
	done := make(chan struct{})
	began := time.Now()
	time.AfterFunc(lasts, func() { close(done) })
	taken := hammer(list, key, 10, done)
	elapsed := time.Since(began).Seconds()
	// As exchange.go states it, with a quarter of a second for the message and this machine.
	bound := rate*elapsed + 2*rate*(shareEvery.Seconds()+0.25)
	t.Logf("three gateways took %d points in %.2f s at %d a second: %+.1f %%; stated bound %.0f", taken, elapsed, rate, 100*(float64(taken)/(rate*elapsed)-1), bound)
	if float64(taken) > bound || float64(taken) < 0.85*rate*elapsed {
		t.Fatalf("%d points, bound %.0f", taken, bound)
	}
}

func TestAGatewayThatIsNewOwesNothing(t *testing.T) {
	wall := &wallClock{now: testStart}
	a, b := newQuotas(wall.Now), newQuotas(wall.Now)
	key := KeyRecord{TenantID: schemas.NewID(), Limits: Limits{PointsPerSecond: 10}}
	take := func(q *quotas, n int) bool { return q.take(key, n) == nil }
	tell := func(from, to *quotas) {
		value, _ := from.share()
		if err := to.hear("x", value); err != nil {
			t.Fatal(err)
		}
	}
	if !take(a, 60) {
		t.Fatal("a full bucket")
	}
	tell(a, b) // met for the first time: what was before does not count
	if !take(a, 30) {
		t.Fatal("still 40")
	}
	tell(a, b)
	tell(a, b) // twice is once
	if take(b, 71) || !take(b, 70) {
		t.Fatal("30 of 100 were taken elsewhere")
	}
	for _, bad := range [][]byte{nil, {2}, {1, 2, 3}, append([]byte{1}, make([]byte, 17)...)} {
		if b.hear("y", bad) == nil {
			t.Errorf("%v was taken for a share", bad)
		}
	}
	wall.advance(2 * peerGone)
	if n := b.forget(); n != 0 {
		t.Errorf("%d gateways are remembered", n)
	}
}

// TestRefusalsAreHeldBack: who asks again at once is slowed, a body is not read when
// nothing is left, and others do not wait.
func TestRefusalsAreHeldBack(t *testing.T) {
	const pause = 300 * time.Millisecond
	g := newBench(t, func(c *Config, d *Deps) { c.RefusalPause = pause })
	limited := g.keys.add(schemas.NewID(), func(r *KeyRecord) { r.PointsPerSecond = 1 }, ScopeIngest)
	if w := g.do(http.MethodPost, "/v1/ingest", limited, strings.NewReader(points("x", 10))); w.Code != http.StatusAccepted {
		t.Fatal(w.Code, w.Body)
	}
	begun := time.Now()
	w := g.do(http.MethodPost, "/v1/ingest", limited, &unread{t})
	if took := time.Since(begun); w.Code != http.StatusTooManyRequests || !strings.Contains(w.Body.String(), "quota_exceeded") || took < pause {
		t.Errorf("%d %s after %s, want a 429 after %s", w.Code, w.Body, took, pause)
	}
	for _, h := range []string{"Retry-After", "RateLimit", "RateLimit-Policy"} {
		if w.Header().Get(h) == "" {
			t.Errorf("no %s", h)
		}
	}
	// A body that was read is let go of before the answer is held back.
	owner := schemas.NewID()
	short := g.keys.add(owner, func(r *KeyRecord) { r.PointsPerSecond = 1 }, ScopeIngest)
	if w := g.do(http.MethodPost, "/v1/ingest", short, strings.NewReader(points("x", 5))); w.Code != http.StatusAccepted {
		t.Fatal(w.Code, w.Body)
	}
	done := make(chan int)
	go func() { done <- g.do(http.MethodPost, "/v1/ingest", short, strings.NewReader(points("x", 10))).Code }()
	for held := 0; held == 0; {
		select {
		case code := <-done:
			t.Fatalf("10 points where 5 are left: %d, never held back", code)
		case <-time.After(time.Millisecond):
		}
		g.server.refusals.mu.Lock()
		held = g.server.refusals.held[owner]
		g.server.refusals.mu.Unlock()
	}
	g.server.budget.mu.Lock()
	if g.server.budget.total != 0 {
		t.Errorf("a refusal that is held back keeps %d bytes in work", g.server.budget.total)
	}
	g.server.budget.mu.Unlock()
	if code := <-done; code != http.StatusTooManyRequests {
		t.Errorf("10 points where 5 are left: %d", code)
	}
	// The bound: with all places taken, a refusal goes at once.
	id := schemas.NewID()
	for range maxHeldOfTenant {
		g.server.refusals.begin(id)
	}
	begun = time.Now()
	g.server.refusals.hold(t.Context(), id)
	if took := time.Since(begun); took >= pause {
		t.Errorf("one more than may be held waited for %s", took)
	}
	for range maxHeldOfTenant {
		g.server.refusals.end(id)
	}
	if g.server.refusals.total != 0 || len(g.server.refusals.held) != 0 {
		t.Errorf("%d are held in the end, of %d tenants", g.server.refusals.total, len(g.server.refusals.held))
	}
}

type unread struct{ t *testing.T }

func (u *unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}
