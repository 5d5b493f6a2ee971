package bench

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// load sends the scenario over HTTP.
type load struct {
	s        Scenario
	url, key string
	start    time.Time
	requests atomic.Int64
	refused  atomic.Int64
	points   atomic.Int64
	ack      *latencies
	second   atomic.Pointer[secondText]
}

func newLoad(url, key string, s Scenario) *load {
	return &load{s: s, url: url, key: key, ack: newLatencies()}
}

func (l *load) run(ctx context.Context, progress func(string)) {
	ctx, cancel := context.WithTimeout(ctx, l.s.Duration)
	defer cancel()
	l.start = time.Now()
	l.ack.began = l.start
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
	w := &wire{host: strings.TrimPrefix(l.url, "http://"), path: "/v1/ingest", key: l.key}
	defer w.close()
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
		l.post(w, body)
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
		b = l.appendTime(b, ts)
		b = append(b, `","value":`...)
		b = strconv.AppendFloat(b, 20+5*math.Sin(float64(ts)/6e8)+float64((ts*2654435761)%1000)/1000, 'f', 3, 64)
		b = append(b, '}')
		if *next++; *next == per {
			*next = 0
		}
	}
	return append(b, "]}]}"...)
}

// appendTime writes an instant as RFC 3339. The load must not take the processors
// from what it measures: the text up to the second is made once.
func (l *load) appendTime(b []byte, us int64) []byte {
	second := us / 1e6
	text := l.second.Load()
	if text == nil || text.at != second {
		text = &secondText{second, time.Unix(second, 0).UTC().Format("2006-01-02T15:04:05.")}
		l.second.Store(text)
	}
	b = append(b, text.text...)
	for rest, unit := us%1e6, int64(100000); unit > 0; unit /= 10 {
		b = append(b, byte('0'+rest/unit%10))
	}
	return append(b, 'Z')
}

type secondText struct {
	at   int64
	text string
}

// post sends until it is acknowledged, as a careful client does.
func (l *load) post(w *wire, body []byte) {
	for {
		start := time.Now()
		status, err := w.post(body)
		if err != nil || status != http.StatusAccepted {
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
