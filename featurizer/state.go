package featurizer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

const stateVersion = 1

var (
	// ErrState says that bytes are not the state of a window.
	ErrState = errors.New("invalid window state")
	// ErrConfig says that a state belongs to a window of another configuration.
	ErrConfig = errors.New("window state of another configuration")
)

func errState(what string) error { return fmt.Errorf("decode %s: %w", what, ErrState) }

// AppendState appends the window's state: canonical (equal windows give equal
// bytes, and DecodeState accepts no other bytes) and complete (a window decoded
// from it continues bit for bit). What can be derived again (values by size) is
// not stored. Layout, version 1: configuration, samples (timestamps as
// differences of differences, values raw), marks, step, scale, then the running
// sums or the sub-buckets.
func (w *Window) AppendState(b []byte) []byte {
	e := encoder{b}
	live := w.samples.live()
	e.b = append(e.b, stateVersion)
	e.uint(uint64(w.width))
	e.uint(uint64(w.cfg.MaxSamples))
	e.uint(uint64(len(live)))
	if len(live) == 0 {
		return e.b
	}
	origin := live[0].ts
	e.int(origin)
	previous := int64(0)
	for i, s := range live[1:] {
		d := s.ts - live[i].ts
		e.int(d - previous)
		previous = d
	}
	for _, s := range live {
		e.float(s.value)
	}
	e.uint(uint64(origin - w.first))
	e.mark(origin, w.floor)
	e.mark(origin, w.covered)
	e.uint(uint64(w.run))
	w.step.append(&e)
	e.uint(uint64(w.scale.n))
	e.float(w.scale.value)
	e.uint(uint64(w.buckets.span))
	if w.buckets.on() {
		w.buckets.append(&e)
	} else {
		w.sums.append(&e, origin)
	}
	return e.b
}

// DecodeState replaces the window by the state in b, all of it. The window
// keeps its configuration, which must be the state's. On an error the window is
// as after Reset.
func (w *Window) DecodeState(b []byte) error {
	cfg := w.cfg
	w.Reset(cfg)
	d := decoder{b: b}
	w.decode(&d)
	if d.err == nil && len(d.b) != 0 {
		d.fail("window: bytes after the end")
	}
	if d.err == nil && !bytes.Equal(w.AppendState(make([]byte, 0, len(b))), b) {
		d.fail("window: not canonical")
	}
	if d.err != nil {
		w.Reset(cfg)
	}
	return d.err
}

func (w *Window) decode(d *decoder) {
	d.require(d.byte() == stateVersion, "window: version")
	width, most := d.uint(), d.uint()
	if d.err == nil && (width != uint64(w.width) || most != uint64(w.cfg.MaxSamples)) {
		d.err = fmt.Errorf("decode window: state has %v and %d samples: %w", time.Duration(width)*time.Microsecond, most, ErrConfig)
	}
	n := d.length(w.cfg.MaxSamples, 9)
	if n == 0 || d.err != nil {
		return
	}
	w.samples.buf = make([]sample, n, n+n/8+2)
	live := w.samples.buf
	origin := d.int()
	d.require(origin >= -maxTime, "window: time")
	ts, step := origin, int64(0)
	for i := range live {
		if i > 0 {
			step += d.int()
			d.require(step > 0 && step <= 2*maxTime, "window: time order")
			ts += step
		}
		d.require(ts <= maxTime, "window: time")
		live[i].ts = ts
		if d.err != nil {
			return
		}
	}
	for i := range live {
		live[i].value = d.value()
	}
	w.first = origin - int64(min(d.uint(), 2*maxTime))
	d.require(w.first >= -maxTime, "window: first time")
	w.floor, w.covered = d.mark(origin), d.mark(origin)
	w.run = uint32(min(d.uint(), math.MaxUint32))
	w.step.decode(d)
	w.scale.n = uint32(min(d.uint(), scaleMemory))
	w.scale.value = d.size()
	span := int64(min(d.uint(), math.MaxInt64))
	if span == 0 {
		w.sums.decode(d, origin, n)
		w.order = fill(make(order, 0, n+n/8+2), live)
		return
	}
	d.require(n <= w.cfg.MaxSamples/2, "window: samples of a bucketed window")
	d.require(span >= w.width && span <= max(w.width, windowSteps*maxStep), "window: span")
	if d.err == nil {
		w.buckets.start(span, w.cfg.MaxSamples/4)
		w.buckets.decode(d, w.cfg.MaxSamples/4+2, w.samples.newest())
	}
}

func (l *stepLearner) append(e *encoder) {
	e.uint(uint64(l.n))
	for i := range l.n {
		e.uint(uint64(l.recent[(l.pos+i)%stepMemory]))
	}
}

