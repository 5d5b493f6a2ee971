package gateway

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
)

// Limits are what a tenant's plan allows; 0 = unbounded.
type Limits struct {
	Plan              string
	PointsPerMonth    int64
	MaxMetrics        int64
	PointsPerSecond   float64
	RequestsPerSecond float64
}

// quotaBurst is how many seconds of its rate a tenant may use at once.
const quotaBurst = 10

// quotas hold what tenants may still use. A bucket refills by the plan's rate;
// what the other gateways have taken of it arrives a moment later (exchange.go)
// and is paid for then. The month is in month.go.
type quotas struct {
	mu      sync.Mutex
	wall    func() time.Time
	tenants map[schemas.ID]*allowance
	peers   map[string]*peer // other gateways
}

// allowance is one tenant's.
type allowance struct {
	points, requests bucket
	taken            consumption // here, since this process began
	changed          time.Time   // taken was
	month            month
}

// consumption only rises, but for points that are given back.
type consumption struct{ points, requests int64 }

type bucket struct {
	tokens, rate float64
	at           time.Time
}

// fill brings a bucket up to now. A new rate begins with a full bucket, less what
// was taken elsewhere before anybody came here.
func (b *bucket) fill(rate float64, now time.Time) {
	if b.rate != rate {
		full := rate * quotaBurst
		tokens := full
		if b.rate == 0 && !b.at.IsZero() {
			tokens = min(full, full+b.tokens+now.Sub(b.at).Seconds()*rate)
		}
		*b = bucket{tokens: tokens, rate: rate, at: now}
		return
	}
	if now.After(b.at) {
		b.tokens = min(rate*quotaBurst, b.tokens+now.Sub(b.at).Seconds()*rate)
		b.at = now
	}
}

// take charges n, or says how long to wait. A full bucket takes any single
// request and may go below zero: a large one is paid for later.
func (b *bucket) take(n float64) (wait time.Duration, ok bool) {
	need := min(n, b.rate*quotaBurst)
	if b.tokens < need {
		return time.Duration((need - b.tokens) / b.rate * float64(time.Second)), false
	}
	b.tokens -= n
	return 0, true
}

// owe charges what was taken elsewhere. The debt is bounded by a burst for each of
// the others: whoever was cut off from them for long must not refuse for as long.
func (b *bucket) owe(n float64, others int, now time.Time) {
	b.tokens -= n
	if b.rate > 0 {
		b.tokens = max(b.tokens, -b.rate*quotaBurst*float64(max(1, others)))
	} else {
		b.at = now
	}
}

func newQuotas(wall func() time.Time) *quotas {
	return &quotas{wall: wall, tenants: map[schemas.ID]*allowance{}, peers: map[string]*peer{}}
}

// of is the tenant's allowance, brought up to now; the caller holds mu.
func (q *quotas) of(key KeyRecord) *allowance {
	a := q.tenants[key.TenantID]
	if a == nil {
		a = &allowance{}
		q.tenants[key.TenantID] = a
	}
	now := q.wall()
	a.points.fill(key.PointsPerSecond, now)
	a.requests.fill(key.RequestsPerSecond, now)
	return a
}

// request charges one request of any kind.
func (q *quotas) request(key KeyRecord) *problem {
	if key.RequestsPerSecond <= 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.of(key)
	if wait, ok := a.requests.take(1); !ok {
		return limited(key, "too_many_requests", fmt.Sprintf("more than %g requests a second", key.RequestsPerSecond), wait, a.remaining(key, true))
	}
	a.taken.requests++
	a.changed = a.requests.at
	return nil
}

// take charges n points of the second's allowance.
func (q *quotas) take(key KeyRecord, n int) *problem {
	if key.PointsPerSecond <= 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.of(key)
	if wait, ok := a.points.take(float64(n)); !ok {
		return a.tooManyPoints(key, wait)
	}
	a.taken.points += int64(n)
	a.changed = a.points.at
	return nil
}

// spent refuses what would be refused however little it holds, before anything is
// read of it.
func (q *quotas) spent(key KeyRecord) *problem {
	if key.PointsPerSecond <= 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.of(key)
	if a.points.tokens >= 1 {
		return nil
	}
	wait := time.Duration((1 - a.points.tokens) / a.points.rate * float64(time.Second))
	return a.tooManyPoints(key, wait)
}

func (a *allowance) tooManyPoints(key KeyRecord, wait time.Duration) *problem {
	return limited(key, "quota_exceeded", fmt.Sprintf("more than %g points a second", key.PointsPerSecond), wait, a.remaining(key, true))
}

// give takes a charge back: the log did not confirm.
func (q *quotas) give(key KeyRecord, n int) {
	if key.PointsPerSecond <= 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.of(key)
	a.points.tokens += float64(n)
	a.taken.points -= int64(n)
	a.changed = a.points.at
}

// limited is a 429 that says when to come back.
func limited(key KeyRecord, code, detail string, wait time.Duration, remaining string) *problem {
	p := newProblem(http.StatusTooManyRequests, code, detail).header("Retry-After", seconds(wait))
	p.quota = true
	for _, h := range [][2]string{{"RateLimit-Policy", policies(key, true)}, {"RateLimit", remaining}} {
		p.header(h[0], h[1])
	}
	return p
}

// seconds rounds up: whoever waits that long is served.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(d.Seconds()))))
}

// say tells a client of a plan what is left of it (draft-ietf-httpapi-ratelimit-headers).
func (q *quotas) say(h http.Header, key KeyRecord, ingest bool) {
	policy := policies(key, ingest)
	if policy == "" {
		return
	}
	q.mu.Lock()
	remaining := q.of(key).remaining(key, ingest)
	q.mu.Unlock()
	h.Set("RateLimit-Policy", policy)
	h.Set("RateLimit", remaining)
}

// monthSeconds is the window of the monthly quota in the policy: of a month of 30 days.
const monthSeconds = 30 * 24 * 3600

// policies names the quotas of a key: quota and window, whose quotient is the rate.
func policies(key KeyRecord, ingest bool) string {
	var list []string
	if key.RequestsPerSecond > 0 {
		list = append(list, fmt.Sprintf(`"requests";q=%d;w=%d`, int64(key.RequestsPerSecond*quotaBurst), quotaBurst))
	}
	if ingest && key.PointsPerSecond > 0 {
		list = append(list, fmt.Sprintf(`"points";q=%d;w=%d`, int64(key.PointsPerSecond*quotaBurst), quotaBurst))
	}
	if ingest && key.PointsPerMonth > 0 {
		list = append(list, fmt.Sprintf(`"month";q=%d;w=%d`, key.PointsPerMonth, monthSeconds))
	}
	return strings.Join(list, ", ")
}

// remaining says of each quota what is left and in how many seconds all of it is there again.
func (a *allowance) remaining(key KeyRecord, ingest bool) string {
	var list []string
	item := func(name string, b *bucket) {
		missing := (b.rate*quotaBurst - b.tokens) / b.rate
		list = append(list, fmt.Sprintf(`"%s";r=%d;t=%d`, name, max(0, int64(b.tokens)), int64(math.Ceil(missing))))
	}
	if key.RequestsPerSecond > 0 {
		item("requests", &a.requests)
	}
	if ingest && key.PointsPerSecond > 0 {
		item("points", &a.points)
	}
	if ingest && key.PointsPerMonth > 0 {
		list = append(list, fmt.Sprintf(`"month";r=%d;t=%d`, max(0, key.PointsPerMonth-a.month.estimate()), int64(math.Ceil(a.month.left.Seconds()))))
	}
	return strings.Join(list, ", ")
}
