package janitor

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgepulse/edgepulse/stream"
)

// Metrics of all janitors of a process.
type Metrics struct{ m *metrics }

type metrics struct {
	doneRoot, heldBytes *prometheus.GaugeVec
	messages, bytes     *prometheus.CounterVec
	failures            prometheus.Counter
	last                prometheus.Gauge
}

// NewMetrics registers them.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	const ns, sub = "edgepulse", "janitor"
	reader, log := []string{"log", "partition", "stage"}, []string{"log", "partition"}
	m := &metrics{
		doneRoot: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "done_root",
			Help: "Last root of the log that the stage will never ask for again; of DELIVERIES a sequence."}, reader),
		heldBytes: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "held_bytes",
			Help: "Bytes that the log would be rid of but for this stage, the last of its readers."}, reader),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "truncated_messages_total",
			Help: "Messages truncated from the log."}, log),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "truncated_bytes_total",
			Help: "Bytes truncated from the log, about."}, log),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "failures_total",
			Help: "Rounds that could not look at a partition's logs or truncate them."}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "last_round_timestamp_seconds",
			Help: "When all logs were last looked at; 0 = not yet."}),
	}
	reg.MustRegister(m.doneRoot, m.heldBytes, m.messages, m.bytes, m.failures, m.last)
	return &Metrics{m}
}

func labels(log stream.LogName, partition int) []string {
	return []string{strings.ToLower(string(log)), strconv.Itoa(partition)}
}

func (m *metrics) begin(r Reader, partition int) {
	l := labels(r.Log, partition)
	m.messages.WithLabelValues(l...)
	m.bytes.WithLabelValues(l...)
	m.held(r, partition, 0)
	m.done(r, partition, 0)
}

func (m *metrics) done(r Reader, partition int, root uint64) {
	m.doneRoot.WithLabelValues(append(labels(r.Log, partition), r.Name)...).Set(float64(root))
}

func (m *metrics) held(r Reader, partition int, bytes uint64) {
	m.heldBytes.WithLabelValues(append(labels(r.Log, partition), r.Name)...).Set(float64(bytes))
}

func (m *metrics) cut(log stream.LogName, partition int, c stream.Cut) {
	l := labels(log, partition)
	m.messages.WithLabelValues(l...).Add(float64(c.Messages))
	m.bytes.WithLabelValues(l...).Add(float64(c.Bytes))
}
