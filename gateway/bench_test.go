package gateway

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
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
