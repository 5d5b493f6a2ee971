package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgepulse/edgepulse/schemas"
)

// projectRows is how many rows one transaction gathers at most before it is applied.
const projectRows = 20000

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
}

// NewProjector makes the projector of a log.
func NewProjector(log LogName, projection Projection, sink RowSink, b *Broker, m *Metrics, l *slog.Logger, partitions []int) *Projector {
	return &Projector{log: log, projection: projection, sink: sink, broker: b, partitions: partitions,
		metrics: m.projector(log, partitions), slog: l.With("stage", "projector", "log", string(log))}
}

// Run works until ctx ends.
func (p *Projector) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
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
	for {
		select {
		case err := <-readErr:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case c := <-chunks:
			to, at := c.To, c.At
			p.project(part, c, rows)
			for more := true; more && rows.Len() < projectRows; {
				select {
				case c = <-chunks:
					p.project(part, c, rows)
					to, at = c.To, c.At
				default:
					more = false
				}
			}
			if err := p.apply(ctx, part, pos, to, at, rows); err != nil {
				return err
			}
			pos = to
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
	rows.Reset()
	return nil
}

// project makes rows of one chunk. What can't be decoded or projected becomes a
// dead letter row: the position moves on.
func (p *Projector) project(part int, c Message, rows *RowSet) {
	for _, root := range c.Roots {
		for i, raw := range root.Entries {
			p.metrics.entries.WithLabelValues(label(part)).Inc()
			if schemas.KindOf(raw) == schemas.KindTick {
				continue
			}
			e := &schemas.Entry{}
			err := e.UnmarshalVTUnsafe(raw)
			if err == nil {
				if d := e.GetDeadLetter(); d != nil {
					addDeadLetter(part, d, rows)
					continue
				}
				err = p.projection.Project(Position{Partition: part, Root: root.Root}, e, rows)
			}
			if err != nil {
				p.metrics.deadLetters.WithLabelValues(reasonOf(err)).Inc()
				d := deadLetter("projector_"+lower(p.log), root.Root, i, raw, err).GetDeadLetter()
				addDeadLetter(part, d, rows)
			}
		}
	}
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
