package bench

import (
	"math"
	"sync"
	"time"
)

// latencies is a histogram with bounds 2 % apart.
type latencies struct {
	mu     sync.Mutex
	counts map[int]int64
	n      int64
	max    float64

	began   time.Time
	seconds []*latencies // since began, when it is a timeline
}

// newTimeline also keeps every second for itself: a tail is one bad second or all of them.
func newTimeline(began time.Time) *latencies {
	l := newLatencies()
	l.began = began
	return l
}

// Quantiles in milliseconds.
type Quantiles struct {
	N   int64   `json:"n"`
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func newLatencies() *latencies { return &latencies{counts: map[int]int64{}} }

func (l *latencies) add(ms float64) {
	b := int(math.Round(math.Log(math.Max(ms, 1e-3)) / math.Log(1.02)))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count(b, ms)
	if l.began.IsZero() {
		return
	}
	second := max(0, int(time.Since(l.began)/time.Second))
	for len(l.seconds) <= second {
		l.seconds = append(l.seconds, newLatencies())
	}
	l.seconds[second].count(b, ms)
}

func (l *latencies) count(bucket int, ms float64) {
	l.counts[bucket]++
	l.n++
	l.max = math.Max(l.max, ms)
}

// bySecond is the timeline in Quantiles.
func (l *latencies) bySecond() []Quantiles {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Quantiles
	for _, s := range l.seconds {
		out = append(out, s.quantiles())
	}
	return out
}

// merge adds what another one has counted.
func (l *latencies) merge(other *latencies) {
	other.mu.Lock()
	defer other.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for b, n := range other.counts {
		l.counts[b] += n
	}
	l.n += other.n
	l.max = math.Max(l.max, other.max)
}

func (l *latencies) quantiles() Quantiles {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := func(q float64) float64 {
		want, seen := int64(math.Ceil(q*float64(l.n))), int64(0)
		for b := -400; b < 2000; b++ {
			if seen += l.counts[b]; seen >= want && l.n > 0 {
				return math.Pow(1.02, float64(b))
			}
		}
		return 0
	}
	return Quantiles{N: l.n, P50: at(.5), P90: at(.9), P99: at(.99), Max: l.max}
}
