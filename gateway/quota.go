package gateway

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
)

// quotas are token buckets of points, one per tenant that has a quota.
type quotas struct {
	mu      sync.Mutex
	wall    func() time.Time
	buckets map[schemas.ID]*bucket
}

type bucket struct {
	tokens, rate float64
	at           time.Time
}

// quotaBurst is how many seconds of its rate a tenant may send at once.
const quotaBurst = 10

func newQuotas(wall func() time.Time) *quotas {
	return &quotas{wall: wall, buckets: map[schemas.ID]*bucket{}}
}

// take charges n points. A full bucket takes any single request.
func (q *quotas) take(key KeyRecord, n int) *problem {
	if key.PointsPerSecond <= 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now, most := q.wall(), key.PointsPerSecond*quotaBurst
	b := q.buckets[key.TenantID]
	if b == nil || b.rate != key.PointsPerSecond {
		b = &bucket{tokens: most, rate: key.PointsPerSecond, at: now}
		q.buckets[key.TenantID] = b
	}
	b.tokens = min(most, b.tokens+now.Sub(b.at).Seconds()*b.rate)
	b.at = now
	need := min(float64(n), most)
	if b.tokens < need {
		wait := strconv.Itoa(max(1, int(math.Ceil((need-b.tokens)/b.rate))))
		return newProblem(http.StatusTooManyRequests, "quota_exceeded", fmt.Sprintf("more than %g points a second", b.rate)).
			header("Retry-After", wait).
			header("RateLimit-Policy", fmt.Sprintf(`"points";q=%d;w=%d`, int(most), quotaBurst)).
			header("RateLimit", fmt.Sprintf(`"points";r=%d;t=%s`, max(0, int(b.tokens)), wait))
	}
	b.tokens -= float64(n) // may go below zero: a large request is paid for later
	return nil
}

// give takes a charge back: the log did not confirm.
func (q *quotas) give(key KeyRecord, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if b := q.buckets[key.TenantID]; b != nil {
		b.tokens += float64(n)
	}
}
