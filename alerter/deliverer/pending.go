package deliverer

import (
	"container/heap"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
)

// delivery is one event on its way to one endpoint.
type delivery struct {
	webhook  schemas.ID
	tenant   schemas.ID
	endpoint schemas.ID
	event    *schemas.AlertEvent
	lane     laneKey

	root      uint64
	partition uint32
	attempts  uint32 // recorded so far
	nextAt    time.Time
	number    uint64 // in the order of plans: breaks ties between equal times
	index     int    // in the heap of what is due; -1 = not there
}

// laneKey is what keeps its order: the events of one alert at one endpoint.
type laneKey struct{ alert, endpoint schemas.ID }

// fact begins a record about this delivery.
func (dl *delivery) fact(kind schemas.DeliveryKind, at time.Time) *schemas.Delivery {
	return &schemas.Delivery{Kind: kind, TenantId: dl.tenant[:], EndpointId: dl.endpoint[:], WebhookId: dl.webhook[:],
		EventId: dl.event.EventId, At: at.UnixMicro(), Root: dl.root, Partition: dl.partition}
}

// deliveryOf reads a PLANNED fact.
func deliveryOf(f *schemas.Delivery) (*delivery, error) {
	dl := &delivery{event: f.Event, root: f.Root, partition: f.Partition, index: -1, nextAt: time.UnixMicro(f.At)}
	var alert schemas.ID
	for _, id := range []struct {
		to   *schemas.ID
		from []byte
	}{{&dl.webhook, f.WebhookId}, {&dl.tenant, f.TenantId}, {&dl.endpoint, f.EndpointId}, {&alert, f.GetEvent().GetAlertId()}} {
		var err error
		if *id.to, err = schemas.IDFrom(id.from); err != nil {
			return nil, fmt.Errorf("read planned delivery: %w", err)
		}
	}
	dl.lane = laneKey{alert, dl.endpoint}
	return dl, nil
}

// health is what is known of an endpoint in this partition.
type health struct {
	pending      int
	inFlight     int
	failingSince time.Time   // first failure since the last success; zero = none
	blocked      []*delivery // due, wait for an attempt of this endpoint to end
}

// book holds what is pending. It changes by facts only: the same ones give the
// same book, in a running Engine and after a restart.
type book struct {
	byWebhook map[schemas.ID]*delivery
	lanes     map[laneKey][]*delivery // the first of each is the one to send
	endpoints map[schemas.ID]*health
	due       dueHeap // heads of lanes that are neither in flight nor blocked
	number    uint64
}

func newBook() *book {
	return &book{byWebhook: map[schemas.ID]*delivery{}, lanes: map[laneKey][]*delivery{}, endpoints: map[schemas.ID]*health{}}
}

func (b *book) health(endpoint schemas.ID) *health {
	h := b.endpoints[endpoint]
	if h == nil {
		h = &health{}
		b.endpoints[endpoint] = h
	}
	return h
}

// apply takes one fact.
func (b *book) apply(f *schemas.Delivery) error {
	switch f.Kind {
	case schemas.DeliveryKind_DELIVERY_KIND_PLANNED:
		dl, err := deliveryOf(f)
		if err != nil {
			return err
		}
		b.plan(dl)
		return nil
	case schemas.DeliveryKind_DELIVERY_KIND_ATTEMPTED:
		return b.attempted(f)
	case schemas.DeliveryKind_DELIVERY_KIND_ENDPOINT_DISABLED:
		id, err := schemas.IDFrom(f.EndpointId)
		if err != nil {
			return fmt.Errorf("read disabled endpoint: %w", err)
		}
		// Whoever enables it again begins with a clean record.
		b.health(id).failingSince = time.Time{}
		return nil
	default:
		return fmt.Errorf("read delivery: unknown kind %d", f.Kind)
	}
}

func (b *book) plan(dl *delivery) {
	if b.byWebhook[dl.webhook] != nil {
		return
	}
	b.number++
	dl.number = b.number
	b.byWebhook[dl.webhook] = dl
	b.lanes[dl.lane] = append(b.lanes[dl.lane], dl)
	b.health(dl.endpoint).pending++
	if len(b.lanes[dl.lane]) == 1 {
		heap.Push(&b.due, dl)
	}
}

