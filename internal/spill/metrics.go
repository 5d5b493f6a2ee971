package spill

import "github.com/prometheus/client_golang/prometheus"

// Metrics of the drain.
type Metrics struct {
	requests *prometheus.CounterVec
	pending  prometheus.Gauge
}

// NewMetrics registers them.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "edgepulse", Subsystem: "archiver", Name: "spills_total",
			Help: "Spilled requests of the edge by what became of them: taken, repeat, refused."}, []string{"result"}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "edgepulse", Subsystem: "archiver", Name: "spills_pending",
			Help: "Spilled requests that wait in the object store, as of the last pass."}),
	}
	for _, r := range []string{"taken", "repeat", "refused"} {
		m.requests.WithLabelValues(r)
	}
	reg.MustRegister(m.requests, m.pending)
	return m
}

func (m *Metrics) count(r Result) {
	m.requests.WithLabelValues("taken").Add(float64(r.Taken))
	m.requests.WithLabelValues("repeat").Add(float64(r.Repeats))
	m.requests.WithLabelValues("refused").Add(float64(r.Refused))
}
