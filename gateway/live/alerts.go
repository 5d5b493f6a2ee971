package live

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// alert is one event of ALERTS on its way to subscribers.
type alert struct {
	tenant    schemas.ID
	partition int
	at        Position
	severity  schemas.Severity
	data      []byte // JSON
}

// beginAlerts begins the ring a little before the news: after a restart of this
// process everybody comes back with a cursor of a moment ago.
func (h *Hub) beginAlerts(ctx context.Context, p int, news uint64) uint64 {
	return h.beginAlertsAt(ctx, p, news, news-min(news, ringRoots))
}

func (h *Hub) beginAlertsAt(ctx context.Context, p int, news, from uint64) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil { // another following may have begun
		return from
	}
	h.alerts[p] = alertLog{ready: true, news: news, from: from, to: from}
	for _, of := range h.subs {
		for s := range of {
			s.part(p)
		}
	}
	return from
}

// untouched tells whether nothing has been taken of a partition since it began.
func (h *Hub) untouched(p int, from uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.alerts[p].to == from
}

// takeAlerts puts the alerts of a commit into the ring and hands them on.
func (h *Hub) takeAlerts(ctx context.Context, p int, m stream.Message) {
	var news []alert
	for _, root := range m.Roots {
		news = append(news, h.alertsOf(p, root)...)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	l := &h.alerts[p]
	for _, a := range news {
		l.ring = append(l.ring, a)
		for s := range h.subs[a.tenant] {
			s.pushAlert(a)
		}
	}
	l.to = max(l.to, m.To)
	if over := len(l.ring) - ringSize; over > 0 {
		// What is thrown away, its root with it: a root is in the ring whole or not.
		l.from = l.ring[over-1].at.Root
		keep := slices.IndexFunc(l.ring, func(a alert) bool { return a.at.Root > l.from })
		if keep < 0 {
			keep = len(l.ring)
		}
		l.ring = slices.Clone(l.ring[keep:])
	}
}

// alertsOf decodes the alert events of a root, each tenant's in the common order.
func (h *Hub) alertsOf(p int, root stream.RootEntries) []alert {
	var events []*schemas.AlertEvent
	for _, raw := range root.Entries {
		if schemas.KindOf(raw) != schemas.KindAlertEvent {
			continue
		}
		e := &schemas.Entry{}
		if err := e.UnmarshalVT(raw); err != nil {
			h.log.Warn("alert event does not decode", "log", stream.StreamName(stream.Alerts, p), "root", root.Root, "error", err)
			continue
		}
		events = append(events, e.GetAlertEvent())
	}
	slices.SortStableFunc(events, func(a, b *schemas.AlertEvent) int {
		return cmp.Or(cmp.Compare(a.Ts, b.Ts), slices.Compare(a.AlertId, b.AlertId), cmp.Compare(a.Ordinal, b.Ordinal))
	})
	counts := map[schemas.ID]int{}
	var out []alert
	for _, e := range events {
		shown, err := api.AlertEventOf(e, root.Root, p)
		if err != nil {
			h.log.Warn("alert event is not whole", "log", stream.StreamName(stream.Alerts, p), "root", root.Root, "error", err)
			continue
		}
		data, err := json.Marshal(shown)
		if err != nil {
			h.log.Warn("alert event can't be shown", "log", stream.StreamName(stream.Alerts, p), "root", root.Root, "error", err)
			continue
		}
		tenant := schemas.ID(e.TenantId)
		out = append(out, alert{tenant: tenant, partition: p, at: Position{root.Root, counts[tenant]}, severity: e.Severity, data: data})
		counts[tenant]++
	}
	return out
}

// join gives a subscriber what the ring holds from its position on, and lets it
// have what comes then. It says no where the ring begins later.
func (h *Hub) join(s *Subscriber, p int) joined {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := &h.alerts[p]
	if !l.ready {
		return notReady
	}
	at, ok := s.position(p)
	now := Position{Root: max(l.to, l.news) + 1}
	switch {
	case !ok:
		s.setPosition(p, now)
		at = now
	case now.before(at):
		return ahead
	case at.Root <= l.from:
		return tooOld
	}
	s.rejoin(p)
	first, _ := slices.BinarySearchFunc(l.ring, at, func(a alert, at Position) int {
		if a.at.before(at) {
			return -1
		}
		return 1
	})
	for _, a := range l.ring[first:] {
		if a.tenant == s.tenant {
			s.pushAlert(a)
		}
	}
	return yes
}

// joined is what came of join.
type joined int

const (
	yes      joined = iota
	notReady        // the log is not followed yet
	tooOld          // the ring begins after the position: ask the backlog
	ahead           // the log has not come this far
)

// catchUp brings a subscriber into one partition. Events that it returns are to
// be sent at once; more says that it is not there yet.
func (h *Hub) catchUp(ctx context.Context, s *Subscriber, p int) (events []Event, more bool) {
	switch h.join(s, p) {
	case yes:
		return nil, false
	case notReady:
		return nil, true
	case ahead:
		h.clamp(ctx, s, p)
		return nil, true
	}
	at, _ := s.position(p)
	list, through, err := h.backlog.AlertsFrom(ctx, s.tenant, p, at.Root, at.N, backlogPage)
	if err != nil {
		if ctx.Err() == nil {
			h.log.Warn("live stream waits for the database", "error", err)
		}
		return nil, true
	}
	for _, e := range list {
		if e.Root != at.Root {
			at = Position{Root: e.Root}
		}
		at.N++
		s.setPosition(p, at)
		severity, _ := schemas.ParseSeverity(e.Severity)
		if severity < s.wants.MinSeverity {
			continue
		}
		data, err := json.Marshal(e)
		if err != nil {
			h.log.Warn("alert event can't be shown", "event", e.EventID, "error", err)
			continue
		}
		events = append(events, Event{Name: "alert", ID: s.id(), Data: data})
	}
	if len(list) < backlogPage {
		if end := (Position{Root: through + 1}); at.before(end) {
			s.setPosition(p, end)
		}
	}
	return events, true
}

// clamp deals with a position that the log has not reached: either this process
// is a moment behind another one, or the log is another than that of the position,
// which then says nothing.
func (h *Hub) clamp(ctx context.Context, s *Subscriber, p int) {
	news, err := h.source.News(ctx, stream.Alerts, p)
	if err != nil {
		return
	}
	if end := (Position{Root: news + 1}); s.farther(p, end) {
		h.log.Warn("a subscriber's position is beyond the log; it goes on from the log's end", "log", stream.StreamName(stream.Alerts, p))
		s.setPosition(p, end)
	}
}
