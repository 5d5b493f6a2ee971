package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// load sends the scenario over HTTP.
type load struct {
	s        Scenario
	url, key string
	http     *http.Client
	start    time.Time
	requests atomic.Int64
	refused  atomic.Int64
	points   atomic.Int64
	ack      *latencies
}

func newLoad(url, key string, s Scenario) *load {
	return &load{s: s, url: url + "/v1/ingest", key: key, ack: newLatencies(),
		http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: s.Clients, MaxConnsPerHost: s.Clients}}}
}

func (l *load) run(ctx context.Context, progress func(string)) {
	ctx, cancel := context.WithTimeout(ctx, l.s.Duration)
	defer cancel()
	l.start = time.Now()
	var wg sync.WaitGroup
	for i := range l.s.Clients {
		wg.Go(func() { l.client(ctx, i) })
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-done:
			return
		case <-t.C:
			spent := time.Since(l.start)
			progress(fmt.Sprintf("loading: %d points, %.0f/s, %s left", l.points.Load(), float64(l.points.Load())/spent.Seconds(),
				max(0, l.s.Duration-spent).Round(time.Second)))
		}
	}
}

// client owns some of the metrics, ten per device, and sends all of them in turn.
func (l *load) client(ctx context.Context, n int) {
	per := max(l.s.Metrics/l.s.Clients, 1)
	var body []byte
	sent := make([]int64, per)
	next := 0
	interval := time.Duration(0)
	if l.s.Rate > 0 {
		interval = time.Duration(float64(time.Second) * float64(l.s.Points*l.s.Clients) / l.s.Rate)
	}
	due := l.start.Add(interval * time.Duration(n) / time.Duration(l.s.Clients))
	for ctx.Err() == nil {
		if interval > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Until(due)):
			}
			due = due.Add(interval)
		}
		body = l.body(body[:0], n, per, sent, &next)
		l.post(body)
	}
}

// body writes devices of ten metrics until the request has its points.
func (l *load) body(b []byte, client, per int, sent []int64, next *int) []byte {
	now := time.Now()
	b = append(b, `{"batches":[`...)
	for i := 0; i < l.s.Points; i++ {
		m := *next
		if m%10 == 0 || i == 0 {
			if i > 0 {
				b = append(b, "]},"...)
			}
			b = append(b, `{"device_external_id":"client-`...)
			b = strconv.AppendInt(b, int64(client), 10)
			b = append(b, "-device-"...)
			b = strconv.AppendInt(b, int64(m/10), 10)
			b = append(b, `","metrics":[`...)
		} else {
			b = append(b, ',')
		}
		ts := now.UnixMicro()
		if l.s.Step > 0 {
			ts = l.start.Add(-6*24*time.Hour).UnixMicro() + sent[m]*l.s.Step.Microseconds()
		} else {
			ts += sent[m] % 1000 // distinct when a client is faster than the clock
		}
		sent[m]++
		b = append(b, `{"name":"metric-`...)
		b = strconv.AppendInt(b, int64(m%10), 10)
		b = append(b, `","ts":"`...)
		b = time.UnixMicro(ts).UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
		b = append(b, `","value":`...)
		b = strconv.AppendFloat(b, 20+5*math.Sin(float64(ts)/6e8)+float64((ts*2654435761)%1000)/1000, 'f', 3, 64)
		b = append(b, '}')
		if *next++; *next == per {
			*next = 0
		}
	}
	return append(b, "]}]}"...)
}

// post sends until it is acknowledged, as a careful client does.
func (l *load) post(body []byte) {
	for {
		req, err := http.NewRequest(http.MethodPost, l.url, bytes.NewReader(body))
		if err != nil {
			return
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-API-Key", l.key)
		start := time.Now()
		resp, err := l.http.Do(req)
		if err != nil {
			l.refused.Add(1)
			time.Sleep(20 * time.Millisecond)
			continue
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			l.refused.Add(1)
			time.Sleep(20 * time.Millisecond)
			continue
		}
		l.ack.add(float64(time.Since(start).Microseconds()) / 1e3)
		l.requests.Add(1)
		l.points.Add(int64(l.s.Points))
		return
	}
}
