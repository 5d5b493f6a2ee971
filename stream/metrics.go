package stream

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics registers the metrics of runners and projectors. Labels are bounded:
// log, partition and reason, never a tenant, device or metric id. Every series
// exists from the start, so that a rule can tell "nothing yet" from "not there".
type Metrics struct {
	reg    prometheus.Registerer
	stages map[string]*stageMetrics
	logs   map[LogName]*projectorMetrics
}

// NewMetrics hands a registry to the stages of this process.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	return &Metrics{reg: reg, stages: map[string]*stageMetrics{}, logs: map[LogName]*projectorMetrics{}}
}

// progress is what every reader of a log has.
type progress struct {
	halted, position, committed, behind *prometheus.GaugeVec
	entries, outputs, commits           *prometheus.CounterVec
	deadLetters                         *prometheus.CounterVec
	commit                              prometheus.Histogram
}

type stageMetrics struct {
	progress
	owned                                    *prometheus.GaugeVec
	fenced, fold                             *prometheus.CounterVec
	latency, received                        prometheus.Histogram
	snapshots                                *prometheus.CounterVec
	snapshotRoot, snapshotAt, snapshotStored *prometheus.GaugeVec
	snapshotCost                             prometheus.Histogram
	nondeterminism                           prometheus.Counter
}

type projectorMetrics struct {
	progress
	batchRows     prometheus.Histogram
	compactErrors prometheus.Counter
}

// factory registers metrics of one subsystem.
type factory struct {
	reg       prometheus.Registerer
	subsystem string
}

func (f factory) gauge(what, help string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "edgepulse", Subsystem: f.subsystem, Name: what, Help: help}, []string{"partition"})
	f.reg.MustRegister(g)
	return g
}

func (f factory) counter(what, help, label string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "edgepulse", Subsystem: f.subsystem, Name: what, Help: help}, []string{label})
	f.reg.MustRegister(c)
	return c
}

func (f factory) histogram(what, help string) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "edgepulse", Subsystem: f.subsystem, Name: what, Help: help,
		Buckets: prometheus.ExponentialBucketsRange(0.0005, 30, 16)})
	f.reg.MustRegister(h)
	return h
}

// stage returns the metrics of one stage; call it before the stage starts.
func (m *Metrics) stage(name string, partitions []int) *stageMetrics {
	if s, ok := m.stages[name]; ok {
		return s
	}
	f := factory{m.reg, name}
	s := &stageMetrics{
		progress: progress{
			halted:      f.gauge("partition_halted", "1 while the partition is stopped because a log was changed from outside."),
			position:    f.gauge("position_root", "Last root folded."),
			committed:   f.gauge("committed_root", "Last root covered by a commit on disk."),
			behind:      f.gauge("input_age_seconds", "Age of the newest input when it was folded. Stands still when the stage does: see edgepulse_lag_seconds."),
			entries:     f.counter("entries_total", "Entries folded.", "partition"),
			outputs:     f.counter("outputs_total", "Entries committed to the stage's log.", "partition"),
			commits:     f.counter("commits_total", "Commits on disk.", "partition"),
			deadLetters: f.counter("dead_letters_total", "Entries that the fold refused, by reason.", "reason"),
			commit:      f.histogram("commit_seconds", "Time of one commit until it is on disk."),
		},
		owned:          f.gauge("partition_owned", "1 while this process works on the partition."),
		fenced:         f.counter("fenced_total", "Times another owner took the partition over.", "partition"),
		fold:           f.counter("fold_seconds_total", "Time spent folding.", "partition"),
		latency:        f.histogram("input_to_commit_seconds", "From the input's arrival in its log to the commit of its outputs."),
		received:       f.histogram("received_to_commit_seconds", "From the receipt of a request at the gateway to the commit of the first output it caused here; one observation per commit, without backfill and ticks."),
		snapshots:      f.counter("snapshots_total", "Snapshots written.", "partition"),
		snapshotRoot:   f.gauge("snapshot_root", "Root of the newest snapshot written by this process; 0 = none yet."),
		snapshotAt:     f.gauge("snapshot_timestamp_seconds", "When this process wrote its newest snapshot; its start before the first."),
		snapshotStored: f.gauge("snapshot_stored_bytes", "Bytes of the snapshots that a restart would read, compressed."),
		snapshotCost:   f.histogram("snapshot_encode_seconds", "Time a snapshot took from the folding goroutine."),
		nondeterminism: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "edgepulse", Subsystem: name,
			Name: "nondeterminism_total", Help: "Snapshots of one root that differed: must stay 0."}),
	}
	m.reg.MustRegister(s.nondeterminism)
	s.begin(partitions)
	for _, p := range partitions {
		for _, g := range []*prometheus.GaugeVec{s.owned, s.snapshotRoot, s.snapshotStored} {
			g.WithLabelValues(label(p))
		}
		for _, c := range []*prometheus.CounterVec{s.fenced, s.fold, s.snapshots} {
			c.WithLabelValues(label(p))
		}
		s.snapshotAt.WithLabelValues(label(p)).SetToCurrentTime()
	}
	m.stages[name] = s
	return s
}

