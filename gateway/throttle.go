package gateway

import (
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// throttle bounds attempts per caller: a token bucket each, forgotten when full.
type throttle struct {
	burst float64
	every time.Duration // a token comes back
	wall  func() time.Time

	mu      sync.Mutex
	buckets map[string]*bucket
}

// maxThrottled bounds the callers remembered; beyond it the fullest half is
// forgotten, which forgives those who tried least.
const maxThrottled = 20_000

func newThrottle(burst int, every time.Duration, wall func() time.Time) *throttle {
	return &throttle{burst: float64(burst), every: every, wall: wall, buckets: map[string]*bucket{}}
}

// take charges one attempt; refund gives it back.
func (t *throttle) take(who string) (refund func(), p *problem) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, rate := t.wall(), 1/t.every.Seconds()
	b := t.buckets[who]
	if b == nil {
		if len(t.buckets) >= maxThrottled {
			t.forget(now, rate)
		}
		b = &bucket{tokens: t.burst, at: now}
		t.buckets[who] = b
	}
	b.tokens = min(t.burst, b.tokens+now.Sub(b.at).Seconds()*rate)
	b.at = now
	if b.tokens < 1 {
		wait := max(1, int(math.Ceil((1-b.tokens)/rate)))
		return nil, newProblem(http.StatusTooManyRequests, "too_many_attempts", "too many attempts; wait").header("Retry-After", strconv.Itoa(wait))
	}
	b.tokens--
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		b.tokens = min(t.burst, b.tokens+1)
	}, nil
}

func (t *throttle) forget(now time.Time, rate float64) {
	for _, least := range []float64{t.burst, t.burst / 2, 0} {
		for who, b := range t.buckets {
			if b.tokens+now.Sub(b.at).Seconds()*rate >= least {
				delete(t.buckets, who)
			}
		}
		if len(t.buckets) < maxThrottled {
			return
		}
	}
}

// addressOf is whom a throttle counts for: the peer's address, of IPv6 the network
// that one subscriber gets. Headers of proxies are not believed: anyone can write them.
func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	p, err := addr.Prefix(64)
	if err != nil {
		return addr.String()
	}
	return p.String()
}
