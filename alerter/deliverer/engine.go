package deliverer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
)

const (
	// perEndpoint bounds the attempts under way to one endpoint (per partition).
	perEndpoint = 2
	// perEngine bounds them over all endpoints of a partition.
	perEngine = 64
	// maxPending bounds what may wait for one endpoint of a partition; beyond it
	// events are recorded as given up.
	maxPending = 10_000
	tooMany    = "too many deliveries are pending"
	// positionEvery and positionRoots bound how long a position without a plan is kept back.
	positionEvery = 300 * time.Millisecond
	positionRoots = 200
	// postponeFor is the wait when the settings can't be read.
	postponeFor = 5 * time.Second
	// lookEvery is how soon what waits for a tenant that is deleted meanwhile is given
	// up: its next attempt may be a day off, and its plan would stay in the log.
	lookEvery = 30 * time.Second
	// grace is how long attempts under way may go on when the Engine is told to stop.
	grace = 5 * time.Second
)

// Engine sends the events of one partition. Restore comes first, then Run in
// one goroutine and Offer in another.
type Engine struct {
	d         *Deliverer
	partition int
	journal   Journal

	book     *book
	offered  atomic.Uint64 // last root offered
	position uint64        // last root committed
	waiting  uint64        // last root that may be committed
	since    time.Time     // when the first uncommitted position came

	offers   chan offer
	answers  chan answer
	inFlight int
	stopped  chan struct{}
	look     <-chan time.Time // nil while nothing is pending
}

type offer struct {
	root  uint64
	plans []*schemas.Delivery
	done  chan error // nil when there is nothing to plan
}

// Engine returns the engine of one partition.
func (d *Deliverer) Engine(partition int) *Engine {
	return &Engine{d: d, partition: partition, book: newBook(), offers: make(chan offer, 64),
		answers: make(chan answer, perEngine), stopped: make(chan struct{})}
}

// Restore takes the entries of DELIVERIES, in order, before Start. Entries of
// other kinds are ignored.
func (e *Engine) Restore(entry *schemas.Entry) error {
	f := entry.GetDelivery()
	if f == nil {
		return nil
	}
	return e.book.apply(f)
}

// Start hands in the journal and the position it stands at. Events of roots at or
// below the position were planned before and never are again.
func (e *Engine) Start(journal Journal, position uint64) {
	e.journal, e.position, e.waiting = journal, position, position
	e.offered.Store(position)
	e.d.metrics.pending.Add(float64(len(e.book.byWebhook)))
	e.stand()
}

// Position is the last root offered, or restored.
func (e *Engine) Position() uint64 { return e.offered.Load() }

