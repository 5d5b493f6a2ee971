package gateway

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
)

// BenchmarkIngest measures requests through the whole handler into an fsync'd log,
// without the client's and the kernel's share of HTTP.
func BenchmarkIngest(b *testing.B) {
	for _, clients := range []int{1, 16, 256} {
		for _, points := range []int{2, 100} {
			b.Run(fmt.Sprintf("clients=%d/points=%d", clients, points), func(b *testing.B) {
				g := newBench(b, func(_ *Config, d *Deps) { d.Logger = slog.New(slog.NewTextHandler(io.Discard, nil)) })
				var n atomic.Int64
				b.SetParallelism(max(1, clients/2)) // times GOMAXPROCS
				if clients == 1 {
					for b.Loop() {
						ingestOne(b, g, n.Add(1), points)
					}
				} else {
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							ingestOne(b, g, n.Add(1), points)
						}
					})
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
				b.ReportMetric(float64(b.N*points)/b.Elapsed().Seconds(), "points/s")
			})
		}
	}
}

func ingestOne(b *testing.B, g *bench, i int64, points int) {
	var body strings.Builder
	fmt.Fprintf(&body, `{"device_external_id":"meter-%d","metrics":[`, i%2000)
	at := testStart.UnixMilli() - 60_000
	for p := range points {
		if p > 0 {
			body.WriteByte(',')
		}
		fmt.Fprintf(&body, `{"name":"metric_%d","ts":%d,"value":229.5,"unit":"V"}`, p%10, at+int64(p)*int64(time.Second/time.Millisecond)/10)
	}
	body.WriteString(`]}`)
	r := httptest.NewRequest(http.MethodPost, "/v1/ingest", strings.NewReader(body.String()))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-API-Key", g.key)
	w := httptest.NewRecorder()
	g.server.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusAccepted {
		b.Fatal(w.Code, w.Body)
	}
}

// BenchmarkClockDay measures a simulated day: 86,400 ticks in each of 4 partitions.
func BenchmarkClockDay(b *testing.B) {
	g := newBench(b, func(c *Config, d *Deps) { d.Logger = slog.New(slog.NewTextHandler(io.Discard, nil)) })
	at := testStart
	for b.Loop() {
		at = at.Add(24 * time.Hour)
		if w := g.do(http.MethodPost, "/v1/clock", g.key, strings.NewReader(fmt.Sprintf(`{"now":%q}`, at.Format(time.RFC3339)))); w.Code != http.StatusOK {
			b.Fatal(w.Code, w.Body)
		}
	}
}

// BenchmarkNeighbourAtItsLimit compares the latency of one tenant with and without
// another that sends far more than its plan allows. The two take turns of a
// second each, so that whatever else the machine does meets both alike.
//
//	go test ./gateway -run '^$' -bench NeighbourAtItsLimit -benchtime 20x
func BenchmarkNeighbourAtItsLimit(b *testing.B) {
	g := newBench(b, func(_ *Config, d *Deps) {
		d.Logger, d.Wall = slog.New(slog.NewTextHandler(io.Discard, nil)), time.Now
	})
	const rate, size = 200, 10 // 300 requests a second want 3000
	flooder := schemas.NewID()
	limited := g.keys.add(flooder, func(r *KeyRecord) { r.PointsPerSecond, r.RequestsPerSecond = rate, rate }, ScopeIngest)
	body := points("flood", size)
	g.server.quota.mu.Lock()
	record := KeyRecord{TenantID: flooder, Limits: Limits{PointsPerSecond: rate, RequestsPerSecond: rate}}
	a := g.server.quota.of(record)
	a.points.tokens, a.requests.tokens = 0, 0 // the burst is spent
	g.server.quota.mu.Unlock()
	var flooding atomic.Bool
	var refused, taken atomic.Int64
	stop := make(chan struct{})
	var floods sync.WaitGroup
	for range 3 {
		floods.Go(func() {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				if !flooding.Load() {
					continue
				}
				w := g.do(http.MethodPost, "/v1/ingest", limited, strings.NewReader(body))
				if w.Code == http.StatusTooManyRequests {
					refused.Add(1)
				} else {
					taken.Add(1)
				}
			}
		})
	}
	var took [2][]time.Duration // alone, beside
	n := int64(0)
	for range b.N {
		for beside := range 2 {
			flooding.Store(beside == 1)
			for end := time.Now().Add(time.Second); time.Now().Before(end); {
				begun := time.Now()
				n++
				ingestOne(b, g, n, size)
				took[beside] = append(took[beside], time.Since(begun))
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
	close(stop)
	floods.Wait()
	p99 := func(list []time.Duration) float64 {
		slices.Sort(list)
		return float64(list[len(list)*99/100].Microseconds()) / 1000
	}
	alone, beside := p99(took[0]), p99(took[1])
	b.ReportMetric(alone, "alone-p99-ms")
	b.ReportMetric(beside, "beside-p99-ms")
	b.ReportMetric(100*(beside/alone-1), "change-%")
	b.ReportMetric(float64(refused.Load())/float64(refused.Load()+taken.Load())*100, "refused-%")
}
