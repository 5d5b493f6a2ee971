package deliverer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// Run delivers the events of partitions until ctx ends. A partition that was
// fenced or can't read its log begins again from what its journal holds.
func (d *Deliverer) Run(ctx context.Context, b *stream.Broker, partitions []int) error {
	var g errgroup.Group
	for _, p := range partitions {
		g.Go(func() error {
			for said := ""; ctx.Err() == nil; {
				err := d.runPartition(ctx, b, p)
				if ctx.Err() != nil {
					break
				}
				if err != nil && err.Error() != said {
					said = err.Error()
					d.log.Warn("partition begins again", "partition", p, "error", err)
				}
				// Jittered, so that two owners that fence each other come apart.
				wait := 500*time.Millisecond + rand.N(time.Second)
				select {
				case <-ctx.Done():
				case <-d.cfg.Clock.After(wait):
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// runPartition is one life of one partition: claim, restore, send, until a failure or the end.
func (d *Deliverer) runPartition(ctx context.Context, b *stream.Broker, partition int) error {
	engine := d.Engine(partition)
	journal, err := b.OpenJournal(ctx, stream.Deliveries, partition, engine.Restore)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	engine.Start(journal, journal.Position())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return engine.Run(ctx) })
	g.Go(func() error {
		err := b.Follow(ctx, stream.Alerts, partition, engine.Position(), func(m stream.Message) (bool, error) {
			return false, engine.offerMessage(ctx, m)
		})
		if err == nil {
			err = errors.New("log ended")
		}
		return fmt.Errorf("read alerts: %w", err)
	})
	return g.Wait()
}

// offerMessage plans what one commit of ALERTS holds.
func (e *Engine) offerMessage(ctx context.Context, m stream.Message) error {
	for _, root := range m.Roots {
		var events []*schemas.AlertEvent
		for _, raw := range root.Entries {
			entry := new(schemas.Entry)
			if err := entry.UnmarshalVT(raw); err != nil {
				e.d.log.Error("alert entry can't be read", "partition", e.partition, "root", root.Root, "error", err)
				e.d.metrics.unreadable.Inc()
				continue
			}
			if event := entry.GetAlertEvent(); event != nil {
				events = append(events, event)
			}
		}
		for {
			err := e.Offer(ctx, root.Root, events)
			if err == nil {
				break
			}
			if !errors.Is(err, errSettings) {
				return err
			}
			// Without the endpoints nothing can be planned; the log keeps the events.
			e.d.log.Warn("alert events wait", "partition", e.partition, "error", err)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-e.d.cfg.Clock.After(postponeFor):
			}
		}
	}
	return e.Offer(ctx, m.To, nil)
}
