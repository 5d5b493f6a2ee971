package alerter

import (
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// cause is the entry under which transitions happen.
type cause struct {
	root       uint64
	receivedAt int64 // of the entry, on the gateway's clock
	out        *stream.Outputs
}

// received is when a score's entry was received; scores of tools that have no
// gateway before them carry event time only.
func received(s *schemas.Score) int64 {
	if s.ReceivedAt == 0 {
		return s.Ts
	}
	return s.ReceivedAt
}

// evaluate lets one rule judge one score.
func (f *Fold) evaluate(c cause, sub *subject, by *watchedBy, s *schemas.Score) {
	firing := by.rule.fires(s)
	if _, ok := f.watches.Get(by.key); !ok {
		if !firing {
			return
		}
		sub.active++
		w := f.watches.Touch(by.key)
		w.tenant, w.rule, w.metric, w.device = sub.tenant, by.rule.id, sub.id, sub.device
	}
	w := f.watches.Touch(by.key)
	clock, _ := f.clocks.Get(schemas.Nil)
	w.hear(s, clock.running(c.receivedAt))
	t := transition{c, f, by.rule, sub.metric, w}
	if w.open {
		t.judgeOpen(s, firing)
	} else {
		t.judgeClosed(s, firing)
	}
	f.settleAfter(by.key, t, w.at)
}

// settleDue takes the transitions that time has brought about, in the order of
// their deadlines, at most maxTransitions of them.
func (f *Fold) settleDue(c cause) {
	clock, _ := f.clocks.Get(schemas.Nil)
	now := clock.running(clock.now())
	for range maxTransitions {
		key, ok := f.due.next(now)
		if !ok {
			return
		}
		f.settle(c, key, now)
	}
}

// settle brings one watch up to the clock. Every call either removes the watch
// or leaves it with a later deadline, so that settleDue ends.
func (f *Fold) settle(c cause, key schemas.ID, now int64) {
	w := f.watches.Touch(key)
	owner := f.tenant(w.tenant)
	m, _ := f.metrics.Get(w.metric)
	if m != nil && m.tenant != w.tenant {
		m = nil // a damaged score opened this before the metric's owner declared it: it must not learn the name
	}
	t := transition{c, f, owner.rule(w.rule), m, w}
	at := now - w.lag // event time of this metric, by the clock

	if t.rule == nil || owner.disabled[w.metric] || !owner.matches(t.rule, w.device, w.metric, m) {
		if w.open {
			t.emit(schemas.AlertState_ALERT_STATE_RESOLVED, max(w.at, at), "Rule or metric changed; ")
		}
		f.forget(key, w)
		return
	}
	switch {
	case w.open && w.below && at >= w.belowSince+t.rule.rule.ResolveAfterUs:
		t.resolve(w.belowSince + t.rule.rule.ResolveAfterUs)
	case w.open && w.mutedUntil != 0:
		t.unmute(at)
	case !w.open && w.firing && !w.backfill() && at >= w.opensAt(t.rule.rule):
		t.opens(w.opensAt(t.rule.rule))
	}
	f.settleAfter(key, t, at)
}

// settleAfter stores when the watch must be looked at next, or lets it go.
func (f *Fold) settleAfter(key schemas.ID, t transition, at int64) {
	w := t.watch
	if !w.open && !w.firing && at >= w.idleAt() {
		f.forget(key, w)
		return
	}
	w.deadline = w.nextDeadline(t.rule.rule)
	f.due.set(key, w.deadline)
}

// forget removes a watch that has nothing more to remember.
func (f *Fold) forget(key schemas.ID, w *watch) {
	if sub := f.subjects[w.metric]; sub != nil && sub.tenant == w.tenant {
		sub.active--
	}
	f.watches.Delete(key)
	f.due.set(key, never)
}

// transition is one step of one watch.
type transition struct {
	cause
	fold   *Fold
	rule   *control
	metric *metric
	watch  *watch
}

// judgeClosed lets a score start, continue or end the time a condition must hold.
func (t transition) judgeClosed(s *schemas.Score, firing bool) {
	w := t.watch
	if !firing {
		w.firing, w.last = false, nil
		return
	}
	if !w.firing {
		w.firing, w.since = true, w.at
	}
	w.last = s
	if w.at >= w.opensAt(t.rule.rule) {
		t.opens(w.at)
	}
}

// judgeOpen lets a score update an open alert or bring it nearer to its end.
func (t transition) judgeOpen(s *schemas.Score, firing bool) {
	w, r := t.watch, t.rule.rule
	w.last = s
	if !t.rule.holds(s) {
		if !w.below {
			w.below, w.belowSince = true, w.at
		}
		if w.at >= w.belowSince+r.ResolveAfterUs {
			t.resolve(w.at)
		}
		return
	}
	w.below = false
	if !firing {
		return
	}
	rose := s.Severity > w.severity
	if rose {
		w.severity = s.Severity
	}
	w.label, w.subLabel = s.Label, s.SubLabel
	due := r.UpdateEveryUs > 0 && w.at-w.emittedAt >= r.UpdateEveryUs
	if rose || due || t.unheard(s) {
		t.emit(schemas.AlertState_ALERT_STATE_UPDATED, w.at, "")
	}
}

// unheard reports whether what held back the last event is over: its silence has
// ended, or an alert that began in a backfill goes on in the present.
func (t transition) unheard(s *schemas.Score) bool {
	if w := t.watch; w.mutedUntil != 0 {
		return w.at >= w.mutedUntil
	}
	return !t.watch.notified && !s.Backfill
}

// opens opens an alert at an event time.
func (t transition) opens(at int64) {
	w := t.watch
	if w.transition > 0 && w.openedAt == at {
		w.repeat++
	} else {
		w.repeat = 0
	}
	w.open, w.firing, w.below, w.notified = true, false, false, false
	w.openedAt, w.root, w.transition = at, t.root, 0
	w.alert = schemas.AlertID(w.rule, w.metric, at, w.repeat)
	w.severity, w.label, w.subLabel = w.last.Severity, w.last.Label, w.last.SubLabel
	t.emit(schemas.AlertState_ALERT_STATE_OPENED, at, "")
}

// resolve closes the alert and begins the cool-down.
func (t transition) resolve(at int64) {
	w := t.watch
	t.emit(schemas.AlertState_ALERT_STATE_RESOLVED, at, "Back to normal; ")
	w.open, w.below, w.mutedUntil, w.last = false, false, 0, nil
	w.coolUntil = at + t.rule.rule.CooldownUs
}

// unmute looks again at an alert whose last event a silence held back: the
// silence has ended, was changed, or was lifted.
func (t transition) unmute(at int64) {
	w := t.watch
	at = max(w.at, at)
	if by, until := t.silencedBy(at); by != "" {
		w.heldBackBy, w.mutedUntil = by, until
		return
	}
	w.mutedUntil = 0
	if !w.below {
		t.emit(schemas.AlertState_ALERT_STATE_UPDATED, at, "")
	}
}

// silencedBy finds the silence in force that ends last.
func (t transition) silencedBy(ts int64) (by string, until int64) {
	for _, c := range t.fold.tenant(t.watch.tenant).silences {
		if c.silences(t.watch.rule, t.metric, ts) && c.silence.EndsAt > until {
			by, until = "silence:"+c.id.String(), c.silence.EndsAt
		}
	}
	return by, until
}

// holdBack decides whether an event is notified, and if not, why.
func (t transition) holdBack(state schemas.AlertState, at int64) (by string) {
	w := t.watch
	if state == schemas.AlertState_ALERT_STATE_RESOLVED {
		if w.notified {
			return ""
		}
		return w.heldBackBy
	}
	w.mutedUntil = 0
	if w.backfill() && !t.rule.rule.NotifyBackfill {
		return "backfill"
	}
	by, w.mutedUntil = t.silencedBy(at)
	return by
}

// emit writes one event: the verdict is the last score's, the label and severity
// of a resolved event are the alert's.
func (t transition) emit(state schemas.AlertState, at int64, lead string) {
	w, s := t.watch, t.watch.last
	w.heldBackBy = t.holdBack(state, at)
	w.notified = w.notified || w.heldBackBy == ""
	e := &schemas.AlertEvent{
		AlertId: w.alert[:], RuleId: w.rule[:], TenantId: w.tenant[:], MetricId: w.metric[:],
		DeviceId: s.DeviceId, DeviceExternalId: t.metric.deviceName(), MetricName: t.metric.name(), Unit: t.metric.unit(),
		State: state, Ordinal: w.transition, OpenedAt: w.openedAt, Ts: at,
		WindowStart: s.WindowStart, WindowEnd: s.WindowEnd,
		Value: s.Value, Score: s.Score, AlarmScore: s.AlarmScore,
		Expected: s.Expected, Lower: s.Lower, Upper: s.Upper,
		Severity: s.Severity, Label: s.Label, SubLabel: s.SubLabel,
		Explanation: s.Explanation, Contributors: s.Contributors,
		Backfill: s.Backfill, Notify: w.heldBackBy == "", SuppressedBy: w.heldBackBy,
		OpeningRoot: w.root, ReceivedAt: t.receivedAt,
	}
	if t.rule != nil {
		w.ruleName = t.rule.rule.Name
	}
	e.RuleName = w.ruleName
	id := schemas.EventID(w.alert, w.transition)
	e.EventId = id[:]
	switch state {
	case schemas.AlertState_ALERT_STATE_RESOLVED:
		e.Severity, e.Label, e.SubLabel = w.severity, w.label, w.subLabel
		e.Explanation = lead + "the alert lasted " + span(at-w.openedAt) + "."
	case schemas.AlertState_ALERT_STATE_UPDATED:
		e.Explanation += " (open for " + span(at-w.openedAt) + ")"
	case schemas.AlertState_ALERT_STATE_OPENED:
		if t.rule.rule.ForUs > 0 {
			e.Explanation += " (held for " + span(at-w.since) + ")"
		}
	}
	t.out.Emit(&schemas.Entry{Kind: &schemas.Entry_AlertEvent{AlertEvent: e}})
	w.transition++
	w.emittedAt = at
	// Events of one alert never go back in time, even when a tick was ahead of the next score.
	w.at = max(w.at, at)
}

// span prints a duration of microseconds to the second, or exactly when shorter.
func span(us int64) string {
	d := time.Duration(us) * time.Microsecond
	if d >= time.Second {
		d = d.Round(time.Second)
	}
	return d.String()
}
