package archive

import (
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of all archivers of a process, by log and partition.
type Metrics struct {
	root, oldest    *prometheus.GaugeVec
	segments, bytes *prometheus.CounterVec
	failures        *prometheus.CounterVec
	flush           prometheus.Histogram
}

// NewMetrics registers them.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	const ns, sub = "edgepulse", "archiver"
	where := []string{"log", "partition"}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, where)
	}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, where)
	}
	m := &Metrics{
		root:     gauge("archived_root", "Last message of the log that is in the object store and indexed."),
		oldest:   gauge("oldest_unarchived_timestamp_seconds", "When the oldest message of the open segment was stored in the log; 0 = none is open."),
		segments: counter("segments_total", "Segments written."),
		bytes:    counter("segment_bytes_total", "Bytes of segments written, compressed."),
		failures: counter("failures_total", "Times archiving of a log had to begin again."),
		flush: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: "flush_seconds",
			Help: "Time to write and index one segment.", Buckets: prometheus.ExponentialBucketsRange(0.001, 60, 12)}),
	}
	reg.MustRegister(m.root, m.oldest, m.segments, m.bytes, m.failures, m.flush)
	return m
}

func (c Config) labels() []string {
	return []string{strings.ToLower(string(c.Log)), strconv.Itoa(c.Partition)}
}

// stand tells how far a log is archived; oldest is zero when nothing waits.
func (m *Metrics) stand(c Config, last uint64, oldest time.Time) {
	if m == nil {
		return
	}
	l := c.labels()
	m.root.WithLabelValues(l...).Set(float64(last))
	at := 0.0
	if !oldest.IsZero() {
		at = float64(oldest.UnixMilli()) / 1e3
	}
	m.oldest.WithLabelValues(l...).Set(at)
	// They exist from the first moment on, and count nothing yet.
	m.segments.WithLabelValues(l...)
	m.bytes.WithLabelValues(l...)
	m.failures.WithLabelValues(l...)
}

func (m *Metrics) flushed(c Config, s Segment, took time.Duration) {
	if m == nil {
		return
	}
	m.segments.WithLabelValues(c.labels()...).Inc()
	m.bytes.WithLabelValues(c.labels()...).Add(float64(s.Bytes))
	m.flush.Observe(took.Seconds())
}

// Failed counts that archiving of a log begins again.
func (m *Metrics) Failed(c Config) { m.failures.WithLabelValues(c.labels()...).Inc() }
