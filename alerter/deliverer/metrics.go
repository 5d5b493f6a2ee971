package deliverer

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	planned    prometheus.Counter
	attempts   *prometheus.CounterVec
	duration   prometheus.Histogram
	pending    prometheus.Gauge
	inFlight   prometheus.Gauge
	disabled   prometheus.Counter
	unreadable prometheus.Counter
	due        *prometheus.GaugeVec
	committed  *prometheus.GaugeVec
	received   prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		planned: prometheus.NewCounter(prometheus.CounterOpts{Name: "edgepulse_deliverer_planned_total",
			Help: "Webhooks planned: one per event and endpoint."}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "edgepulse_deliverer_attempts_total",
			Help: "Attempts by outcome: delivered, retry, gave_up."}, []string{"outcome"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "edgepulse_deliverer_attempt_duration_seconds",
			Help: "Time from dial to answer.", Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15}}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{Name: "edgepulse_deliverer_pending",
			Help: "Webhooks planned and neither delivered nor given up."}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "edgepulse_deliverer_in_flight",
			Help: "Attempts under way."}),
		disabled: prometheus.NewCounter(prometheus.CounterOpts{Name: "edgepulse_deliverer_endpoints_disabled_total",
			Help: "Endpoints disabled because they are gone or kept failing."}),
		unreadable: prometheus.NewCounter(prometheus.CounterOpts{Name: "edgepulse_deliverer_unreadable_total",
			Help: "Alert events that were passed over because they can't be read."}),
		due: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "edgepulse_deliverer_next_due_timestamp_seconds",
			Help: "When the next waiting attempt is due; 0 = none waits. In the past: attempts are late."}, []string{"partition"}),
		committed: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "edgepulse_deliverer_committed_root",
			Help: "Last root of ALERTS whose plans are on disk."}, []string{"partition"}),
		received: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "edgepulse_deliverer_received_to_delivered_seconds",
			Help:    "From the receipt of the request that caused an event to the receiver's answer; retries included, backfill not.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 60, 300, 1800, 7200, 36000}}),
	}
	for _, outcome := range []string{"delivered", "retry", "gave_up"} {
		m.attempts.WithLabelValues(outcome)
	}
	reg.MustRegister(m.planned, m.attempts, m.duration, m.pending, m.inFlight, m.disabled, m.unreadable, m.due, m.committed, m.received)
	return m
}

// stand tells where an engine is after a turn. Only its own goroutine calls it.
func (e *Engine) stand() {
	due := 0.0
	if at, ok := e.book.nextDue(); ok {
		due = float64(at.UnixMilli()) / 1e3
	}
	partition := strconv.Itoa(e.partition)
	e.d.metrics.due.WithLabelValues(partition).Set(due)
	e.d.metrics.committed.WithLabelValues(partition).Set(float64(e.position))
}
