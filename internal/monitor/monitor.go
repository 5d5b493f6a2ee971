// Package monitor looks at all logs from outside and says who is behind. A stage
// that is dead can't tell; the monitor beside the gateway can.
//
// What comes in: the state of every stream, and the positions that projectors and
// archiver left in the database. What goes out: gauges of how far each reader of
// a log is behind it, in roots and in seconds, and how full the logs are. In what
// order: a look every few seconds, a log before the logs derived from it, so that a
// healthy reader never seems behind. Which state: when each log was seen to grow.
// On failure: what could not be read is taken out of the metrics, never left at
// an old value, and counted.
package monitor

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgepulse/edgepulse/stream"
)

// Logs is the broker as the monitor sees it.
type Logs interface {
	Partitions() int
	Look(ctx context.Context, before stream.LogStatus) (stream.LogStatus, error)
	StoredAt(ctx context.Context, log stream.LogName, partition int, seq uint64) (time.Time, error)
}

// Positions are roots by log and partition, or sequences for a log of truth.
type Positions func(ctx context.Context) (map[stream.LogName]map[int]uint64, error)

// Config sets a Monitor up.
type Config struct {
	Every time.Duration `help:"How often all logs are looked at for lag and fill." default:"5s" env:"EDGEPULSE_MONITOR_EVERY"`

	// Projected and Archived are positions in the database; nil where this process has none.
	Projected, Archived Positions `kong:"-"`
	// ArchivedLogs are those that the archiver keeps.
	ArchivedLogs []stream.LogName `kong:"-"`
	Now          func() time.Time `kong:"-"` // default time.Now
}

// Monitor looks at the logs; one per deployment is enough, several agree.
type Monitor struct {
	cfg     Config
	logs    Logs
	metrics *metrics
	log     *slog.Logger

	seen   map[place]stream.LogStatus
	growth map[place]*growth
	since  map[reader]known
	said   string
}

// place is one partition of a log.
type place struct {
	log       stream.LogName
	partition int
}

// reader is who follows a place.
type reader struct {
	stage string
	place
}

// known is the age of a position that was looked up, so that it is looked up once.
type known struct {
	pos uint64
	at  time.Time
}

// New registers the metrics; Run does the work.
func New(cfg Config, logs Logs, reg prometheus.Registerer, log *slog.Logger) *Monitor {
	if cfg.Every <= 0 {
		cfg.Every = 5 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	metrics := newMetrics(reg)
	metrics.partitions.Set(float64(logs.Partitions()))
	return &Monitor{cfg: cfg, logs: logs, metrics: metrics, log: log,
		seen: map[place]stream.LogStatus{}, growth: map[place]*growth{}, since: map[reader]known{}}
}

// Run looks until ctx ends.
func (m *Monitor) Run(ctx context.Context) error {
	timer := time.NewTicker(m.cfg.Every)
	defer timer.Stop()
	for {
		// One look may wait for a broker that elects a leader, but not for ever.
		look, cancel := context.WithTimeout(ctx, max(m.cfg.Every, 5*time.Second))
		m.Look(look)
		cancel()
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
	}
}

// Look looks once.
func (m *Monitor) Look(ctx context.Context) {
	var errs []error
	for _, spec := range stream.Topology {
		for p := range m.logs.Partitions() {
			if err := m.lookAt(ctx, place{spec.Name, p}); err != nil {
				errs = append(errs, err)
				m.metrics.errors.WithLabelValues("broker").Inc()
			}
		}
	}
	for _, spec := range stream.Topology {
		if spec.From == "" {
			continue
		}
		for p := range m.logs.Partitions() {
			own, ok := m.seen[place{spec.Name, p}]
			m.follow(ctx, reader{spec.Writer, place{spec.From, p}}, own.Root, ok)
		}
	}
	errs = append(errs, m.followDatabase(ctx, "projector", m.cfg.Projected, derived()),
		m.followDatabase(ctx, "archiver", m.cfg.Archived, m.cfg.ArchivedLogs))
	err := errors.Join(errs...)
	if err == nil {
		m.metrics.last.Set(float64(m.cfg.Now().UnixMilli()) / 1e3)
		m.said = ""
		return
	}
	if ctx.Err() == nil && err.Error() != m.said {
		m.said = err.Error()
		m.log.Warn("can't see how far the stages are", "error", err)
	}
}

// derived are the logs that are projected.
func derived() []stream.LogName {
	var out []stream.LogName
	for _, s := range stream.Topology {
		if s.From != "" {
			out = append(out, s.Name)
		}
	}
	return out
}

func (m *Monitor) lookAt(ctx context.Context, at place) error {
	before, ok := m.seen[at]
	if !ok {
		before = stream.LogStatus{Log: at.log, Partition: at.partition}
	}
	st, err := m.logs.Look(ctx, before)
	if err != nil {
		delete(m.seen, at)
		m.metrics.forgetLog(at)
		return err
	}
	if m.growth[at] == nil || !st.Created.Equal(before.Created) {
		m.growth[at] = &growth{}
	}
	m.seen[at] = st
	m.growth[at].reached(end(st), m.cfg.Now())
	m.metrics.log(at, st)
	return nil
}

// end is how far a log reaches in the terms of those who read it.
func end(st stream.LogStatus) uint64 {
	if spec, _ := stream.Spec(st.Log); spec.Truth {
		return st.LastSeq
	}
	return st.Root
}

func (m *Monitor) followDatabase(ctx context.Context, stage string, read Positions, logs []stream.LogName) error {
	if read == nil {
		return nil
	}
	positions, err := read(ctx)
	if err != nil {
		m.metrics.errors.WithLabelValues("database").Inc()
	}
	for _, log := range logs {
		for p := range m.logs.Partitions() {
			m.follow(ctx, reader{stage, place{log, p}}, positions[log][p], err == nil)
		}
	}
	return err
}

// follow says how far a reader at pos is behind what it reads.
func (m *Monitor) follow(ctx context.Context, r reader, pos uint64, ok bool) {
	g := m.growth[r.place]
	if _, seen := m.seen[r.place]; !ok || !seen || g == nil {
		m.metrics.forgetReader(r)
		return
	}
	if pos >= g.end() {
		m.metrics.behind(r, 0, 0)
		return
	}
	at, certain := g.passed(pos)
	if !certain {
		at = m.stored(ctx, r, pos, at)
	}
	m.metrics.behind(r, g.end()-pos, max(0, m.cfg.Now().Sub(at)))
}

// stored asks the log itself for the age of what a reader waits to read: the
// monitor began to look later than that. A derived log has no message per root;
// the root's own age, in INGEST, stands for it.
func (m *Monitor) stored(ctx context.Context, r reader, pos uint64, otherwise time.Time) time.Time {
	if k, ok := m.since[r]; ok && k.pos == pos {
		return k.at
	}
	log := r.log
	if spec, _ := stream.Spec(log); !spec.Truth {
		log = stream.Ingest
	}
	at, err := m.logs.StoredAt(ctx, log, r.partition, pos+1)
	if err != nil {
		return otherwise // archived and truncated, or not to be had now
	}
	m.since[r] = known{pos, at}
	return at
}
