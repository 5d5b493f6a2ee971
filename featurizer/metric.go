package featurizer

import (
	"encoding/binary"

	"github.com/edgepulse/edgepulse/schemas"
)

// metric is what the featurizer keeps of one metric.
type metric struct {
	tenant, device schemas.ID
	window         *Window
	hop            Hop
	arrival        stepLearner // distances of received_at: a device that sends by the minute is not silent in between
	heard          int64       // virtual time of the newest arrival, µs
	deadline       int64       // virtual time at which a tick looks at the metric
	queued         int64       // deadline of the valid entry in Fold.due, never after deadline; derived
	settings       settings    // in force
	armed          bool        // a point that is not backfill has been heard
	silent         bool
}

// hear notes an arrival. Only what is not backfill arms the judgement of
// silence: history is no sign of life.
func (m *metric) hear(virtual int64, backfill bool) {
	if !backfill {
		if m.armed && virtual > m.heard {
			m.arrival.learn(virtual - m.heard)
		}
		m.armed = true
		m.silent = false
	}
	m.heard = max(m.heard, virtual)
	m.deadline = m.heard + idleLifetime
	if interval := m.interval(); m.armed && interval > 0 {
		m.deadline = m.heard + m.patience(interval)
	}
}

// patience is how long no arrival is no news, in µs: two and a half intervals, so
// that one lost sample is none. A tick looks up to a second later, and a learned
// interval is a little off; where that could be past three intervals it is so much
// less than three. It is never less than two intervals and what the next but one
// is usually late. A metric faster than the ticks has the patience of one that
// keeps step with them.
func (m *metric) patience(interval int64) int64 {
	interval = max(interval, tickEvery)
	late := min(m.arrival.lateness(), interval/2)
	return max(min(5*interval/2, silentMost*interval-5*tickEvery/4), 2*interval+late)
}

// interval is the expected distance of arrivals in µs, 0 while unknown.
func (m *metric) interval() int64 {
	if m.settings.expected > 0 {
		return m.settings.expected
	}
	if m.arrival.n < silentLearnt {
		return 0
	}
	return max(m.arrival.step(), m.window.Step())
}

// Versions of a metric's state: the second has a window and a hop of its own.
const (
	plainMetric = 1
	ownWindow   = 2
)

// AppendState implements stream.Record.
func (m *metric) AppendState(b []byte) []byte {
	version := byte(plainMetric)
	if m.settings.window != 0 || m.settings.hop != 0 {
		version = ownWindow
	}
	e := encoder{append(b, version)}
	e.b = append(e.b, m.tenant[:]...)
	e.b = append(e.b, m.device[:]...)
	e.b = append(e.b, byte(b2u(m.armed)|b2u(m.silent)<<1))
	e.int(m.heard)
	e.int(m.deadline)
	e.int(m.settings.expected)
	e.uint(m.settings.version)
	if version == ownWindow {
		e.uint(uint64(m.settings.window))
		e.uint(uint64(m.settings.hop))
	}
	m.arrival.append(&e)
	e.b = m.hop.AppendState(e.b)
	return m.window.AppendState(e.b)
}

// DecodeState implements stream.Record.
func (m *metric) DecodeState(b []byte) error {
	d := decoder{b: b}
	version := d.byte()
	d.require(version == plainMetric || version == ownWindow, "metric: version")
	if d.err != nil || len(d.b) < 33 {
		return errState("metric: length")
	}
	copy(m.tenant[:], d.b)
	copy(m.device[:], d.b[16:])
	flags := d.b[32]
	d.b = d.b[33:]
	d.require(flags < 4, "metric: flags")
	m.armed, m.silent = flags&1 != 0, flags&2 != 0
	m.heard, m.deadline = d.int(), d.int()
	m.settings = settings{expected: d.int(), version: d.uint()}
	if version == ownWindow {
		window, hop := d.uint(), d.uint()
		d.require(window <= uint64(maxWindow) && hop <= uint64(maxHop) && window+hop > 0, "metric: settings")
		if d.err != nil {
			return d.err
		}
		m.settings.window, m.settings.hop = int64(window), int64(hop)
		m.set(m.settings, m.window.cfg) // the window is empty yet: it takes its span
	}
	m.arrival.decode(&d)
	if d.err != nil || len(d.b) < hopState {
		return errState("metric: length")
	}
	if err := m.hop.DecodeState(d.b[:hopState]); err != nil {
		return err
	}
	return m.window.DecodeState(d.b[hopState:])
}

// clock is the partition's time: it advances by ticks only.
type clock struct {
	tick   int64 // newest tick, unix seconds
	outage int64 // µs in which nobody ticked, all outages together
}

// virtual is a time of ours without our outages, µs. A point received before the
// tick that reveals an outage counts as received right after the last tick.
func (c *clock) virtual(received int64) int64 {
	if c.tick != 0 && received > (c.tick+outageGap)*1e6 {
		received = (c.tick + 1) * 1e6
	}
	return received - c.outage
}

// AppendState implements stream.Record.
func (c *clock) AppendState(b []byte) []byte {
	b = append(b, 1)
	b = binary.AppendVarint(b, c.tick)
	return binary.AppendVarint(b, c.outage)
}

// DecodeState implements stream.Record.
func (c *clock) DecodeState(b []byte) error {
	d := decoder{b: b}
	d.require(d.byte() == 1, "clock: version")
	c.tick, c.outage = d.int(), d.int()
	d.require(len(d.b) == 0, "clock: length")
	return d.err
}
