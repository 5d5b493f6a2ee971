// Package app is the composition root: it knows every part and nobody knows it.
//
// A process is a list of components. `up` runs all of them over one embedded
// machine, a stage alone runs one of them against a cluster: the same starters,
// only the configuration differs.
package app

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/edgepulse/edgepulse/gateway"
	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/stream"
)

// App is one process: New opens what its components share, Start lets them work,
// Stop ends them in reverse order.
type App struct {
	cfg        *Config
	log        *slog.Logger
	routes     []gateway.Route
	registry   *prometheus.Registry
	observed   *observed
	metrics    *stream.Metrics
	broker     *stream.Broker
	store      *store.Store
	archive    stream.Blobs
	snapshots  stream.Blobs
	partitions []int

	gateway   *gatewayComponent
	listening atomic.Pointer[string] // address of the gateway, once it listens
	starting  []string               // what Start was asked for
	stops     []namedStop
	failed    chan error
	once      sync.Once
}

type namedStop struct {
	name string
	stop func(context.Context) error
}

// Options of New.
type Options struct {
	Name      string // of the process, for the broker's connection list
	Version   string // of the build, for edgepulse_build_info
	InProcess nats.InProcessConnProvider
	Logger    *slog.Logger
	Routes    []gateway.Route // served beside the API
}

// New connects to broker, database and object store.
func New(ctx context.Context, cfg *Config, o Options) (*App, error) {
	a := &App{cfg: cfg, log: o.Logger, routes: o.Routes, registry: prometheus.NewRegistry(), failed: make(chan error, 1)}
	a.observed = newObserved(a.registry, o.Version)
	a.metrics = stream.NewMetrics(a.registry)
	cfg.NATS.Partitions = cmp.Or(cfg.NATS.Partitions, stream.DefaultPartitions)
	var err error
	if a.partitions, err = ParsePartitions(cfg.Partitions, cfg.NATS.Partitions); err != nil {
		return nil, err
	}
	if a.broker, err = stream.Connect(cfg.NATS, o.Name, o.InProcess, o.Logger); err != nil {
		return nil, err
	}
	a.broker.Register(a.registry)
	a.push("broker connection", func(context.Context) error { a.broker.Close(); return nil })
	if err := a.broker.WaitConnected(ctx); err != nil {
		return nil, a.abort(err)
	}
	if cfg.Objects.Archive != "" {
		if a.archive, err = archive.Open(ctx, cfg.Objects.Archive, ObjectCredentials()); err != nil {
			return nil, a.abort(err)
		}
	}
	a.snapshots = a.archive
	if cfg.Objects.Snapshots != "" {
		if a.snapshots, err = archive.Open(ctx, cfg.Objects.Snapshots, ObjectCredentials()); err != nil {
			return nil, a.abort(err)
		}
	}
	if cfg.Database.app() != "" || cfg.Database.writer() != "" || cfg.Database.owner() != "" {
		if a.store, err = OpenStore(ctx, cfg); err != nil {
			return nil, a.abort(err)
		}
		a.registry.MustRegister(a.store.Collector())
		a.push("database connections", func(context.Context) error { a.store.Close(); return nil })
	}
	return a, nil
}

// provisionPatience is how long a process waits at its start for a broker that
// is down or elects a leader.
const provisionPatience = time.Minute

