package app

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/stream"
)

// Retention says when what is older than the plans allow is looked for.
type Retention struct {
	Every time.Duration `help:"How often what is older than its tenant's retention is deleted, in bounded steps; 0 = never." default:"1h" env:"EDGEPULSE_RETENTION_EVERY"`
}

// Swept is what one step deleted, or would.
type Swept struct {
	Rows     map[string]map[string]int64 `json:"rows"`     // by tenant id, then table
	Segments []string                    `json:"segments"` // of the archive
	Bytes    int64                       `json:"segment_bytes"`
	Done     bool                        `json:"done"` // nothing is left for the next step
}

// Sweeper deletes what is older than its tenant's retention: rows, and segments of
// the archive that are older than the longest retention of all, since a segment
// holds entries of many tenants. The rest of a tenant with less is sealed, and
// goes earlier only with its key.
type Sweeper struct {
	Store   *store.Store
	Broker  *stream.Broker
	Archive stream.Blobs // nil = none
	Now     func() time.Time
}

// segmentsAtOnce bounds the segments of one step and partition.
const segmentsAtOnce = 50

// Step makes one bounded step.
func (s Sweeper) Step(ctx context.Context, dryRun bool) (Swept, error) {
	out := Swept{Rows: map[string]map[string]int64{}, Done: true}
	list, err := s.Store.Retentions(ctx)
	if err != nil {
		return out, err
	}
	longest := 0
	for _, r := range list {
		longest = max(longest, r.Days)
		rows, done, err := s.Store.Sweep(ctx, r, s.Now(), dryRun)
		if err != nil {
			return out, err
		}
		if len(rows) > 0 {
			out.Rows[r.Tenant.String()] = rows
		}
		out.Done = out.Done && done
	}
	if !dryRun {
		if _, err := s.Store.EraseLeftovers(ctx, leftoversFor); err != nil {
			return out, err
		}
	}
	if s.Archive == nil || len(list) == 0 {
		return out, nil
	}
	for _, log := range archived {
		for p := range s.Broker.Partitions() {
			if err := s.segments(ctx, log, p, s.Now().AddDate(0, 0, -longest), dryRun, &out); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// leftoversFor is longer than a webhook is tried.
const leftoversFor = 14 * 24 * time.Hour

func (s Sweeper) segments(ctx context.Context, log stream.LogName, p int, before time.Time, dryRun bool, out *Swept) error {
	st, err := s.Broker.StatusOf(ctx, log, p)
	if err != nil {
		return err
	}
	list, err := s.Store.OldSegments(ctx, log, p, before, segmentsAtOnce)
	if err != nil {
		return err
	}
	for _, g := range list {
		if g.LastRoot >= st.FirstSeq {
			break // the log still holds it: the janitor compares both before it cuts
		}
		out.Segments, out.Bytes = append(out.Segments, g.ObjectKey), out.Bytes+g.Bytes
		if dryRun {
			continue
		}
		// The object first: where the store refuses it, the index still has it.
		if err := s.Archive.Delete(ctx, g.ObjectKey); err != nil {
			return fmt.Errorf("delete segment: %w", err)
		}
		if err := s.Store.ForgetSegment(ctx, g); err != nil {
			return err
		}
	}
	out.Done = out.Done && len(list) < segmentsAtOnce
	return nil
}

type sweepMetrics struct{ rows, segments, failures prometheus.Counter }

func newSweepMetrics(reg prometheus.Registerer) sweepMetrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "edgepulse", Subsystem: "retention", Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	return sweepMetrics{
		rows:     counter("deleted_rows_total", "Rows deleted because they were older than their tenant's retention."),
		segments: counter("deleted_segments_total", "Archived segments deleted because they were older than every tenant's retention."),
		failures: counter("failures_total", "Steps of the retention sweep that ended early; the next one goes on."),
	}
}

// sweepNext is when the first step is made, and the next one where something is left.
const sweepNext = time.Minute

// sweep runs steps until ctx ends; one process is enough: the owner of partition 0.
func (a *App) sweep(ctx context.Context, m sweepMetrics) error {
	every := a.cfg.Retention.Every
	if every <= 0 {
		return nil
	}
	s := Sweeper{Store: a.store, Broker: a.broker, Archive: a.archive, Now: time.Now}
	timer := time.NewTimer(min(every, sweepNext))
	defer timer.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		done, err := s.Step(ctx, false)
		next := every
		if err != nil || !done.Done {
			next = min(every, sweepNext)
		}
		timer.Reset(next)
		for _, tables := range done.Rows {
			for _, n := range tables {
				m.rows.Add(float64(n))
			}
		}
		m.segments.Add(float64(len(done.Segments)))
		if err == nil || ctx.Err() != nil {
			continue
		}
		m.failures.Inc()
		if err.Error() != said {
			said = err.Error()
			a.log.Warn("retention waits", "stage", "archiver", "error", err)
		}
	}
}