func (b *book) attempted(f *schemas.Delivery) error {
	id, err := schemas.IDFrom(f.WebhookId)
	if err != nil {
		return fmt.Errorf("read attempt: %w", err)
	}
	dl := b.byWebhook[id]
	if dl == nil {
		return nil // its plan was truncated from the log: it had ended before
	}
	h := b.health(dl.endpoint)
	dl.attempts = f.Attempt
	switch {
	case f.Outcome == schemas.DeliveryOutcome_DELIVERY_OUTCOME_DELIVERED:
		h.failingSince = time.Time{}
	case f.Error != noEndpoint && f.Error != tooMany && h.failingSince.IsZero():
		h.failingSince = time.UnixMicro(f.At)
	}
	if f.Outcome == schemas.DeliveryOutcome_DELIVERY_OUTCOME_RETRY {
		dl.nextAt = time.UnixMicro(f.NextAt)
		b.queue(dl)
		return nil
	}
	b.finish(dl)
	return nil
}

// finish takes a delivery out; the next of its lane comes to the front.
func (b *book) finish(dl *delivery) {
	delete(b.byWebhook, dl.webhook)
	b.health(dl.endpoint).pending--
	b.due.remove(dl)
	lane := b.lanes[dl.lane]
	for i, have := range lane {
		if have != dl {
			continue
		}
		lane = append(lane[:i:i], lane[i+1:]...)
		if len(lane) == 0 {
			delete(b.lanes, dl.lane)
			return
		}
		b.lanes[dl.lane] = lane
		if i == 0 {
			b.queue(lane[0])
		}
		return
	}
}

// queue makes a delivery wait for its time, when it is the first of its lane.
func (b *book) queue(dl *delivery) {
	if b.lanes[dl.lane][0] == dl {
		b.due.remove(dl)
		heap.Push(&b.due, dl)
	}
}

// tenants are those that something waits for.
func (b *book) tenants() []schemas.ID {
	seen := map[schemas.ID]bool{}
	for _, dl := range b.byWebhook {
		seen[dl.tenant] = true
	}
	return slices.SortedFunc(maps.Keys(seen), schemas.ID.Compare)
}

// hasten makes due at once what waits for its time for one of these tenants.
func (b *book) hasten(tenants []schemas.ID, now time.Time) {
	for _, dl := range slices.Clone(b.due) {
		if slices.Contains(tenants, dl.tenant) && dl.nextAt.After(now) {
			dl.nextAt = now
			heap.Fix(&b.due, dl.index)
		}
	}
}

// take returns the next delivery whose time has come and whose endpoint has room.
func (b *book) take(now time.Time) *delivery {
	for len(b.due) > 0 && !b.due[0].nextAt.After(now) {
		dl := heap.Pop(&b.due).(*delivery)
		h := b.health(dl.endpoint)
		if h.inFlight >= perEndpoint {
			h.blocked = append(h.blocked, dl)
			continue
		}
		h.inFlight++
		return dl
	}
	return nil
}

// release ends a delivery's time in flight, whatever came of it.
func (b *book) release(dl *delivery) {
	h := b.health(dl.endpoint)
	h.inFlight--
	for _, waiting := range h.blocked {
		heap.Push(&b.due, waiting)
	}
	h.blocked = h.blocked[:0]
}

// nextDue is when the first waiting delivery becomes due.
func (b *book) nextDue() (time.Time, bool) {
	if len(b.due) == 0 {
		return time.Time{}, false
	}
	return b.due[0].nextAt, true
}

// dueHeap orders deliveries by time, then by plan.
type dueHeap []*delivery

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	if !h[i].nextAt.Equal(h[j].nextAt) {
		return h[i].nextAt.Before(h[j].nextAt)
	}
	return h[i].number < h[j].number
}
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *dueHeap) Push(x any) {
	dl := x.(*delivery)
	dl.index = len(*h)
	*h = append(*h, dl)
}

// Pop implements heap.Interface.
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	last.index = -1
	return last
}

// remove takes a delivery out, if it is there.
func (h *dueHeap) remove(dl *delivery) {
	if dl.index >= 0 {
		heap.Remove(h, dl.index)
	}
}
