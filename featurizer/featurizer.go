// Package featurizer turns samples into features: event-time windows per metric
// and one feature vector at each evaluation instant.
//
// What comes in: POINTS_<p>: samples by metric, declarations, ticks, controls.
// What goes out: Features, one per evaluation; declarations, ticks and controls
// verbatim. Order: that of the log; a late sample enters its window and
// influences later evaluations only. State: one window per metric, the learned
// rhythm of its arrival, the partition's clock. On failure: an entry that does
// not decode becomes a dead letter; a sample beyond the window's memory is not
// evaluated (it is stored by the projection of POINTS).
package featurizer

import (
	"container/heap"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// Bounds of silence and memory. They are part of the fold.
const (
	outageGap    = 1                   // s between ticks; what is longer is our own outage
	silentEvery  = 60 * 1e6            // µs between evaluations of a metric that stays silent
	tickEvery    = 1e6                 // µs: how finely time passes for who is silent
	silentMost   = 3                   // expected intervals within which silence is reported
	silentLearnt = 8                   // intervals learned before silence is judged
	idleLifetime = 8 * 24 * 3600 * 1e6 // µs after which a metric is forgotten
)

// Fold is the featurizer's core.
type Fold struct {
	state   *stream.State
	cfg     Config
	metrics *stream.Table[*metric]
	clocks  *stream.Table[*clock]
	// settings are those of all metrics, also of such as are not known here: they
	// outlive a metric that is forgotten after a long silence.
	settings *stream.Table[*settings]
	due      deadlines // derived: silence and eviction, in virtual time

	entry  schemas.Entry
	buffer schemas.PointsBuffer
	vector Vector
	emit   schemas.Entry
	feat   schemas.Features
	kind   schemas.Entry_Features
}

var theClock = schemas.ID{15: 1}

// New returns an empty fold with the default window.
func New() stream.Fold { return NewFold(Config{}) }

// NewFold returns an empty fold.
func NewFold(cfg Config) *Fold {
	s := stream.NewState()
	f := &Fold{state: s, cfg: cfg.withDefaults()}
	f.metrics = stream.NewTable(s, "metrics", func() *metric { return &metric{window: NewWindow(f.cfg)} })
	f.clocks = stream.NewTable(s, "clock", func() *clock { return &clock{} })
	f.settings = stream.NewTable(s, "settings", func() *settings { return &settings{} })
	f.kind.Features = &f.feat
	f.emit.Kind = &f.kind
	s.OnRestore(f.rebuild)
	return f
}

// State implements stream.Fold.
func (f *Fold) State() *stream.State { return f.state }

func (f *Fold) rebuild() {
	f.due = f.due[:0]
	for _, id := range f.metrics.Keys() {
		m, _ := f.metrics.Get(id)
		m.queued = m.deadline
		f.due = append(f.due, deadline{m.deadline, id})
	}
	heap.Init(&f.due)
}

// Apply implements stream.Fold.
func (f *Fold) Apply(in stream.Input, out *stream.Outputs) error {
	switch schemas.KindOf(in.Bytes) {
	case schemas.KindReceipt, schemas.KindDeadLetter:
		return nil
	case schemas.KindPoints:
		if err := f.buffer.Decode(in.Bytes); err != nil {
			return &stream.RejectError{Reason: "bad_points", Detail: "identifiers, timestamps, values and flags do not fit together", Tenant: f.buffer.Tenant}
		}
		f.points(&f.buffer, out)
		return nil
	}
	f.entry.Reset()
	if err := f.entry.UnmarshalVTUnsafe(in.Bytes); err != nil {
		return &stream.RejectError{Reason: "undecodable", Detail: "not an entry of the log"}
	}
	switch k := f.entry.Kind.(type) {
	case *schemas.Entry_MetricDeclared:
		out.Forward(in.Bytes)
	case *schemas.Entry_Control:
		f.control(k.Control)
		out.Forward(in.Bytes)
	case *schemas.Entry_Tick:
		out.Forward(in.Bytes)
		f.tick(k.Tick.Second, out)
	}
	return nil
}

// control takes the settings that concern this stage.
func (f *Fold) control(c *schemas.Control) {
	if d := c.GetTenantDeleted(); d != nil {
		f.forget(c.TenantId, d)
	}
	s := c.GetMetricSettings()
	if s == nil {
		return
	}
	id, err := schemas.IDFrom(s.MetricId)
	if err != nil {
		return
	}
	next := settings{version: c.Version, expected: s.ExpectedIntervalUs, window: bound(s.WindowUs, maxWindow), hop: bound(s.HopUs, maxHop)}
	if known, ok := f.settings.Get(id); !ok || c.Version > known.version {
		*f.settings.Touch(id) = next
	}
	if m, ok := f.metrics.Get(id); !ok || c.Version <= m.settings.version {
		return
	}
	f.metrics.Touch(id).set(next, f.cfg)
}

// points folds the samples of one device.
func (f *Fold) points(p *schemas.PointsBuffer, out *stream.Outputs) {
	c, ok := f.clocks.Get(theClock)
	if !ok {
		c = f.clocks.Touch(theClock)
	}
	for i := range p.Series {
		f.series(p, &p.Series[i], c, out)
	}
}

func (f *Fold) series(p *schemas.PointsBuffer, s *schemas.SeriesBuffer, c *clock, out *stream.Outputs) {
	m, known := f.metrics.Find(s.Metric).Touch()
	if !known {
		m.tenant, m.device = p.Tenant, p.Device
		if set, ok := f.settings.Get(s.Metric); ok {
			m.set(*set, f.cfg)
		}
	}
	hop := m.hopOf(f.cfg)
	phase := Phase(s.Metric[:], hop)
	for i := s.From; i < s.To; i++ {
		if p.Flags[i]&uint32(schemas.PointFlag_POINT_FLAG_BEHIND) != 0 {
			continue // stored only: its time has passed
		}
		ts, value := p.TS[i], p.Values[i]
		added := m.window.Add(ts, value)
		if added != Entered && added != Late {
			continue
		}
		if m.hop.Point(hop, phase, m.window.Step(), ts, value, added == Late) {
			m.window.Evaluate(ts, &f.vector)
			f.vectorOut(p, s.Metric[:], m, ts, out)
		}
	}
	m.hear(c.virtual(p.ReceivedAt), p.Backfill)
	if !known || m.deadline < m.queued {
		f.queue(s.Metric, m)
	}
}

// queue lets a tick look at the metric at its deadline. A deadline that moves back
// stays queued where it was and moves when it comes up; one that moves forward is
// queued anew, and the entry it had is ignored.
func (f *Fold) queue(id schemas.ID, m *metric) {
	m.queued = m.deadline
	heap.Push(&f.due, deadline{m.deadline, id})
}

// vectorOut emits the evaluation that a point caused.
func (f *Fold) vectorOut(p *schemas.PointsBuffer, id []byte, m *metric, ts int64, out *stream.Outputs) {
	f.fill(id, m, ts)
	f.feat.Value, f.feat.Extreme = m.hop.Mean(), m.hop.Extreme(f.vector.Median)
	f.feat.Backfill, f.feat.ReceivedAt = p.Backfill, p.ReceivedAt
	out.Emit(&f.emit)
}

// fill sets what every evaluation carries.
func (f *Fold) fill(id []byte, m *metric, ts int64) {
	v := &f.vector
	f.feat = schemas.Features{
		TenantId: m.tenant[:], DeviceId: m.device[:], MetricId: id, Ts: ts,
		WindowStart: v.WindowStart, WindowEnd: v.WindowEnd, Last: v.Last, LastTs: v.Newest, Count: v.Count,
		Mean: v.Mean, Std: v.Std, Median: v.Median, Mad: v.MAD, Min: v.Min, Max: v.Max, Range: v.Range,
		Slope: v.Slope, MissingRate: v.MissingRate, StuckRun: v.StuckRun, LowVariance: v.LowVariance, Step: v.Step,
	}
}

// tick advances the clock: a metric whose deadline has come is silent, or
// forgotten after a long silence.
func (f *Fold) tick(second int64, out *stream.Outputs) {
	c := f.clocks.Touch(theClock)
	if c.tick != 0 && second > c.tick+outageGap {
		// Nobody ticked because we were down: the sensors are not to blame.
		c.outage += (second - c.tick - 1) * 1e6
	}
	c.tick = max(c.tick, second)
	now := c.virtual(second * 1e6)
	for len(f.due) > 0 && f.due[0].at <= now {
		d := heap.Pop(&f.due).(deadline)
		m, ok := f.metrics.Get(d.key)
		if !ok || d.at != m.queued {
			continue
		}
		if m.deadline > d.at {
			f.queue(d.key, m) // also when it is due now: the order is that of deadlines
			continue
		}
		if now-m.heard >= idleLifetime {
			f.metrics.Delete(d.key)
			continue
		}
		m = f.metrics.Touch(d.key)
		f.silence(d.key, m, second, now, out)
		f.queue(d.key, m)
	}
}

// silence emits an evaluation by tick: on the change of state, then once a minute.
func (f *Fold) silence(id schemas.ID, m *metric, second, now int64, out *stream.Outputs) {
	interval := m.interval()
	if interval == 0 || !m.armed {
		m.deadline = m.heard + idleLifetime
		return
	}
	m.silent = true
	m.deadline = now + silentEvery
	// The silence began where the next point was expected, in event time.
	newest, _ := m.window.Newest()
	at := newest + (now - m.heard)
	m.window.Evaluate(at, &f.vector)
	f.fill(id[:], m, at)
	f.feat.Tick, f.feat.Silent = true, true
	f.feat.Value, f.feat.Extreme = f.vector.Last, f.vector.Last
	f.feat.ReceivedAt = second * 1e6
	out.Emit(&f.emit)
}

// deadline orders metrics by virtual time, equal ones by id.
type deadline struct {
	at  int64
	key schemas.ID
}

type deadlines []deadline

func (d deadlines) Len() int      { return len(d) }
func (d deadlines) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d deadlines) Less(i, j int) bool {
	if d[i].at != d[j].at {
		return d[i].at < d[j].at
	}
	return d[i].key.Compare(d[j].key) < 0
}
func (d *deadlines) Push(x any) { *d = append(*d, x.(deadline)) }
func (d *deadlines) Pop() any {
	last := (*d)[len(*d)-1]
	*d = (*d)[:len(*d)-1]
	return last
}
