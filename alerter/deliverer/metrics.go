package deliverer

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	planned    prometheus.Counter
	attempts   *prometheus.CounterVec
	duration   prometheus.Histogram
	pending    prometheus.Gauge
	inFlight   prometheus.Gauge
	disabled   prometheus.Counter
	unreadable prometheus.Counter
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
	}
	for _, outcome := range []string{"delivered", "retry", "gave_up"} {
		m.attempts.WithLabelValues(outcome)
	}
	reg.MustRegister(m.planned, m.attempts, m.duration, m.pending, m.inFlight, m.disabled, m.unreadable)
	return m
}