// Offer plans the events of one root and returns when the plans are stored; a
// root without events to send costs nothing. Roots come in ascending order, from
// one goroutine; one at or below the position is ignored.
func (e *Engine) Offer(ctx context.Context, root uint64, events []*schemas.AlertEvent) error {
	if root <= e.offered.Load() {
		return nil
	}
	o := offer{root: root}
	if root > e.d.cfg.NotifyFloor {
		var err error
		if o.plans, err = e.plan(ctx, root, events); err != nil {
			return fmt.Errorf("plan webhooks: %w", err)
		}
	}
	if len(o.plans) > 0 {
		o.done = make(chan error, 1)
	}
	select {
	case e.offers <- o:
	case <-e.stopped:
		return errStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	e.offered.Store(root)
	if o.done == nil {
		return nil
	}
	select {
	case err := <-o.done:
		return err
	case <-e.stopped:
		return errStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

var (
	errStopped  = errors.New("deliverer has stopped")
	errSettings = errors.New("read endpoints")
)

// plan decides which events go where: an event that is to be notified goes to
// every enabled endpoint of its tenant whose severity it reaches.
func (e *Engine) plan(ctx context.Context, root uint64, events []*schemas.AlertEvent) ([]*schemas.Delivery, error) {
	var plans []*schemas.Delivery
	for _, event := range events {
		if !event.Notify {
			continue
		}
		tenant, err := schemas.IDFrom(event.TenantId)
		id, errEvent := schemas.IDFrom(event.EventId)
		if _, errAlert := schemas.IDFrom(event.AlertId); err != nil || errEvent != nil || errAlert != nil {
			// Can't be sent by any number of retries: bad input never stops a partition.
			e.d.log.Error("alert event has no valid ids", "partition", e.partition, "root", root)
			e.d.metrics.unreadable.Inc()
			continue
		}
		endpoints, err := e.d.endpoints.of(ctx, tenant, time.UnixMicro(event.ReceivedAt))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errSettings, err)
		}
		for _, ep := range endpoints {
			if event.Severity < ep.MinSeverity {
				continue
			}
			webhook := schemas.WebhookID(id, ep.ID)
			plans = append(plans, &schemas.Delivery{Kind: schemas.DeliveryKind_DELIVERY_KIND_PLANNED, TenantId: tenant[:],
				EndpointId: ep.ID[:], WebhookId: webhook[:], EventId: id[:], Event: event,
				At: e.d.cfg.Clock.Now().UnixMicro(), Root: root, Partition: uint32(e.partition)})
		}
	}
	return plans, nil
}

// Run sends until ctx ends or the journal refuses. It always returns an error.
func (e *Engine) Run(ctx context.Context) error {
	defer close(e.stopped)
	// Attempts outlive ctx for a while, so that an orderly stop repeats nothing.
	sending, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	defer func() { e.d.metrics.pending.Sub(float64(len(e.book.byWebhook))) }()
	stopping, stop := ctx.Done(), (<-chan time.Time)(nil)
	for {
		if e.look == nil && len(e.book.byWebhook) > 0 {
			e.look = e.d.cfg.Clock.After(lookEvery)
		}
		if stopping != nil {
			e.launch(sending)
		} else if e.inFlight == 0 {
			return ctx.Err()
		}
		var offers []offer
		var answers []answer
		select {
		case o := <-e.offers:
			offers = append(offers, o)
		case a := <-e.answers:
			answers = append(answers, a)
		case <-e.wake():
		case <-e.look:
			e.look = nil
			e.giveUpGone(ctx)
		case <-stopping:
			stopping, stop = nil, e.d.cfg.Clock.After(grace)
			continue
		case <-stop:
			return ctx.Err()
		}
		offers, answers = e.gather(offers, answers)
		// The journal must take what attempts have found, even while stopping.
		if err := e.settle(context.WithoutCancel(ctx), offers, answers); err != nil {
			return fmt.Errorf("record deliveries: %w", err)
		}
		e.stand()
	}
}

// gather takes what else has arrived, so that one commit carries it all.
func (e *Engine) gather(offers []offer, answers []answer) ([]offer, []answer) {
	for len(offers) < cap(e.offers) {
		select {
		case o := <-e.offers:
			offers = append(offers, o)
		case a := <-e.answers:
			answers = append(answers, a)
		default:
			return offers, answers
		}
	}
	return offers, answers
}

// settle commits facts and position, and only then acts on them.
func (e *Engine) settle(ctx context.Context, offers []offer, answers []answer) error {
	facts := e.collect(offers, answers)
	if len(facts) == 0 && !e.positionDue() {
		return nil
	}
	entries := make([]*schemas.Entry, len(facts))
	for i, f := range facts {
		entries[i] = &schemas.Entry{Kind: &schemas.Entry_Delivery{Delivery: f}}
	}
	err := e.journal.Commit(ctx, e.waiting, entries)
	if err == nil {
		e.position = e.waiting
		before := len(e.book.byWebhook)
		for _, f := range facts {
			if err = e.book.apply(f); err != nil {
				break
			}
			e.count(f)
		}
		e.d.metrics.pending.Add(float64(len(e.book.byWebhook) - before))
	}
	for _, o := range offers {
		if o.done != nil {
			o.done <- err
		}
	}
	return err
}

// collect lists the facts of this turn: attempts first, then plans.
func (e *Engine) collect(offers []offer, answers []answer) []*schemas.Delivery {
	var facts []*schemas.Delivery
	for _, a := range answers {
		e.inFlight--
		e.d.metrics.inFlight.Dec()
		e.book.release(a.delivery)
		if a.postpone {
			a.delivery.nextAt = a.at.Add(postponeFor)
			e.book.queue(a.delivery)
			continue
		}
		if r := a.delivery.event.GetReceivedAt(); a.err == "" && r != 0 && !a.delivery.event.GetBackfill() {
			e.d.metrics.received.Observe(max(0, a.at.Add(a.took).Sub(time.UnixMicro(r)).Seconds()))
		}
		facts = append(facts, e.d.facts(a)...)
	}
	planned := map[schemas.ID]int{}
	for _, o := range offers {
		if e.waiting == e.position {
			e.since = e.d.cfg.Clock.Now()
		}
		e.waiting = o.root
		for _, f := range o.plans {
			facts = append(facts, f)
			ep := schemas.ID(f.EndpointId)
			if planned[ep]++; e.book.health(ep).pending+planned[ep] > maxPending {
				facts = append(facts, &schemas.Delivery{Kind: schemas.DeliveryKind_DELIVERY_KIND_ATTEMPTED, TenantId: f.TenantId,
					EndpointId: f.EndpointId, WebhookId: f.WebhookId, EventId: f.EventId, Attempt: 1, At: f.At, Root: f.Root,
					Partition: f.Partition, Outcome: schemas.DeliveryOutcome_DELIVERY_OUTCOME_GAVE_UP, Error: tooMany})
			}
		}
	}
	return facts
}

func (e *Engine) count(f *schemas.Delivery) {
	switch f.Kind {
	case schemas.DeliveryKind_DELIVERY_KIND_PLANNED:
		e.d.metrics.planned.Inc()
	case schemas.DeliveryKind_DELIVERY_KIND_ATTEMPTED:
		e.d.metrics.attempts.WithLabelValues(f.Outcome.Word()).Inc()
	case schemas.DeliveryKind_DELIVERY_KIND_ENDPOINT_DISABLED:
		e.d.metrics.disabled.Inc()
		e.d.log.Info("webhook endpoint disabled", "reason", f.Error)
	}
}

// launch starts the attempts whose time has come.
func (e *Engine) launch(ctx context.Context) {
	now := e.d.cfg.Clock.Now()
	for e.inFlight < perEngine {
		dl := e.book.take(now)
		if dl == nil {
			return
		}
		e.inFlight++
		e.d.metrics.inFlight.Inc()
		since := e.book.health(dl.endpoint).failingSince
		go func() { e.answers <- e.d.attempt(ctx, dl, since) }()
	}
}

// positionDue reports whether a position has been kept back for long enough.
func (e *Engine) positionDue() bool {
	if e.waiting == e.position {
		return false
	}
	return e.waiting-e.position >= positionRoots || e.d.cfg.Clock.Now().Sub(e.since) >= positionEvery
}

// wake fires when the next delivery or the position is due.
func (e *Engine) wake() <-chan time.Time {
	now := e.d.cfg.Clock.Now()
	wait, any := time.Duration(0), false
	if at, ok := e.book.nextDue(); ok && e.inFlight < perEngine {
		wait, any = at.Sub(now), true
	}
	if e.waiting != e.position {
		if until := e.since.Add(positionEvery).Sub(now); !any || until < wait {
			wait, any = until, true
		}
	}
	if !any {
		return nil
	}
	return e.d.cfg.Clock.After(max(0, wait))
}
