package stream

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics registers the metrics of runners, projectors and journals. Labels are
// bounded: stage and partition, never a tenant, device or metric id.
type Metrics struct {
	reg    prometheus.Registerer
	stages map[string]*stageMetrics
}

// NewMetrics hands a registry to the stages of this process.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	return &Metrics{reg: reg, stages: map[string]*stageMetrics{}}
}

type stageMetrics struct {
	owned, halted, position, committed, behind *prometheus.GaugeVec
	fenced, entries, outputs, commits          *prometheus.CounterVec
	deadLetters, snapshots, fold               *prometheus.CounterVec
	commit, latency, snapshotCost              prometheus.Histogram
	nondeterminism, compactErrors              prometheus.Counter
	batchRows                                  prometheus.Histogram
}

// stage returns the metrics of one stage; call it before the stage starts.
func (m *Metrics) stage(name string) *stageMetrics {
	if s, ok := m.stages[name]; ok {
		return s
	}
	gauge := func(what, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "edgepulse", Subsystem: name, Name: what, Help: help}, []string{"partition"})
		m.reg.MustRegister(g)
		return g
	}
	counter := func(what, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "edgepulse", Subsystem: name, Name: what, Help: help}, []string{"partition"})
		m.reg.MustRegister(c)
		return c
	}
	histogram := func(what, help string) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "edgepulse", Subsystem: name, Name: what, Help: help,
			Buckets: prometheus.ExponentialBucketsRange(0.0005, 30, 16)})
		m.reg.MustRegister(h)
		return h
	}
	s := &stageMetrics{
		owned:        gauge("partition_owned", "1 while this process works on the partition."),
		halted:       gauge("partition_halted", "1 while the partition is stopped because a log was changed from outside."),
		position:     gauge("position_root", "Last root folded or applied."),
		committed:    gauge("committed_root", "Last root covered by a commit on disk."),
		behind:       gauge("lag_seconds", "Age of the newest input when it was folded or applied."),
		fenced:       counter("fenced_total", "Times another owner took the partition over."),
		entries:      counter("entries_total", "Entries folded or projected."),
		outputs:      counter("outputs_total", "Entries committed to the stage's log."),
		commits:      counter("commits_total", "Commits on disk."),
		deadLetters:  counter("dead_letters_total", "Entries that the fold refused."),
		snapshots:    counter("snapshots_total", "Snapshots written."),
		fold:         counter("fold_seconds_total", "Time spent folding."),
		commit:       histogram("commit_seconds", "Time of one commit until it is on disk."),
		latency:      histogram("input_to_commit_seconds", "From the input's arrival in its log to the commit of its outputs."),
		snapshotCost: histogram("snapshot_encode_seconds", "Time a snapshot took from the folding goroutine."),
		nondeterminism: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "edgepulse", Subsystem: name,
			Name: "nondeterminism_total", Help: "Snapshots of one root that differed: must stay 0."}),
	}
	m.reg.MustRegister(s.nondeterminism)
	if strings.HasPrefix(name, "projector_") {
		s.projector(m.reg, name)
	}
	m.stages[name] = s
	return s
}

// projector adds what only projectors have.
func (s *stageMetrics) projector(reg prometheus.Registerer, name string) {
	s.compactErrors = prometheus.NewCounter(prometheus.CounterOpts{Namespace: "edgepulse", Subsystem: name,
		Name: "compaction_errors_total", Help: "Rounds of compaction that ended early; they begin again."})
	s.batchRows = prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "edgepulse", Subsystem: name,
		Name: "transaction_rows", Help: "Rows and samples of one transaction.", Buckets: prometheus.ExponentialBuckets(1, 4, 10)})
	reg.MustRegister(s.compactErrors, s.batchRows)
}

func label(partition int) string { return strconv.Itoa(partition) }
