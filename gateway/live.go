package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/edgepulse/edgepulse/gateway/live"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// LiveSource is the logs that the live stream follows.
type LiveSource = live.Source

const (
	liveMetrics   = 50 // at most, per stream
	keepAlive     = 15 * time.Second
	checkKeyEvery = time.Second // together with KeyTTL at most 5 s after a revocation
	// liveWrite is how long a reader may take no byte before its stream is cut. It
	// comes back by the id of its last event.
	liveWrite = 20 * time.Second
)

var liveTypes = []string{"alert", "anomaly", "score", "points", "ingest"}

// streams bounds the live streams, in all and for each tenant.
type streams struct {
	mu       sync.Mutex
	most     int
	total    int
	byTenant map[schemas.ID]int
}

func (s *streams) open(tenant schemas.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= s.most || s.byTenant[tenant] >= max(1, s.most/2) {
		return false
	}
	s.total++
	s.byTenant[tenant]++
	return true
}

func (s *streams) close(tenant schemas.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.byTenant[tenant]--; s.byTenant[tenant] == 0 {
		delete(s.byTenant, tenant)
	}
}

// liveParams reads what a stream is asked for.
func (s *Server) liveParams(r *http.Request) (live.Wants, live.Cursor, *problem) {
	p := readParams(r, "metric_id*", "min_severity", "types")
	severity, _ := schemas.ParseSeverity(p.oneOf("min_severity", severities...))
	w := live.Wants{MinSeverity: severity, Metrics: map[schemas.ID]bool{}}
	for _, v := range p.values["metric_id"] {
		id, ok := parseID(v)
		if !ok {
			p.refuse("metric_id", "expected a UUID")
		}
		w.Metrics[id] = true
	}
	if len(w.Metrics) > liveMetrics {
		p.refuse("metric_id", "at most "+strconv.Itoa(liveMetrics)+" metrics in one stream")
	}
	types := liveTypes
	if v := p.text("types"); v != "" {
		types = strings.Split(v, ",")
	}
	for _, t := range types {
		if !slices.Contains(liveTypes, t) {
			p.refuse("types", "expected some of "+strings.Join(liveTypes, ",")+", separated by commas")
		}
	}
	has := func(t string) bool { return slices.Contains(types, t) }
	w.Alerts, w.Anomalies, w.Scores, w.Points, w.Ingest = has("alert"), has("anomaly"), has("score"), has("points"), has("ingest")
	if p.problem != nil {
		return w, nil, p.problem
	}
	last := r.Header.Get("Last-Event-ID")
	if last == "" {
		return w, nil, nil
	}
	after, err := live.ParseCursor(last, s.live.Partitions())
	if err != nil {
		return w, nil, newProblem(http.StatusBadRequest, "bad_event_id", "Last-Event-ID is not an id of an event of this stream")
	}
	return w, after, nil
}

// handleLive is the stream of server-sent events (WHATWG HTML, "Server-sent events").
func (s *Server) handleLive(w http.ResponseWriter, r *http.Request) {
	wants, after, p := s.liveParams(r)
	key := keyFrom(r)
	if p == nil && !s.streams.open(key.TenantID) {
		p = newProblem(http.StatusTooManyRequests, "too_many_streams", "too many live streams are open").retry(5)
	}
	if p != nil {
		s.problem(w, r, p)
		return
	}
	defer s.streams.close(key.TenantID)
	sub, err := s.live.Subscribe(key.TenantID, wants, after)
	if err != nil {
		s.problem(w, r, logProblem(errDraining))
		return
	}
	defer sub.Close()
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would keep events until its buffer is full
	out := &eventWriter{w: w, control: http.NewResponseController(w), metrics: s.metrics}
	// The server's deadlines are for requests that end.
	_ = out.control.SetReadDeadline(time.Time{})
	if out.write("retry: 1000\n\n") != nil || r.Method == http.MethodHead {
		return
	}
	s.stream(r, key, sub, out)
}

// stream writes events until the reader goes, the key ends, or this process stops.
func (s *Server) stream(r *http.Request, key KeyRecord, sub *live.Subscriber, out *eventWriter) {
	_, expires, bySession := s.sessionOf(r)
	bySession = bySession && presentedKey(r) == ""
	alive := time.Now().Add(keepAlive)
	check := time.Now().Add(checkKeyEvery)
	for {
		until := check
		if alive.Before(until) {
			until = alive
		}
		events, err := sub.Next(r.Context(), until)
		if err != nil {
			return
		}
		if len(events) > 0 {
			if out.events(events) != nil {
				return
			}
			alive = time.Now().Add(keepAlive)
		}
		now := time.Now()
		if !now.Before(alive) {
			if out.keepAlive(sub) != nil {
				return
			}
			alive = now.Add(keepAlive)
		}
		if !now.Before(check) {
			if bySession && !s.auth.wall().Before(expires) || !s.stillAllowed(r.Context(), key.KeyID) {
				return
			}
			check = now.Add(checkKeyEvery)
		}
	}
}

// stillAllowed looks a key up again; a store that can't be asked ends no stream.
func (s *Server) stillAllowed(ctx context.Context, keyID string) bool {
	key, err := s.auth.current(ctx, keyID)
	if err != nil {
		return !errors.Is(err, errUnauthorized)
	}
	return !key.TenantDisabled && key.allows(ScopeRead)
}

// eventWriter writes the format of server-sent events.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	metrics *metrics
	buf     bytes.Buffer
}

// write sends text at once, or fails when the reader does not take it in time.
func (o *eventWriter) write(text string) error {
	o.buf.Reset()
	o.buf.WriteString(text)
	return o.flush()
}

func (o *eventWriter) flush() error {
	_ = o.control.SetWriteDeadline(time.Now().Add(liveWrite)) // not supported by recorders of tests
	if _, err := o.w.Write(o.buf.Bytes()); err != nil {
		return err
	}
	return o.control.Flush()
}

func (o *eventWriter) events(list []live.Event) error {
	o.buf.Reset()
	for _, e := range list {
		if e.ID != "" {
			o.buf.WriteString("id: " + e.ID + "\n")
		}
		if e.Name != "" {
			o.metrics.streamed.WithLabelValues(e.Name).Inc()
			o.buf.WriteString("event: " + e.Name + "\ndata: ")
			o.buf.Write(e.Data) // JSON: one line
			o.buf.WriteByte('\n')
		}
		if e.Name == "dropped" {
			var d api.LiveDropped
			_ = json.Unmarshal(e.Data, &d) // of our own making
			o.metrics.dropped.Add(float64(d.Count))
		}
		o.buf.WriteByte('\n')
	}
	return o.flush()
}

// keepAlive says that the stream lives, and moves on the place where a reader
// would begin again: a block without data sets the id and makes no event.
func (o *eventWriter) keepAlive(sub *live.Subscriber) error {
	text := ": keep-alive\n\n"
	if id, ok := sub.Position(); ok {
		text = ": keep-alive\nid: " + id + "\n\n"
	}
	return o.write(text)
}