func (l *stepLearner) decode(d *decoder) {
	l.n = d.length(stepMemory, 1)
	for i := range l.n {
		l.recent[i] = int64(min(d.uint(), maxStep))
		d.require(l.recent[i] > 0, "window: step")
	}
	l.sorted = l.recent
	slices.Sort(l.sorted[:l.n])
}

func (m *moments) append(e *encoder, origin int64) {
	e.int(m.origin - origin)
	e.uint(uint64(m.ops))
	for _, f := range [...]float64{m.anchor, m.sx, m.sxx, m.st, m.stt, m.stx, m.peakX, m.peakT} {
		e.float(f)
	}
}

func (m *moments) decode(d *decoder, origin int64, n int) {
	m.n = float64(n)
	m.origin = origin + max(min(d.int(), maxTime), -maxTime)
	m.ops = float64(min(d.uint(), 4*hardSamples))
	m.anchor = d.value()
	for _, f := range [...]*float64{&m.sx, &m.sxx, &m.st, &m.stt, &m.stx} {
		*f = d.finite()
	}
	m.peakX, m.peakT = d.size(), d.size()
}

func (b *buckets) append(e *encoder) {
	e.uint(uint64(len(b.list)))
	previous := int64(0)
	for i := range b.list {
		c := &b.list[i]
		e.int(c.id - previous)
		previous = c.id
		e.uint(uint64(c.n))
		for _, f := range [...]float64{c.anchor, c.off, c.m2, c.min, c.max} {
			e.float(f)
		}
	}
}

func (b *buckets) decode(d *decoder, most int, newest int64) {
	n := d.length(most, 42)
	d.require(n > 0, "window: no buckets")
	limit := 2 * maxTime / b.width
	id := int64(0)
	for i := range n {
		step := d.int()
		d.require(i == 0 || step > 0, "window: bucket order")
		d.require(step >= -limit && step <= limit, "window: bucket time")
		id += step
		d.require(id >= -limit && id <= limit, "window: bucket time")
		c := bucket{id: id, n: uint32(min(d.uint(), math.MaxUint32))}
		d.require(c.n > 0, "window: empty bucket")
		c.anchor, c.off, c.m2 = d.value(), d.finite(), d.size()
		c.min, c.max = d.value(), d.value()
		d.require(c.min <= c.max, "window: bucket bounds")
		if d.err != nil {
			return
		}
		b.list = append(b.list, c)
	}
	d.require(id == floorDiv(newest, b.width), "window: newest bucket")
}

type encoder struct{ b []byte }

func (e *encoder) uint(x uint64)   { e.b = binary.AppendUvarint(e.b, x) }
func (e *encoder) int(x int64)     { e.b = binary.AppendVarint(e.b, x) }
func (e *encoder) float(x float64) { e.b = binary.LittleEndian.AppendUint64(e.b, math.Float64bits(x)) }

// mark writes an instant before origin, or none.
func (e *encoder) mark(origin, ts int64) {
	if ts == noTime {
		e.uint(0)
		return
	}
	e.uint(uint64(origin - ts))
}

// decoder reads the same; after the first error it only returns zeros.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = errState(what)
	}
	d.b = nil
}

func (d *decoder) require(ok bool, what string) {
	if !ok {
		d.fail(what)
	}
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail("window: short")
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uint() uint64 {
	x, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("window: number")
		return 0
	}
	d.b = d.b[n:]
	return x
}

func (d *decoder) int() int64 {
	x, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail("window: number")
		return 0
	}
	d.b = d.b[n:]
	return x
}

// length reads a number of items of at least size bytes each, at most `most`.
func (d *decoder) length(most, size int) int {
	n := d.uint()
	if n > uint64(most) || n*uint64(size) > uint64(len(d.b)) {
		d.fail("window: length")
		return 0
	}
	return int(n)
}

func (d *decoder) float() float64 {
	if len(d.b) < 8 {
		d.fail("window: short")
		return 0
	}
	x := math.Float64frombits(binary.LittleEndian.Uint64(d.b))
	d.b = d.b[8:]
	return x
}

func (d *decoder) finite() float64 {
	x := d.float()
	d.require(math.Abs(x) <= math.MaxFloat64, "window: not finite")
	return x
}

// size reads a finite number that is not negative.
func (d *decoder) size() float64 {
	x := d.finite()
	d.require(x >= 0 && !math.Signbit(x), "window: negative")
	return x
}

// value reads what Add accepts.
func (d *decoder) value() float64 {
	x := d.float()
	d.require(math.Abs(x) <= maxValue && (x != 0 || !math.Signbit(x)), "window: value")
	return x
}

func (d *decoder) mark(origin int64) int64 {
	x := d.uint()
	if x == 0 {
		return noTime
	}
	return origin - int64(min(x, 2*maxTime))
}
