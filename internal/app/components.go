package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/edgepulse/edgepulse/alerter"
	"github.com/edgepulse/edgepulse/alerter/deliverer"
	"github.com/edgepulse/edgepulse/dashboard"
	"github.com/edgepulse/edgepulse/featurizer"
	"github.com/edgepulse/edgepulse/gateway"
	"github.com/edgepulse/edgepulse/normaliser"
	"github.com/edgepulse/edgepulse/scorer"
	"github.com/edgepulse/edgepulse/stream"
)

// starter begins one component and returns what ends it.
type starter func(context.Context, *App) (func(context.Context) error, error)

// components are all there are, by the one word that names folder, subcommand
// and metric of a stage.
var components = map[string]starter{
	"gateway":    startGateway,
	"relay":      startRelay,
	"normaliser": startStage(func(*Config) stream.Stage { return normaliser.Stage() }),
	"featurizer": startStage(func(c *Config) stream.Stage { return featurizer.Stage(c.Window.config()) }),
	"scorer":     startStage(func(*Config) stream.Stage { return scorer.Stage() }),
	"alerter":    startStage(func(*Config) stream.Stage { return alerter.Stage() }),
	"deliverer":  startDeliverer,
	"projector":  startProjectors,
	"archiver":   startArchiver,
	"monitor":    startMonitor,
	"metrics":    func(ctx context.Context, a *App) (func(context.Context) error, error) { return a.serveMetrics(ctx) },
}

// Everything is what `up` runs, in order of the data path, the way in last.
var Everything = []string{"normaliser", "featurizer", "scorer", "alerter", "projector", "deliverer", "archiver", "gateway", "relay", "monitor"}

func startStage(stage func(*Config) stream.Stage) starter {
	return func(_ context.Context, a *App) (func(context.Context) error, error) {
		if a.snapshots == nil {
			return nil, errors.New("no place for snapshots: set EDGEPULSE_SNAPSHOT_URL or EDGEPULSE_ARCHIVE_URL")
		}
		s := stage(a.cfg)
		r := stream.NewRunner(s, a.cfg.Runner, a.broker, a.snapshots, a.metrics, a.log, a.partitions)
		return a.background(s.Name, r.Run), nil
	}
}

// projected is a log and what it becomes in Postgres.
type projected struct {
	log        stream.LogName
	projection stream.Projection
}

var projections = []projected{
	{stream.Points, normaliser.Projection{}},
	{stream.Features, featurizer.Projection{}},
	{stream.Scores, scorer.Projection{}},
	{stream.Alerts, alerter.Projection{}},
	{stream.Deliveries, deliverer.Projection{}},
}

func startProjectors(_ context.Context, a *App) (func(context.Context) error, error) {
	if a.store == nil {
		return nil, errNoDatabase
	}
	var stops []func(context.Context) error
	for _, p := range projections {
		pr := stream.NewProjector(p.log, p.projection, a.store, a.broker, a.metrics, a.log, a.partitions)
		stops = append(stops, a.background("projector of "+string(p.log), pr.Run))
	}
	return func(ctx context.Context) error {
		var errs []error
		for _, stop := range stops {
			errs = append(errs, stop(ctx))
		}
		return errors.Join(errs...)
	}, nil
}

var errNoDatabase = errors.New("no database: set EDGEPULSE_DATABASE_URL")

// gatewayComponent is the running gateway, for those who serve beside it.
type gatewayComponent struct{ *gateway.Server }

func startGateway(ctx context.Context, a *App) (func(context.Context) error, error) {
	if a.store == nil {
		return nil, errNoDatabase
	}
	cfg := a.cfg.Gateway
	cfg.Partitions = a.cfg.NATS.Partitions
	pepper, err := decodeKey("gateway-pepper", cfg.Pepper)
	if err != nil {
		return nil, err
	}
	cfg.Pepper = string(pepper)
	probe, err := deliverer.NewProbe(deliverer.Config{Allow: cfg.WebhookAllow})
	if err != nil {
		return nil, err
	}
	page, built := dashboard.FS()
	if !built {
		a.log.Info("this binary was built without the dashboard", "build it with", "go tool task dashboard:build")
	}
	var all gateway.Owner // stays nil without the role
	if a.cfg.Database.owner() != "" {
		all = owner{a.store, a.broker}
	} else if cfg.OwnerTokenHash != "" {
		return nil, errors.New("setting gateway-owner-token-hash: the view over all tenants needs EDGEPULSE_DATABASE_OWNER_URL")
	}
	srv, err := gateway.New(cfg, gateway.Deps{
		Log: ingestLog{a.broker}, Keys: keys{a.store}, UI: page, Live: a.broker,
		Usage: a.store, Shares: a.broker.Shares(), KeyUses: a.store, Accounts: accounts{a.store}, Owner: all,
		Queries: queries{s: a.store, tracer: &Tracer{Store: a.store, Broker: a.broker, Archive: a.archive}, probe: probe, archive: a.archive}, Logger: a.log.With("stage", "gateway"), Registry: a.registry,
		Ready: map[string]gateway.Check{"broker": a.broker.Ready, "database": a.store.Ping}, Routes: a.routes,
	})
	if err != nil {
		return nil, err
	}
	if err := srv.Start(ctx); err != nil {
		return nil, err
	}
	a.gateway = &gatewayComponent{srv}
	if addr := srv.Addr(); addr != "" {
		a.listening.Store(&addr)
	}
	return srv.Stop, nil
}

// ingestLog is INGEST as the gateway sees it.
type ingestLog struct{ b *stream.Broker }

func (l ingestLog) Append(ctx context.Context, partition int, group []byte) (uint64, error) {
	root, err := l.b.Append(ctx, stream.Ingest, partition, group)
	if errors.Is(err, stream.ErrLogFull) {
		return 0, fmt.Errorf("%w: %w", gateway.ErrLogFull, err)
	}
	return root, err
}

// Addr is where the gateway of this process listens; empty without one.
func (a *App) Addr() string {
	if a.gateway == nil {
		return ""
	}
	return a.gateway.Addr()
}
