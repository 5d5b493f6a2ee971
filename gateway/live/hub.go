package live

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// Hub follows the logs for all subscribers of a process.
type Hub struct {
	source     Source
	backlog    Backlog
	names      Names
	partitions int
	log        *slog.Logger
	unnamed    chan unnamedAnomaly
	ctx        context.Context // of all that the hub runs
	cancel     context.CancelFunc
	running    sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	started bool
	subs    map[schemas.ID]map[*Subscriber]struct{}
	count   int
	follow  map[stream.LogName]*following
	alerts  []alertLog // per partition
	rates   map[schemas.ID]*rate
	known   map[schemas.ID]named // how metrics are called
}

// following is one log while it is followed.
type following struct {
	wanted int
	cancel context.CancelFunc
	idle   *time.Timer // ends it when nobody has wanted it for a while
}

// alertLog is what is known of one partition of ALERTS.
type alertLog struct {
	ready bool
	news  uint64  // what lies above is news to those who come now
	from  uint64  // the ring holds every alert of the roots above
	to    uint64  // last root taken
	ring  []alert // ascending
}

// rate counts what a tenant sent since the last second.
type rate struct{ points, requests uint64 }

// New returns a hub. Nothing runs before the first subscriber.
func New(source Source, backlog Backlog, names Names, partitions int, log *slog.Logger) *Hub {
	ctx, cancel := context.WithCancel(context.Background())
	return &Hub{source: source, backlog: backlog, names: names, partitions: partitions, log: log, ctx: ctx, cancel: cancel,
		unnamed: make(chan unnamedAnomaly, 256),
		subs:    map[schemas.ID]map[*Subscriber]struct{}{}, follow: map[stream.LogName]*following{},
		alerts: make([]alertLog, partitions), rates: map[schemas.ID]*rate{}, known: map[schemas.ID]named{}}
}

// ErrClosed ends the streams of a process that stops.
var ErrClosed = errors.New("live stream is closing")

// Close ends every subscriber and whatever runs for them.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	for _, of := range h.subs {
		for s := range of {
			s.wakeUp()
		}
	}
	h.mu.Unlock()
	h.cancel()
	h.running.Wait()
}

// Partitions is how many positions a cursor has.
func (h *Hub) Partitions() int { return h.partitions }

// Subscribe begins a subscription; the caller ends it with Close. A nil cursor
// means from now on.
func (h *Hub) Subscribe(tenant schemas.ID, wants Wants, after Cursor) (*Subscriber, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	s := newSubscriber(h, tenant, wants, after)
	if h.subs[tenant] == nil {
		h.subs[tenant] = map[*Subscriber]struct{}{}
	}
	h.subs[tenant][s] = struct{}{}
	h.count++
	if !h.started {
		h.started = true
		h.running.Go(h.runNames)
		h.running.Go(h.runRates)
	}
	for log, wanted := range wants.logs() {
		if wanted {
			h.want(log)
		}
	}
	return s, nil
}

func (h *Hub) unsubscribe(s *Subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	of := h.subs[s.tenant]
	if _, ok := of[s]; !ok {
		return
	}
	if delete(of, s); len(of) == 0 {
		delete(h.subs, s.tenant)
		delete(h.rates, s.tenant)
	}
	h.count--
	for log, wanted := range s.wants.logs() {
		if wanted {
			h.release(log)
		}
	}
}

// want follows a log from now on, if it is not followed already. h.mu is held.
func (h *Hub) want(log stream.LogName) {
	f := h.follow[log]
	if f == nil {
		ctx, cancel := context.WithCancel(h.ctx)
		f = &following{cancel: cancel}
		h.follow[log] = f
		for p := range h.partitions {
			h.running.Go(func() { h.followPartition(ctx, log, p) })
		}
	}
	if f.idle != nil {
		f.idle.Stop()
		f.idle = nil
	}
	f.wanted++
}

// release ends the following of a log that nobody has wanted for a while. h.mu is held.
func (h *Hub) release(log stream.LogName) {
	f := h.follow[log]
	if f.wanted--; f.wanted > 0 {
		return
	}
	f.idle = time.AfterFunc(linger, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if f.wanted > 0 || h.follow[log] != f {
			return
		}
		f.cancel()
		delete(h.follow, log)
		if log == stream.Alerts {
			h.alerts = make([]alertLog, h.partitions)
		}
	})
}

// followPartition follows one partition of a log until ctx ends. Whatever ends
// it before, it begins again where the log then is.
func (h *Hub) followPartition(ctx context.Context, log stream.LogName, p int) {
	for delay := 50 * time.Millisecond; ctx.Err() == nil; delay = min(2*delay, 2*time.Second) {
		begun := time.Now()
		news, err := h.source.News(ctx, log, p)
		if err == nil {
			err = h.followFrom(ctx, log, p, news)
		}
		if ctx.Err() != nil {
			return
		}
		h.log.Warn("live stream looks for its log again", "log", stream.StreamName(log, p), "error", err)
		if time.Since(begun) > 10*time.Second {
			delay = 50 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
	}
}

func (h *Hub) followFrom(ctx context.Context, log stream.LogName, p int, news uint64) error {
	take := h.takeScores
	from := news
	switch log {
	case stream.Points:
		take = h.takePoints
	case stream.Alerts:
		take = func(m stream.Message) { h.takeAlerts(ctx, p, m) }
		from = h.beginAlerts(ctx, p, news)
	}
	each := func(m stream.Message) (bool, error) { take(m); return false, nil }
	err := h.source.Follow(ctx, log, p, from, each)
	var changed *stream.HaltError
	if log == stream.Alerts && from < news && errors.As(err, &changed) && h.untouched(p, from) {
		// The log begins later than the ring would like to.
		from = h.beginAlertsAt(ctx, p, news, news)
		err = h.source.Follow(ctx, log, p, from, each)
	}
	return err
}

// runRates tells those who want it what their tenant sends, once a second.
func (h *Hub) runRates() {
	timer := time.NewTicker(time.Second)
	defer timer.Stop()
	last := time.Now()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-timer.C:
		}
		h.mu.Lock()
		seconds := time.Since(last).Seconds()
		last = time.Now()
		for tenant, of := range h.subs {
			r := h.rates[tenant]
			if r == nil {
				r = &rate{}
			}
			event := ingestEvent(*r, seconds)
			for s := range of {
				if s.wants.Ingest {
					s.setIngest(event)
				}
			}
			delete(h.rates, tenant)
		}
		h.mu.Unlock()
	}
}
