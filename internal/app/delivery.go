package app

import (
	"context"
	"errors"

	"github.com/edgepulse/edgepulse/alerter/deliverer"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/schemas"
)

func startDeliverer(_ context.Context, a *App) (func(context.Context) error, error) {
	if a.store == nil {
		return nil, errNoDatabase
	}
	d, err := deliverer.New(deliverer.Config{Allow: a.cfg.Gateway.WebhookAllow}, endpoints{a.store}, a.registry, a.log.With("stage", deliverer.Name))
	if err != nil {
		return nil, err
	}
	return a.background(deliverer.Name, func(ctx context.Context) error { return d.Run(ctx, a.broker, a.partitions) }), nil
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
			out = append(out, endpointOf(x))
		}
	}
	return out, nil
}

func (e endpoints) Gone(ctx context.Context, tenants []schemas.ID) ([]schemas.ID, error) {
	return e.s.GoneTenants(ctx, tenants)
}

func endpointOf(x store.Endpoint) deliverer.Endpoint {
	return deliverer.Endpoint{ID: x.ID, URL: x.URL, Secrets: x.Secrets, MinSeverity: x.MinSeverity, LastDelivered: x.LastDelivered}
}

func (e endpoints) Disable(ctx context.Context, tenant, endpoint schemas.ID, reason string) error {
	err := e.s.DisableEndpoint(ctx, tenant, endpoint, reason)
	if errors.Is(err, store.ErrNotFound) {
		return nil // deleted meanwhile
	}
	return err
}
