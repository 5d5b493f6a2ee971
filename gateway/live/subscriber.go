package live

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// Subscriber is one reader of the stream. The hub pushes, one goroutine calls Next.
type Subscriber struct {
	hub    *Hub
	tenant schemas.ID
	wants  Wants
	wake   chan struct{}

	mu      sync.Mutex // taken after the hub's
	cursor  Cursor
	known   []bool // positions of the cursor that mean something
	joined  []bool // partitions whose alerts are pushed
	told    bool   // the reader knows its first position
	alerts  []alert
	scores  []Event
	points  map[schemas.ID]*pending
	ingest  *Event
	dropped uint64
}

// pending are points of a metric that wait until the next may be sent.
type pending struct {
	points [][2]float64
	next   time.Time
}

func newSubscriber(h *Hub, tenant schemas.ID, wants Wants, after Cursor) *Subscriber {
	s := &Subscriber{hub: h, tenant: tenant, wants: wants, wake: make(chan struct{}, 1),
		cursor: make(Cursor, h.partitions), known: make([]bool, h.partitions), joined: make([]bool, h.partitions), points: map[schemas.ID]*pending{}}
	if after != nil {
		copy(s.cursor, after)
		for p := range s.known {
			s.known[p] = true
		}
	}
	if !wants.Alerts {
		for p := range s.joined {
			s.joined[p] = true // nothing will be pushed
		}
	}
	return s
}

// Close ends the subscription.
func (s *Subscriber) Close() { s.hub.unsubscribe(s) }

func (s *Subscriber) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// pushAlert queues an alert. A reader who is too slow for the queue leaves it and
// comes back by its cursor: nothing is lost.
func (s *Subscriber) pushAlert(a alert) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.wants.Alerts || !s.joined[a.partition] || a.at.before(s.cursor[a.partition]) {
		return
	}
	if len(s.alerts) >= alertQueue {
		s.alerts = nil
		clear(s.joined)
	} else {
		s.alerts = append(s.alerts, a)
	}
	s.wakeUp()
}

// push queues an event that may be dropped.
func (s *Subscriber) push(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.scores) >= scoreQueue {
		s.dropped++
	} else {
		s.scores = append(s.scores, e)
	}
	s.wakeUp()
}

func (s *Subscriber) pushPoints(metric schemas.ID, points [][2]float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.points[metric]
	if p == nil {
		p = &pending{}
		s.points[metric] = p
	}
	p.points = append(p.points, points...)
	if over := len(p.points) - pointQueue; over > 0 {
		p.points = p.points[over:] // the newest are what a chart needs
		s.dropped += uint64(over)
	}
	s.wakeUp()
}

func (s *Subscriber) setIngest(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ingest = &e
	s.wakeUp()
}

func (s *Subscriber) wantsAnomaly(severity schemas.Severity) bool {
	return s.wants.Anomalies && severity >= s.wants.MinSeverity
}

// part takes a partition's alerts out of the queue, to join it again: its log is
// followed anew.
func (s *Subscriber) part(p int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wants.Alerts {
		s.leave(p)
		s.joined[p] = false
	}
	s.wakeUp()
}

// rejoin lets the hub push a partition's alerts from now on.
func (s *Subscriber) rejoin(p int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave(p)
	s.joined[p] = true
}

func (s *Subscriber) leave(p int) {
	kept := s.alerts[:0]
	for _, a := range s.alerts {
		if a.partition != p {
			kept = append(kept, a)
		}
	}
	s.alerts = kept
}

func (s *Subscriber) position(p int) (Position, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursor[p], s.known[p]
}

func (s *Subscriber) setPosition(p int, at Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cursor[p], s.known[p] = at, true
}

func (s *Subscriber) farther(p int, end Position) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return end.before(s.cursor[p])
}

func (s *Subscriber) id() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursor.String()
}

