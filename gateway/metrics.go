package gateway

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgepulse/edgepulse/schemas/payload"
)

// metrics of the gateway. No label names a tenant, device or metric.
type metrics struct {
	requests  *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	points    prometheus.Counter
	rejected  *prometheus.CounterVec
	wire      prometheus.Counter
	inflated  prometheus.Counter
	repeats   prometheus.Counter
	ticks     prometheus.Counter
	appends   *prometheus.CounterVec
	append    prometheus.Histogram
	groupReqs prometheus.Histogram
	groupPts  prometheus.Histogram
	groupSize prometheus.Histogram
	inflight  prometheus.Gauge
	panics    prometheus.Counter
	streams   prometheus.Gauge
	streamed  *prometheus.CounterVec
	dropped   prometheus.Counter
	edge      *prometheus.CounterVec
	root      *prometheus.GaugeVec

	peers         prometheus.Gauge
	shareFailures prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	const ns, sub = "edgepulse", "gateway"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help, Buckets: buckets})
	}
	latency := prometheus.ExponentialBuckets(0.0005, 2, 15) // 0.5 ms to 8 s
	m := &metrics{
		requests: counters("requests_total", "HTTP requests by route and class of status.", "route", "class"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: "request_seconds",
			Help: "Time to answer by route.", Buckets: latency}, []string{"route"}),
		points:    counter("points_total", "Points accepted and on disk."),
		rejected:  counters("rejected_total", "Points and requests refused, by problem code.", "code"),
		wire:      counter("wire_bytes_total", "Bytes of ingest bodies as they came."),
		inflated:  counter("inflated_bytes_total", "Bytes of ingest bodies after Content-Encoding."),
		repeats:   counter("repeats_total", "Requests answered from the cache of idempotency keys."),
		ticks:     counter("ticks_total", "Seconds ticked."),
		appends:   counters("appends_total", "Groups published, by result.", "result"),
		append:    histogram("append_seconds", "Time until a group is on disk.", latency),
		groupReqs: histogram("group_requests", "Submissions per group.", prometheus.ExponentialBuckets(1, 2, 11)),
		groupPts:  histogram("group_points", "Points per group.", prometheus.ExponentialBuckets(1, 4, 8)),
		groupSize: histogram("group_bytes", "Bytes per group.", prometheus.ExponentialBuckets(256, 4, 8)),
		inflight:  prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "inflight_bytes", Help: "Bytes of requests in work."}),
		panics:    counter("panics_total", "Requests that ended in a panic: bugs."),
		streams:   prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "live_streams", Help: "Open live streams."}),
		streamed:  counters("live_events_total", "Events sent on live streams, by kind.", "event"),
		dropped:   counter("live_dropped_total", "Scores and points that slow readers of live streams did not get."),
		edge:      counters("edge_requests_total", "Requests through the edge, by what became of their signature; spill = drained ones taken.", "result"),
		root: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "committed_root",
			Help: "Root of the newest group that this process put on disk."}, []string{"partition"}),
	}
	m.peers = prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "quota_peers",
		Help: "Other gateways that this one shares the tenants' quotas with."})
	m.shareFailures = counter("quota_share_failures_total", "Times that consumption could not be told to the other gateways, or heard of from them.")
	reg.MustRegister(m.peers, m.shareFailures)
	reg.MustRegister(m.requests, m.seconds, m.points, m.rejected, m.wire, m.inflated, m.repeats, m.ticks, m.appends, m.append,
		m.groupReqs, m.groupPts, m.groupSize, m.inflight, m.panics, m.streams, m.streamed, m.dropped, m.edge, m.root)
	m.begin()
	return m
}

// begin makes the series that rules ask for exist before the first event.
func (m *metrics) begin() {
	for _, class := range []string{"2xx", "4xx", "5xx"} {
		m.requests.WithLabelValues(ingestRoute, class)
	}
	m.seconds.WithLabelValues(ingestRoute)
	for _, result := range []string{"stored", "full", "unknown"} {
		m.appends.WithLabelValues(result)
	}
	for _, result := range []string{"verified", "spill"} {
		m.edge.WithLabelValues(result)
	}
	for _, event := range liveTypes {
		m.streamed.WithLabelValues(event)
	}
	for _, code := range []string{"log_full", "log_unavailable", "overloaded", "keys_unavailable", "unauthorized", "quota_exceeded", "too_many_requests", "plan_exhausted",
		"too_much_in_flight", payload.CodeMalformed, payload.CodeTSTooOld, payload.CodeTSInFuture} {
		m.rejected.WithLabelValues(code)
	}
}

// ingestRoute is the label of the route that points come by.
const ingestRoute = "/v1/ingest"

func (m *metrics) request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status/100)+"xx").Inc()
	if route != "/v1/live" { // how long somebody watches is no measure of ours
		m.seconds.WithLabelValues(route).Observe(took.Seconds())
	}
}

func (m *metrics) group(requests, points, size int, took time.Duration, err error) {
	result := "stored"
	switch {
	case errors.Is(err, ErrLogFull):
		result = "full"
	case err != nil:
		result = "unknown"
	}
	m.appends.WithLabelValues(result).Inc()
	m.append.Observe(took.Seconds())
	m.groupReqs.Observe(float64(requests))
	m.groupPts.Observe(float64(points))
	m.groupSize.Observe(float64(size))
}
