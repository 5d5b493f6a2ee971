// Package alerter turns scores into alerts: it is the stage between SCORES and
// ALERTS and the last fold of the path.
//
// What comes in: scores, metric declarations, ticks and controls (rules,
// silences, settings of metrics and devices) of one partition. What goes out: alert events
// (opened, updated, resolved); nothing is forwarded, since nobody behind this
// stage folds. In what order: the order of the entries; rules of a metric in the
// order of their ids; timed transitions in the order of (deadline, rule and
// metric). Which state: the controls in force, the declared metrics, and one
// watch per rule and metric while a condition holds, an alert is open, or a
// cool-down runs. On failure: an entry that can't be read, or that belongs to
// another tenant than its metric, changes nothing and becomes a dead letter.
//
// Time is event time (a score's ts). When nothing arrives for a metric, ticks
// carry its event time on at the distance it had to the gateway's clock when it
// was last heard; an outage of ours (a gap between ticks) is not counted.
//
// What holds for every alert:
//   - It opens when its rule's condition has held for for_us, outside the rule's
//     cool-down, and only on trusted scores; missingness and stuck need no warm-up.
//   - It resolves when the score has been below resolve_score (or, without one,
//     the condition untrue) for resolve_after_us, or when its rule or metric is
//     deleted, disabled or changed so that they no longer belong together.
//   - A silence and a backfill hold back notifications, never the record. When a
//     silence ends and the alert is still open, an "updated" event says so. Who
//     was told that an alert opened is always told that it resolved.
package alerter

import (
	"errors"
	"fmt"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// Version of the fold: it rises with every change that alters an output.
const Version = 1

// maxTransitions bounds the timed transitions of one entry. What is due beyond
// it stays due and is taken by the next tick.
const maxTransitions = 500

// Fold is the pure core: see the package's documentation.
type Fold struct {
	state    *stream.State
	controls *stream.Table[*control]
	metrics  *stream.Table[*metric]
	watches  *stream.Table[*watch]
	clocks   *stream.Table[*clock]

	// Derived from the tables and rebuilt after a restore.
	tenants  map[schemas.ID]*tenant
	subjects map[schemas.ID]*subject
	due      deadlines
}

// New returns a fold that knows nothing yet.
func New() *Fold {
	s := stream.NewState()
	f := &Fold{
		state:    s,
		controls: stream.NewTable(s, "controls", func() *control { return new(control) }),
		metrics:  stream.NewTable(s, "metrics", func() *metric { return new(metric) }),
		watches:  stream.NewTable(s, "watches", func() *watch { return new(watch) }),
		clocks:   stream.NewTable(s, "clock", func() *clock { return new(clock) }),
	}
	f.restored()
	s.OnRestore(f.restored)
	return f
}

// State is the keyed state that the runner snapshots and restores.
func (f *Fold) State() *stream.State { return f.state }

// restored rebuilds what is derived from the tables.
func (f *Fold) restored() {
	f.tenants = map[schemas.ID]*tenant{}
	f.subjects = map[schemas.ID]*subject{}
	f.due = newDeadlines()
	for _, key := range f.controls.Keys() {
		c, _ := f.controls.Get(key)
		f.tenant(c.tenant).put(c)
	}
	for _, key := range f.watches.Keys() {
		w, _ := f.watches.Get(key)
		f.due.set(key, w.deadline)
	}
}

// Apply folds one entry of SCORES.
func (f *Fold) Apply(in stream.Input, out *stream.Outputs) error {
	var e schemas.Entry
	if err := e.UnmarshalVT(in.Bytes); err != nil {
		return fmt.Errorf("decode entry: %w", err)
	}
	switch kind := e.Kind.(type) {
	case *schemas.Entry_Score:
		return f.applyScore(in, kind.Score, out)
	case *schemas.Entry_Tick:
		f.applyTick(in, kind.Tick, out)
		return nil
	case *schemas.Entry_MetricDeclared:
		return f.applyDeclared(kind.MetricDeclared)
	case *schemas.Entry_Control:
		return f.applyControl(in, kind.Control, out)
	case nil:
		return errors.New("entry without a kind")
	default:
		// Models and dead letters of the stage before concern nobody here.
		return nil
	}
}

// applyScore evaluates the rules that match the score's metric. A quiet score of
// a metric without a watch costs two look-ups, however many rules there are.
func (f *Fold) applyScore(in stream.Input, s *schemas.Score, out *stream.Outputs) error {
	sub, err := f.subjectOf(s)
	if err != nil {
		return err
	}
	if sub.disabled || len(sub.rules) == 0 {
		return nil
	}
	if sub.active == 0 && s.Severity == schemas.Severity_SEVERITY_NONE && s.AlarmScore < sub.threshold {
		return nil
	}
	for i := range sub.rules {
		f.evaluate(cause{in.Root, received(s), out}, sub, &sub.rules[i], s)
	}
	return nil
}

// applyTick moves the partition's clock and takes the transitions that are due.
func (f *Fold) applyTick(in stream.Input, t *schemas.Tick, out *stream.Outputs) {
	c := f.clocks.Touch(schemas.Nil)
	if !c.advance(t.Second) {
		return
	}
	f.settleDue(cause{in.Root, t.Second * second, out})
}

// applyDeclared takes a metric's names; a later declaration replaces an earlier one.
func (f *Fold) applyDeclared(d *schemas.MetricDeclared) error {
	id, err := schemas.IDFrom(d.MetricId)
	if err != nil {
		return fmt.Errorf("metric: %w", err)
	}
	owner, err := schemas.IDFrom(d.TenantId)
	if err != nil {
		return fmt.Errorf("tenant: %w", err)
	}
	known, ok := f.metrics.Get(id)
	if ok && known.tenant != owner {
		return errors.New("metric declared by another tenant")
	}
	m := f.metrics.Touch(id)
	m.tenant, m.declared = owner, d
	delete(f.subjects, id)
	if ok {
		// Other tags can end a match: the watches of this metric look again at the next tick.
		for _, r := range f.tenant(owner).rules {
			f.recheck(watchKey(r.key, id))
		}
	}
	return nil
}

// applyControl takes a change of configuration, unless a later one is known.
func (f *Fold) applyControl(in stream.Input, msg *schemas.Control, out *stream.Outputs) error {
	if msg.GetTenantDeleted() != nil {
		return f.forgetTenant(msg)
	}
	next, err := compile(msg)
	if err != nil || next == nil {
		return err
	}
	known, ok := f.controls.Get(next.key)
	if ok && known.message.Version >= msg.Version {
		return nil
	}
	retagged := ok && !sameTags(known.tags, next.tags) || !ok && len(next.tags) > 0
	*f.controls.Touch(next.key) = *next
	owner := f.tenant(next.tenant)
	owner.put(next)
	for _, key := range f.watches.Keys() {
		if w, _ := f.watches.Get(key); w.tenant == next.tenant && next.concerns(w, retagged) {
			f.recheck(key)
		}
	}
	c, _ := f.clocks.Get(schemas.Nil)
	f.settleDue(cause{in.Root, c.now(), out})
	return nil
}

// recheck makes a watch due at once: its rule, silence or metric has changed.
func (f *Fold) recheck(key schemas.ID) {
	if _, ok := f.watches.Get(key); ok {
		f.watches.Touch(key).deadline = atOnce
		f.due.set(key, atOnce)
	}
}

func (f *Fold) tenant(id schemas.ID) *tenant {
	t := f.tenants[id]
	if t == nil {
		t = &tenant{}
		f.tenants[id] = t
	}
	return t
}
