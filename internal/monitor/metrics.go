package monitor

import (
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgepulse/edgepulse/stream"
)

type metrics struct {
	lagRoots, lagSeconds            *prometheus.GaugeVec
	root, bytes, maxBytes, messages *prometheus.GaugeVec
	first, epoch, lastAt            *prometheus.GaugeVec
	errors                          *prometheus.CounterVec
	last, partitions                prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	gauge := func(subsystem, name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "edgepulse", Subsystem: subsystem, Name: name, Help: help}, labels)
		reg.MustRegister(g)
		return g
	}
	m := &metrics{
		lagRoots:   gauge("lag", "roots", "Roots that a stage is behind the log it reads, seen from outside; sequences for a log of truth.", "stage", "log", "partition"),
		lagSeconds: gauge("lag", "seconds", "For how long the log has been beyond the stage's position, seen from outside: grows while the stage is dead.", "stage", "log", "partition"),
		root:       gauge("log", "root", "Last root that the log covers.", "log", "partition"),
		bytes:      gauge("log", "bytes", "Bytes of the log in the broker.", "log", "partition"),
		maxBytes:   gauge("log", "max_bytes", "Bytes at which the log takes no more.", "log", "partition"),
		messages:   gauge("log", "messages", "Messages of the log in the broker.", "log", "partition"),
		first:      gauge("log", "first_sequence", "First sequence that is still in the log.", "log", "partition"),
		epoch:      gauge("log", "epoch", "Epoch of the log's owner: rises with every takeover. 0 for INGEST.", "log", "partition"),
		lastAt:     gauge("log", "last_timestamp_seconds", "When the broker stored the newest message.", "log", "partition"),
		partitions: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "edgepulse", Subsystem: "log", Name: "partitions",
			Help: "Partitions of the deployment."}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "edgepulse", Subsystem: "monitor", Name: "errors_total",
			Help: "Logs or positions that could not be read, by source."}, []string{"source"}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "edgepulse", Subsystem: "monitor", Name: "last_look_timestamp_seconds",
			Help: "When everything was last read without an error."}),
	}
	reg.MustRegister(m.errors, m.last, m.partitions)
	for _, source := range []string{"broker", "database"} {
		m.errors.WithLabelValues(source)
	}
	return m
}

func (p place) labels() []string {
	return []string{strings.ToLower(string(p.log)), strconv.Itoa(p.partition)}
}

func (r reader) labels() []string { return append([]string{r.stage}, r.place.labels()...) }

func (m *metrics) log(at place, st stream.LogStatus) {
	l := at.labels()
	m.root.WithLabelValues(l...).Set(float64(end(st)))
	m.bytes.WithLabelValues(l...).Set(float64(st.Bytes))
	m.maxBytes.WithLabelValues(l...).Set(float64(st.MaxBytes))
	m.messages.WithLabelValues(l...).Set(float64(st.Messages))
	m.first.WithLabelValues(l...).Set(float64(st.FirstSeq))
	m.epoch.WithLabelValues(l...).Set(float64(st.Epoch))
	if st.LastAt.Unix() > 0 {
		m.lastAt.WithLabelValues(l...).Set(float64(st.LastAt.UnixMilli()) / 1e3)
	}
}

func (m *metrics) forgetLog(at place) {
	for _, g := range []*prometheus.GaugeVec{m.root, m.bytes, m.maxBytes, m.messages, m.first, m.epoch, m.lastAt} {
		g.DeleteLabelValues(at.labels()...)
	}
}

func (m *metrics) behind(r reader, roots uint64, age time.Duration) {
	m.lagRoots.WithLabelValues(r.labels()...).Set(float64(roots))
	m.lagSeconds.WithLabelValues(r.labels()...).Set(age.Seconds())
}

func (m *metrics) forgetReader(r reader) {
	m.lagRoots.DeleteLabelValues(r.labels()...)
	m.lagSeconds.DeleteLabelValues(r.labels()...)
}