// Position is where a reader would go on who has read everything that Next
// returned; ok is false while that is not known.
func (s *Subscriber) Position() (id string, ok bool) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.wants.Alerts || !s.allKnown() {
		return "", false
	}
	if len(s.alerts) == 0 {
		for p := range s.cursor {
			// Nothing of this tenant lies before what the hub has taken.
			if end := (Position{Root: h.alerts[p].to + 1}); s.joined[p] && s.cursor[p].before(end) {
				s.cursor[p] = end
			}
		}
	}
	return s.cursor.String(), true
}

func (s *Subscriber) allKnown() bool {
	for _, k := range s.known {
		if !k {
			return false
		}
	}
	return true
}

// Next returns what is to be sent, or nothing when until has come. ErrClosed: the
// process stops.
func (s *Subscriber) Next(ctx context.Context, until time.Time) ([]Event, error) {
	for {
		wait := until
		events, again := s.catchUp(ctx)
		if again {
			wait = earlier(wait, time.Now().Add(backlogRetry))
		}
		more, due := s.collect(time.Now())
		if events = append(events, more...); len(events) > 0 {
			return events, nil
		}
		if !due.IsZero() {
			wait = earlier(wait, due)
		}
		timer := time.NewTimer(time.Until(wait))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-s.hub.ctx.Done():
			timer.Stop()
			return nil, ErrClosed
		case <-s.wake:
			timer.Stop()
		case <-timer.C:
			if !time.Now().Before(until) {
				return nil, nil
			}
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// catchUp joins the partitions that are not; again says that one has to wait.
func (s *Subscriber) catchUp(ctx context.Context) (events []Event, again bool) {
	for p := range s.hub.partitions {
		for !s.isJoined(p) {
			more, wait := s.hub.catchUp(ctx, s, p)
			events = append(events, more...)
			if len(events) > 0 {
				return events, true // sent before more is asked for
			}
			if wait && !s.reaches(p) {
				again = true
				break
			}
		}
	}
	return events, again
}

// reaches tells whether the ring now goes back as far as the position.
func (s *Subscriber) reaches(p int) bool {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	l := s.hub.alerts[p]
	at, ok := s.position(p)
	return ok && l.ready && at.Root > l.from && !(Position{Root: max(l.to, l.news) + 1}).before(at)
}

func (s *Subscriber) isJoined(p int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.joined[p]
}

// collect takes what may be sent now; due is when more may be.
func (s *Subscriber) collect(now time.Time) (events []Event, due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wants.Alerts && s.allKnown() { // without all positions an id would mean another place
		if !s.told {
			s.told = true
			events = append(events, Event{ID: s.cursor.String()})
		}
		for _, a := range s.alerts {
			s.cursor[a.partition] = Position{a.at.Root, a.at.N + 1}
			if a.severity >= s.wants.MinSeverity {
				events = append(events, Event{Name: "alert", ID: s.cursor.String(), Data: a.data})
			}
		}
		s.alerts = nil
	}
	events = append(events, s.scores...)
	s.scores = nil
	for metric, p := range s.points {
		switch {
		case len(p.points) == 0:
		case p.next.After(now):
			if due.IsZero() || p.next.Before(due) {
				due = p.next
			}
		default:
			events = append(events, jsonEvent("points", api.LivePoints{MetricID: metric.String(), Points: p.points}))
			p.points, p.next = nil, now.Add(pointsEvery)
		}
	}
	if s.ingest != nil {
		events = append(events, *s.ingest)
		s.ingest = nil
	}
	if s.dropped > 0 {
		events = append(events, jsonEvent("dropped", api.LiveDropped{Count: s.dropped}))
		s.dropped = 0
	}
	return events, due
}

func jsonEvent(name string, v any) Event {
	data, err := json.Marshal(v)
	if err != nil {
		return Event{Name: "dropped", Data: []byte(`{"count":1}`)} // a value that JSON can't hold
	}
	return Event{Name: name, Data: data}
}