// Provision creates the logs that are missing. A broker that does not answer is
// waited for; one with unsafe settings is refused at once.
func (a *App) Provision(ctx context.Context) error {
	patience, cancel := context.WithTimeout(ctx, provisionPatience)
	defer cancel()
	for said := false; ; said = true {
		err := a.broker.Provision(patience)
		if err == nil || errors.Is(err, stream.ErrUnsafe) {
			return err
		}
		if !said {
			a.log.Warn("waiting for the broker", "error", err)
		}
		select {
		case <-patience.Done():
			return err
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// Broker gives the process's connection to the logs to tools.
func (a *App) Broker() *stream.Broker { return a.broker }

// Store gives the process's database to tools; nil where it has none.
func (a *App) Store() *store.Store { return a.store }

// OpenStore opens the database with the roles that are configured.
func OpenStore(ctx context.Context, cfg *Config) (*store.Store, error) {
	if cfg.Database.app() == "" && cfg.Database.writer() == "" && cfg.Database.owner() == "" {
		return nil, errors.New("no database: set EDGEPULSE_DATABASE_URL, or point --data at the folder of a running `edgepulse up`")
	}
	key, err := decodeKey("secret-key", cfg.SecretKey)
	if err != nil {
		return nil, err
	}
	pepper, err := decodeKey("gateway-pepper", cfg.Gateway.Pepper)
	if err != nil {
		return nil, err
	}
	return store.Open(ctx, store.Config{OwnerDSN: cfg.Database.owner(), WriterDSN: cfg.Database.writer(), AppDSN: cfg.Database.app(),
		Pepper: pepper, SecretKey: key})
}

// decodeKey reads 32 bytes of hex; empty stays empty for processes that need none.
func decodeKey(setting, s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 32 {
		return nil, fmt.Errorf("setting %s: expected 64 hexadecimal digits (32 bytes), as `openssl rand -hex 32` prints", setting)
	}
	return b, nil
}

// Migrate brings the schema up to date.
func Migrate(ctx context.Context, cfg *Config, writerPassword, appPassword string) error {
	if cfg.Database.owner() == "" {
		return errors.New("no database: set EDGEPULSE_DATABASE_OWNER_URL")
	}
	return store.Migrate(ctx, store.MigrateConfig{OwnerDSN: cfg.Database.owner(), WriterPassword: writerPassword, AppPassword: appPassword})
}

// Start begins components by name, in order.
func (a *App) Start(ctx context.Context, names ...string) error {
	a.starting = append(a.starting, names...)
	for _, name := range names {
		start, ok := components[name]
		if !ok {
			return a.abort(fmt.Errorf("no component %q", name))
		}
		stop, err := start(ctx, a)
		if err != nil {
			return a.abort(fmt.Errorf("start %s: %w", name, err))
		}
		a.push(name, stop)
		if name != "metrics" {
			a.observed.running.WithLabelValues(name).Set(1)
		}
	}
	return nil
}

// Wait blocks until ctx ends or a component fails for good.
func (a *App) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-a.failed:
		return err
	}
}

// Stop ends the components, the last started first.
func (a *App) Stop(ctx context.Context) error {
	var errs []error
	a.once.Do(func() {
		for i := len(a.stops) - 1; i >= 0; i-- {
			if err := a.stops[i].stop(ctx); err != nil {
				errs = append(errs, fmt.Errorf("stop %s: %w", a.stops[i].name, err))
			}
		}
	})
	return errors.Join(errs...)
}

func (a *App) push(name string, stop func(context.Context) error) {
	a.stops = append(a.stops, namedStop{name, stop})
}

func (a *App) abort(err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(err, a.Stop(ctx))
}

// background runs a loop until its stop is called; an error of its own ends the process.
func (a *App) background(name string, run func(context.Context) error) func(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil && ctx.Err() == nil {
			select {
			case a.failed <- fmt.Errorf("%s: %w", name, err):
			default:
			}
		}
	}()
	return func(stop context.Context) error {
		cancel()
		select {
		case <-done:
			return nil
		case <-stop.Done():
			return stop.Err()
		}
	}
}

// serveMetrics gives a process without gateway its /metrics and /healthz.
func (a *App) serveMetrics(ctx context.Context) (func(context.Context) error, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", a.cfg.Metrics)
	if err != nil {
		return nil, fmt.Errorf("listen on %s (setting metrics): %w", a.cfg.Metrics, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if err := a.broker.Ready(r.Context()); err != nil {
			http.Error(w, "broker is not ready", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(l) }() // ends with Shutdown
	return srv.Shutdown, nil
}
