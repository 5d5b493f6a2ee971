package app

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgepulse/edgepulse/alerter/deliverer"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

func startDeliverer(_ context.Context, a *App) (func(context.Context) error, error) {
	if a.store == nil {
		return nil, errNoDatabase
	}
	d, err := deliverer.New(deliverer.Config{Allow: a.cfg.Gateway.WebhookAllow}, endpoints{a.store}, a.registry, a.log.With("stage", deliverer.Name))
	if err != nil {
		return nil, err
	}
	return a.background(deliverer.Name, func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		for _, p := range a.partitions {
			g.Go(func() error { return a.deliver(ctx, d, p) })
		}
		return g.Wait()
	}), nil
}

// deliver keeps one partition for as long as ctx lives: claim DELIVERIES, rebuild
// what is pending, follow ALERTS.
func (a *App) deliver(ctx context.Context, d *deliverer.Deliverer, partition int) error {
	for {
		err := a.deliverOnce(ctx, d, partition)
		if ctx.Err() != nil {
			return nil
		}
		a.log.Warn("deliveries begin again", "stage", deliverer.Name, "partition", partition, "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(700*time.Millisecond + rand.N(800*time.Millisecond)):
		}
	}
}

func (a *App) deliverOnce(ctx context.Context, d *deliverer.Deliverer, partition int) error {
	e := d.Engine(partition)
	journal, err := a.broker.OpenJournal(ctx, stream.Deliveries, partition, e.Restore)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	e.Start(journal, journal.Position())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return e.Run(ctx) })
	g.Go(func() error {
		return a.broker.Follow(ctx, stream.Alerts, partition, journal.Position(), func(m stream.Message) (bool, error) {
			for _, r := range m.Roots {
				events, err := alertEvents(r.Entries)
				if err != nil {
					return true, err
				}
				if err := e.Offer(ctx, r.Root, events); err != nil {
					return true, err
				}
			}
			return false, e.Offer(ctx, m.To, nil)
		})
	})
	return g.Wait()
}

func alertEvents(entries [][]byte) ([]*schemas.AlertEvent, error) {
	var out []*schemas.AlertEvent
	for _, raw := range entries {
		if schemas.KindOf(raw) != schemas.KindAlertEvent {
			continue
		}
		e := &schemas.Entry{}
		if err := e.UnmarshalVT(raw); err != nil {
			return nil, fmt.Errorf("decode alert event: %w", err)
		}
		out = append(out, e.GetAlertEvent())
	}
	return out, nil
}

// endpoints are the tenants' webhooks as the deliverer sees them.
type endpoints struct{ s *store.Store }

func (e endpoints) Endpoints(ctx context.Context, tenant schemas.ID) ([]deliverer.Endpoint, error) {
	list, err := e.s.Endpoints(ctx, tenant)
	if err != nil {
		return nil, err
	}
	var out []deliverer.Endpoint
	for _, x := range list {
		if x.Enabled {
			out = append(out, deliverer.Endpoint{ID: x.ID, URL: x.URL, Secrets: x.Secrets, MinSeverity: x.MinSeverity})
		}
	}
	return out, nil
}

func (e endpoints) Disable(ctx context.Context, tenant, endpoint schemas.ID, reason string) error {
	err := e.s.DisableEndpoint(ctx, tenant, endpoint, reason)
	if errors.Is(err, store.ErrNotFound) {
		return nil // deleted meanwhile
	}
	return err
}
