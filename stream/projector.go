package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgepulse/edgepulse/schemas"
)

const (
	// projectRows is how many rows and samples one transaction gathers before it is applied.
	projectRows = 150_000
	// projectEvery is how long a partition gathers after its last transaction. Under
	// load a series then has several samples in one chunk; without, nobody waits.
	projectEvery = 250 * time.Millisecond
	// Beyond projectBusy rows and samples in that time it gathers for projectLong: under
	// load the price is per series and transaction, and a reader is two seconds behind at most.
	projectBusy = 1000
	projectLong = 2 * time.Second
)

// Projector applies one log to the database, exactly once: rows and position
// move in one transaction (rule 8).
type Projector struct {
	log        LogName
	projection Projection
	sink       RowSink
	broker     *Broker
	metrics    *projectorMetrics
	slog       *slog.Logger
	partitions []int
	advanced   chan struct{} // a partition has applied something since compact last looked
}

// NewProjector makes the projector of a log.
func NewProjector(log LogName, projection Projection, sink RowSink, b *Broker, m *Metrics, l *slog.Logger, partitions []int) *Projector {
	return &Projector{log: log, projection: projection, sink: sink, broker: b, partitions: partitions, advanced: make(chan struct{}, 1),
		metrics: m.projector(log, partitions), slog: l.With("stage", "projector", "log", string(log))}
}

// Run works until ctx ends.
func (p *Projector) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { p.compact(ctx); return nil })
	for _, part := range p.partitions {
		g.Go(func() error {
			said := ""
			for {
				err := p.runPartition(ctx, part)
				if ctx.Err() != nil {
					return nil
				}
				var h *HaltError
				if errors.As(err, &h) {
					p.metrics.halted.WithLabelValues(label(part)).Set(1)
				}
				if err.Error() != said {
					said = err.Error()
					p.slog.Warn("projection begins again", "partition", part, "error", err)
				}
				if backOff(ctx) != nil {
					return nil
				}
			}
		})
	}
	return g.Wait()
}

func (p *Projector) runPartition(ctx context.Context, part int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pos, err := p.sink.Position(ctx, p.log, part)
	if err != nil {
		return fmt.Errorf("read position: %w", err)
	}
	p.metrics.halted.WithLabelValues(label(part)).Set(0)
	chunks, readErr := make(chan Message, 16), make(chan error, 1)
	go func() { readErr <- newReader(p.broker, p.log, part, pos).run(ctx, chunks) }()
	rows := &RowSet{}
	var applied time.Time
	for {
		select {
		case err := <-readErr:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case c := <-chunks:
			p.project(part, c, rows)
			c, err := p.gather(ctx, part, c, chunks, rows, applied.Add(projectEvery))
			if err == nil && rows.Len() >= projectBusy {
				c, err = p.gather(ctx, part, c, chunks, rows, applied.Add(projectLong))
			}
			if err != nil {
				return err
			}
			if err := p.apply(ctx, part, pos, c.To, c.At, rows); err != nil {
				return err
			}
			pos, applied = c.To, time.Now()
		}
	}
}

// gather projects what else has come, and what comes until the given moment; it
// answers with the last chunk.
func (p *Projector) gather(ctx context.Context, part int, last Message, chunks <-chan Message, rows *RowSet, until time.Time) (Message, error) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for rows.Len() < projectRows {
		select {
		case last = <-chunks:
			p.project(part, last, rows)
			continue
		default:
		}
		select {
		case last = <-chunks:
			p.project(part, last, rows)
		case <-timer.C:
			return last, nil
		case <-ctx.Done():
			return last, ctx.Err()
		}
	}
	return last, nil
}

// compact lets the sink put its rows in order, as the log's partitions advance.
func (p *Projector) compact(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.advanced:
		}
		if err := p.sink.Compact(ctx, p.log); err != nil && ctx.Err() == nil {
			p.metrics.compactErrors.Inc()
			p.slog.Warn("compaction ended early, it begins again", "error", err)
			if backOff(ctx) != nil {
				return
			}
		}
	}
}

func (p *Projector) apply(ctx context.Context, part int, pos, to uint64, at time.Time, rows *RowSet) error {
	start := time.Now()
	if err := p.sink.Apply(ctx, p.log, part, pos, to, rows); err != nil {
		return fmt.Errorf("apply roots %d to %d: %w", pos, to, err)
	}
	p.metrics.commit.Observe(time.Since(start).Seconds())
	p.metrics.commits.WithLabelValues(label(part)).Inc()
	p.metrics.outputs.WithLabelValues(label(part)).Add(float64(rows.Len()))
	p.metrics.committed.WithLabelValues(label(part)).Set(float64(to))
	p.metrics.position.WithLabelValues(label(part)).Set(float64(to))
	p.metrics.behind.WithLabelValues(label(part)).Set(time.Since(at).Seconds())
	p.metrics.batchRows.Observe(float64(rows.Len()))
	rows.Reset()
	select {
	case p.advanced <- struct{}{}:
	default:
	}
	return nil
}

// project makes rows of one chunk. What can't be decoded or projected becomes a
// dead letter row: the position moves on.
func (p *Projector) project(part int, c Message, rows *RowSet) {
	entries := p.metrics.entries.WithLabelValues(label(part))
	for _, root := range c.Roots {
		entries.Add(float64(len(root.Entries)))
		for i, raw := range root.Entries {
			if schemas.KindOf(raw) == schemas.KindTick {
				continue
			}
			if err := Project(p.projection, Position{Partition: part, Root: root.Root}, raw, rows); err != nil {
				p.metrics.deadLetters.WithLabelValues(reasonOf(err)).Inc()
				addDeadLetter(part, deadLetter("projector_"+lower(p.log), root.Root, i, raw, err).GetDeadLetter(), rows)
			}
		}
	}
}

var pointsBuffers = sync.Pool{New: func() any { return &schemas.PointsBuffer{} }}

// Project turns one encoded entry into rows; the rows hold on to its bytes.
func Project(projection Projection, at Position, raw []byte, rows *RowSet) error {
	if samples, ok := projection.(PointsProjection); ok && schemas.KindOf(raw) == schemas.KindPoints {
		buffer := pointsBuffers.Get().(*schemas.PointsBuffer)
		defer pointsBuffers.Put(buffer)
		if err := buffer.Decode(raw); err != nil {
			return err
		}
		return samples.ProjectPoints(at, buffer, rows)
	}
	e := &schemas.Entry{}
	if err := e.UnmarshalVTUnsafe(raw); err != nil {
		return err
	}
	if d := e.GetDeadLetter(); d != nil {
		addDeadLetter(at.Partition, d, rows)
		return nil
	}
	return projection.Project(at, e, rows)
}

var deadLetterTable = &TableSpec{
	Name:    "dead_letters",
	Columns: []string{"stage", "partition", "root", "index", "reason", "detail", "tenant_id", "entry"},
	Key:     []string{"stage", "partition", "root", "index"},
}

func addDeadLetter(part int, d *schemas.DeadLetter, rows *RowSet) {
	var tenant any
	if id, err := schemas.IDFrom(d.TenantId); err == nil {
		tenant = id
	}
	rows.Add(deadLetterTable, d.Stage, int32(part), int64(d.Root), int32(d.Index), d.Reason, d.Detail, tenant, d.Entry)
}
