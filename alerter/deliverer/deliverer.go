// Package deliverer sends alert events to webhooks, signed as the Standard
// Webhooks specification 1.0.0 says.
//
// It is no fold: whether a receiver answered is a fact of the outside world that
// no replay can derive. What comes in: alert events of ALERTS, one partition per
// Engine, and the tenants' endpoints. What goes out: HTTPS requests, and the
// facts of DELIVERIES (planned, attempted, endpoint disabled). In what order:
// events of one alert reach one endpoint in their order, the next only after the
// one before was delivered or given up; different alerts and endpoints do not
// wait for each other. Which state: the deliveries that are pending, rebuilt from
// the facts. On failure: a plan is stored together with the position in ALERTS
// before the first attempt, each attempt after it was made, so a crash between a
// request and its record repeats the request under the same webhook-id, and
// nothing is ever lost or planned twice. Once fenced an Engine stops.
//
// Delivery is at least once; receivers drop what they have seen by webhook-id.
package deliverer

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgepulse/edgepulse/schemas"
)

// Name is the stage's one word: folder, subcommand, metric label.
const Name = "deliverer"

// Endpoint is where a tenant wants its events sent.
type Endpoint struct {
	ID  schemas.ID
	URL string
	// Secrets sign every request, the current one first; during a rotation the
	// one before signs too. They are the raw bytes behind "whsec_".
	Secrets [][]byte
	// MinSeverity keeps events of a lower severity away.
	MinSeverity schemas.Severity
	// LastDelivered is the newest success that is known, over all partitions;
	// zero when unknown. It keeps an endpoint alive that fails for one partition only.
	LastDelivered time.Time
}

// Endpoints are the tenants' settings.
type Endpoints interface {
	// Endpoints returns the enabled endpoints of a tenant.
	Endpoints(ctx context.Context, tenant schemas.ID) ([]Endpoint, error)
	// Disable switches an endpoint off and lets its owner know why. Disabling a
	// disabled endpoint is no error.
	Disable(ctx context.Context, tenant, endpoint schemas.ID, reason string) error
	// Gone returns those of the tenants that were deleted, or are being deleted.
	Gone(ctx context.Context, tenants []schemas.ID) ([]schemas.ID, error)
}

// Journal stores facts of one partition of DELIVERIES, as its only writer.
type Journal interface {
	// Commit stores facts and the position in ALERTS in one message. An error
	// means that this process must not go on: it has been fenced, or does not
	// know what was stored.
	Commit(ctx context.Context, to uint64, entries []*schemas.Entry) error
}

// Clock is the wall clock; deliveries belong to the outside world.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// SystemClock is the clock of this machine.
type SystemClock struct{}

// Now implements Clock.
func (SystemClock) Now() time.Time { return time.Now() }

// After implements Clock.
func (SystemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Config sets a Deliverer up.
type Config struct {
	// Allow lists what may be reached besides public addresses on port 443 with
	// https: hosts, addresses and networks ("hooks.internal", "10.1.0.0/16"), which
	// may also use http and any port, or one port ("inbox:9000"). Meant for
	// self-hosters and the local demo inbox; empty in a service open to strangers.
	Allow []string
	// Timeout bounds one attempt from the dial to the end of the answer. Default 15 s.
	Timeout time.Duration
	// NotifyFloor: events of roots at or below it are never planned. A rebuild
	// sets it to the last root whose events were sent before. Default 0.
	NotifyFloor uint64

	Clock     Clock          // default SystemClock
	Jitter    func() float64 // uniform in [0,1); default math/rand
	Resolver  *net.Resolver  // default net.DefaultResolver
	Transport func(*http.Transport)
}

// Deliverer is what the Engines of all partitions share.
type Deliverer struct {
	cfg       Config
	endpoints *endpointCache
	sender    sender
	metrics   *metrics
	log       *slog.Logger
}

// New returns a Deliverer. A wrong allow-list is an error that names the entry.
func New(cfg Config, endpoints Endpoints, reg prometheus.Registerer, log *slog.Logger) (*Deliverer, error) {
	guard, err := NewGuard(cfg.Allow)
	if err != nil {
		return nil, err
	}
	cfg.defaults()
	d := &Deliverer{cfg: cfg, sender: newSender(guard, cfg), metrics: newMetrics(reg), log: log}
	d.endpoints = &endpointCache{source: endpoints, clock: cfg.Clock, byTenant: map[schemas.ID]cachedEndpoints{}}
	return d, nil
}

func (c *Config) defaults() {
	if c.Timeout == 0 {
		c.Timeout = 15 * time.Second
	}
	if c.Clock == nil {
		c.Clock = SystemClock{}
	}
	if c.Jitter == nil {
		c.Jitter = rand.Float64
	}
}

// endpointTTL is how long a change of an endpoint may take to be seen by an attempt.
const endpointTTL = 5 * time.Second

// endpointCache spares the database one query per event and attempt.
type endpointCache struct {
	source   Endpoints
	clock    Clock
	mu       sync.Mutex
	byTenant map[schemas.ID]cachedEndpoints
}

type cachedEndpoints struct {
	list []Endpoint
	at   time.Time
}

// of returns a tenant's endpoints as they were at since or later: who makes one and
// then sends a value means that value's alert, too. Events that have waited are
// older than the first look for one of them, so that a flood costs few queries.
func (c *endpointCache) of(ctx context.Context, tenant schemas.ID, since time.Time) ([]Endpoint, error) {
	now := c.clock.Now()
	c.mu.Lock()
	have, ok := c.byTenant[tenant]
	c.mu.Unlock()
	if ok && now.Sub(have.at) < endpointTTL && !have.at.Before(since) {
		return have.list, nil
	}
	list, err := c.source.Endpoints(ctx, tenant)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	if have := c.byTenant[tenant]; !have.at.After(now) { // who asked later may be answered earlier
		c.byTenant[tenant] = cachedEndpoints{list, now}
	}
	c.mu.Unlock()
	return list, nil
}

func (c *endpointCache) find(ctx context.Context, tenant, id schemas.ID) (Endpoint, bool, error) {
	list, err := c.of(ctx, tenant, time.Time{})
	if err != nil {
		return Endpoint{}, false, err
	}
	for _, ep := range list {
		if ep.ID == id {
			return ep, true, nil
		}
	}
	return Endpoint{}, false, nil
}

func (c *endpointCache) disable(ctx context.Context, tenant, id schemas.ID, reason string) error {
	err := c.source.Disable(ctx, tenant, id, reason)
	c.mu.Lock()
	delete(c.byTenant, tenant)
	c.mu.Unlock()
	return err
}
