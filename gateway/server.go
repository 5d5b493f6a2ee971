package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgepulse/edgepulse/gateway/live"
	"github.com/edgepulse/edgepulse/schemas"
)

// What a request may take; the live stream sets its own.
const (
	readTimeout  = 15 * time.Second
	writeTimeout = 60 * time.Second
)

// Server is the gateway. New makes it, Start lets it work, Stop ends it.
type Server struct {
	cfg      Config
	deps     Deps
	logger   *slog.Logger
	metrics  *metrics
	clock    Clock
	sim      *SimClock // nil with the system clock
	auth     *authenticator
	budget   *budget
	idem     *idempotency
	quota    *quotas
	refusals *refusals
	months   *months

	cardinality *cardinality
	sealer      sealer
	signIns     *throttle // per address
	tests       *throttle // of webhooks, per tenant
	publicURL   *url.URL  // nil = the Host of each request
	ui          *ui
	live        *live.Hub // nil = no live stream
	streams     streams
	edge        *edgeGate
	committers  []*committer
	ticker      ticker
	docs        *docs
	table       []Route
	handler     http.Handler

	http     *http.Server
	listener net.Listener
	draining atomic.Bool
	running  sync.WaitGroup // ticks and listener
	stopTick context.CancelFunc
}

// New checks settings and dependencies. Nothing runs before Start.
func New(cfg Config, deps Deps) (*Server, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if err := deps.validate(); err != nil {
		return nil, err
	}
	wall := deps.Wall
	if wall == nil {
		wall = time.Now
	}
	s := &Server{cfg: cfg, deps: deps, logger: deps.Logger, metrics: newMetrics(deps.Registry), clock: deps.Clock}
	if s.clock == nil {
		s.clock = SystemClock{}
		if cfg.Clock == "sim" {
			s.clock = NewSimClock(wall().UnixMicro())
		}
	}
	if cfg.Clock == "sim" {
		sim, ok := s.clock.(*SimClock)
		if !ok {
			return nil, errNoSim
		}
		s.sim = sim
		s.ticker.last = sim.Now() / 1e6
	}
	s.auth = newAuthenticator(deps.Keys, &s.cfg, wall)
	s.budget = newBudget(&s.cfg, s.metrics)
	s.idem = newIdempotency(cfg.IdempotencyN, wall)
	s.quota = newQuotas(wall)
	s.refusals = newRefusals(cfg.RefusalPause)
	s.months = &months{q: s.quota, usage: deps.Usage, partitions: cfg.Partitions, now: s.clock.Now,
		failed: func(err error) { s.logger.Warn("usage of the month can't be asked", "error", err) }}
	s.cardinality = &cardinality{usage: deps.Usage, wall: wall, now: s.clock.Now, tenants: map[schemas.ID]*metricSet{},
		failed: func(err error) { s.logger.Warn("active metrics can't be read", "error", err) }}
	s.sealer = newSealer(cfg.Pepper)
	s.signIns = newThrottle(10, 6*time.Second, wall)
	s.tests = newThrottle(10, 6*time.Second, wall)
	if cfg.PublicURL != "" {
		s.publicURL, _ = url.Parse(cfg.PublicURL) // checked
	}
	var err error
	if s.ui, err = newUI(deps.UI); err != nil {
		return nil, fmt.Errorf("read the web interface: %w", err)
	}
	if s.docs, err = newDocs(); err != nil {
		return nil, err
	}
	if deps.Live != nil {
		s.live = live.New(deps.Live, deps.Queries, deps.Queries, cfg.Partitions, s.logger)
		s.streams = streams{most: cfg.LiveStreams, byTenant: map[schemas.ID]int{}}
	}
	s.edge = newEdgeGate(&s.cfg, s.metrics, wall)
	for p := range cfg.Partitions {
		s.committers = append(s.committers, newCommitter(p, deps.Log, &s.cfg, s.metrics, s.logger.Warn))
	}
	s.handler = s.routes()
	return s, nil
}

// Handler serves the API; for use in process and in tests. It needs Start.
func (s *Server) Handler() http.Handler { return s.handler }

// Addr is where Start listens; empty when it does not.
func (s *Server) Addr() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Start opens the listener and begins to write groups and ticks. ctx bounds the
// start only; the server works until Stop.
func (s *Server) Start(ctx context.Context) error {
	if s.cfg.Addr != "" {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Addr)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", s.cfg.Addr, err)
		}
		s.listener = l
	}
	for _, c := range s.committers {
		go c.run()
	}
	tickCtx, cancel := context.WithCancel(context.Background())
	s.stopTick = cancel
	if s.cfg.Ticks && s.sim == nil {
		s.running.Go(func() { s.runTicks(tickCtx) })
	}
	if s.deps.Shares != nil {
		s.running.Go(func() { s.runExchange(tickCtx) })
	}
	if s.deps.KeyUses != nil {
		s.running.Go(func() { s.runKeyUses(tickCtx) })
	}
	if s.listener != nil {
		s.http = &http.Server{
			Handler:           s.handler,
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       120 * time.Second,
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
		}
		s.running.Go(func() {
			if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
				s.logger.Error("serve failed", "error", err)
			}
		})
	}
	return nil
}

// Stop drains: readiness fails, no new request is taken, those in work get their
// answer, what has gathered is written. When ctx ends first, connections are cut.
func (s *Server) Stop(ctx context.Context) error {
	s.draining.Store(true)
	if s.live != nil {
		s.live.Close() // streams have no end of their own
	}
	if s.stopTick == nil {
		return nil // never started
	}
	s.stopTick()
	var err error
	if s.http != nil {
		if err = s.http.Shutdown(ctx); err != nil {
			err = errors.Join(fmt.Errorf("drain requests: %w", err), s.http.Close())
		}
	}
	s.running.Wait()
	for _, c := range s.committers {
		c.close()
	}
	for _, c := range s.committers {
		select {
		case <-c.done:
		case <-ctx.Done():
			return errors.Join(err, fmt.Errorf("drain partition %d: %w", c.partition, ctx.Err()))
		}
	}
	return err
}