// projector returns the metrics of one log's projector: one name for all logs,
// told apart by a label.
func (m *Metrics) projector(log LogName, partitions []int) *projectorMetrics {
	if s, ok := m.logs[log]; ok {
		return s
	}
	f := factory{prometheus.WrapRegistererWith(prometheus.Labels{"log": lower(log)}, m.reg), "projector"}
	s := &projectorMetrics{progress: progress{
		halted:      f.gauge("partition_halted", "1 while the projection is stopped because the log was changed from outside."),
		position:    f.gauge("position_root", "Last root applied."),
		committed:   f.gauge("committed_root", "Last root in the database."),
		behind:      f.gauge("input_age_seconds", "Age of the newest input when it was applied. Stands still when the projector does: see edgepulse_lag_seconds."),
		entries:     f.counter("entries_total", "Entries projected.", "partition"),
		outputs:     f.counter("rows_total", "Rows written.", "partition"),
		commits:     f.counter("commits_total", "Transactions committed.", "partition"),
		deadLetters: f.counter("dead_letters_total", "Entries that can't be projected, by reason.", "reason"),
		commit:      f.histogram("commit_seconds", "Time of one transaction."),
	}}
	s.batchRows = prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "edgepulse", Subsystem: f.subsystem,
		Name: "transaction_rows", Help: "Rows and samples of one transaction.", Buckets: prometheus.ExponentialBuckets(1, 4, 10)})
	s.compactErrors = prometheus.NewCounter(prometheus.CounterOpts{Namespace: "edgepulse", Subsystem: f.subsystem,
		Name: "compaction_errors_total", Help: "Rounds of compaction that ended early; they begin again."})
	f.reg.MustRegister(s.batchRows, s.compactErrors)
	s.begin(partitions)
	m.logs[log] = s
	return s
}

func (s *progress) begin(partitions []int) {
	for _, p := range partitions {
		for _, g := range []*prometheus.GaugeVec{s.halted, s.position, s.committed, s.behind} {
			g.WithLabelValues(label(p))
		}
		for _, c := range []*prometheus.CounterVec{s.entries, s.outputs, s.commits} {
			c.WithLabelValues(label(p))
		}
	}
	for _, reason := range []string{"undecodable", "panic", reasonRefused} {
		s.deadLetters.WithLabelValues(reason)
	}
}

// took measures one commit from the receipt of the oldest request it answers.
func (s *stageMetrics) took(receivedAt int64) {
	if receivedAt != 0 {
		s.received.Observe(max(0, time.Since(time.UnixMicro(receivedAt)).Seconds()))
	}
}

func label(partition int) string { return strconv.Itoa(partition) }

// Register adds the state of the connection to the broker.
func (b *Broker) Register(reg prometheus.Registerer) {
	gauge := func(what, help string, read func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "edgepulse", Subsystem: "nats", Name: what, Help: help}, read))
	}
	counter := func(what, help string, read func() float64) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "edgepulse", Subsystem: "nats", Name: what, Help: help}, read))
	}
	gauge("connected", "1 while this process is connected to NATS.", func() float64 {
		if b.nc.IsConnected() {
			return 1
		}
		return 0
	})
	counter("reconnects_total", "Times the connection to NATS was made again.", func() float64 { return float64(b.nc.Stats().Reconnects) })
	counter("received_bytes_total", "Bytes received from NATS.", func() float64 { return float64(b.nc.Stats().InBytes) })
	counter("sent_bytes_total", "Bytes sent to NATS.", func() float64 { return float64(b.nc.Stats().OutBytes) })
}
