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

// BenchmarkNeighbourAtItsLimit compares the latency of one tenant alone, beside a
// tenant that sends just what its plan allows, and beside the same one when it sends
// far more. They take turns of a second each, so that whatever else the machine does
// meets all alike.
//
//	go test ./gateway -run '^$' -bench NeighbourAtItsLimit -benchtime 20x
func BenchmarkNeighbourAtItsLimit(b *testing.B) {
	g := newBench(b, func(c *Config, d *Deps) {
		c.RefusalPause = DefaultConfig().RefusalPause
		d.Logger, d.Wall = slog.New(slog.NewTextHandler(io.Discard, nil)), time.Now
	})
	const rate, size, clients = 200, 10, 40
	other := schemas.NewID()
	limits := func(r *KeyRecord) { r.PointsPerSecond, r.RequestsPerSecond = rate, rate }
	limited := g.keys.add(other, limits, ScopeIngest)
	body := points("other", size)
	spend := func() { // the burst of the second before
		g.server.quota.mu.Lock()
		defer g.server.quota.mu.Unlock()
		record := KeyRecord{TenantID: other}
		limits(&record)
		g.server.quota.of(record).points.tokens = 0
	}
	const alone, within, beyond = 0, 1, 2
	var turn atomic.Int32
	var taken, refused [3]atomic.Int64
	stop := make(chan struct{})
	var others sync.WaitGroup
	for i := range clients {
		others.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			last := time.Now()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				now := turn.Load()
				if now == alone || now == within && (i > 0 || time.Since(last) < time.Second*size/rate) {
					continue
				}
				last = time.Now()
				if w := g.do(http.MethodPost, "/v1/ingest", limited, strings.NewReader(body)); w.Code == http.StatusTooManyRequests {
					refused[now].Add(1)
				} else {
					taken[now].Add(1)
				}
			}
		})
	}
	var took [3][]time.Duration
	n := int64(0)
	for range b.N {
		for now := range took {
			spend()
			turn.Store(int32(now))
			for end := time.Now().Add(time.Second); time.Now().Before(end); {
				begun := time.Now()
				n++
				ingestOne(b, g, n, size)
				took[now] = append(took[now], time.Since(begun))
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
	close(stop)
	others.Wait()
	p99 := func(list []time.Duration) float64 {
		slices.Sort(list)
		return float64(list[len(list)*99/100].Microseconds()) / 1000
	}
	for now, name := range [...]string{"alone", "within", "beyond"} {
		b.ReportMetric(p99(took[now]), name+"-p99-ms")
	}
	seconds := float64(b.N)
	b.ReportMetric(float64(taken[within].Load())/seconds, "within-taken/s")
	b.ReportMetric(float64(taken[beyond].Load())/seconds, "beyond-taken/s")
	b.ReportMetric(float64(refused[beyond].Load())/seconds, "beyond-refused/s")
	b.ReportMetric(100*(p99(took[beyond])/p99(took[within])-1), "change-%")
}
