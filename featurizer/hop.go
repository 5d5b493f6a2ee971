package featurizer

import (
	"encoding/binary"
	"math"
	"time"
)

// Hop finds the evaluation instants of one metric and describes the points
// between two of them: every point that is not older than the last instant
// belongs to exactly one.
//
// An instant is the first point at or after each multiple of the hop. Metrics whose
// learned step is below 1/16 of the hop have it moved by their phase (Phase): else all
// of a fleet would be due in one moment. A longer step spreads them by itself, and more
// moments would only cost messages. Metrics whose step is at least 3/4 of the hop are
// evaluated at every point, so that jitter around a boundary hides none. Late points
// and ticks are no instants.
//
// The zero value is ready. It does no arithmetic that depends on batch boundaries.
type Hop struct {
	last   int64  // event time of the last instant
	open   bool   // an instant happened
	closed bool   // the instant's values are still there, the next point starts anew
	count  uint32 // points since
	mean   float64
	min    float64
	max    float64
}

// phases is how many moments of a hop metrics are evaluated at. More of them would
// make more messages of less each, and a message has its price whatever it holds.
const phases = 4

// denseness is how many points of a metric in a hop make its phase count.
const denseness = 16

// Phase is by how much the instants of a metric are moved, in µs: a quarter of the hop,
// by its id.
func Phase(metric []byte, hop time.Duration) int64 {
	return int64(metric[len(metric)-1]%phases) * hop.Microseconds() / phases
}

// Point offers a point that entered the window (Entered or Late), and reports
// whether it is an evaluation instant. step is Window.Step in microseconds.
func (h *Hop) Point(hop time.Duration, phase, step, ts int64, value float64, late bool) (instant bool) {
	if h.closed {
		h.closed, h.count = false, 0
	}
	if h.open && ts <= h.last {
		return false // behind the last instant: seen by later windows only
	}
	h.track(value)
	if late {
		return false
	}
	width := hop.Microseconds()
	if step == 0 || step > width/denseness {
		phase = 0
	}
	if h.open && step < width-width/4 && floorDiv(ts-phase, width) <= floorDiv(h.last-phase, width) {
		return false
	}
	h.last, h.open, h.closed = ts, true, true
	return true
}

func (h *Hop) track(value float64) {
	if h.count == 0 {
		h.count, h.mean, h.min, h.max = 1, value, value, value
		return
	}
	h.count++
	h.mean += (value - h.mean) / float64(h.count)
	h.min = min(h.min, value)
	h.max = max(h.max, value)
}

// Count is how many points belong to the instant just reported.
func (h *Hop) Count() uint32 { return h.count }

// Pending is how many points wait for their instant.
func (h *Hop) Pending() uint32 {
	if h.closed {
		return 0
	}
	return h.count
}

// Mean is the mean of the instant's points: x for slow channels.
func (h *Hop) Mean() float64 { return h.mean }

// Min and Max bound the instant's points.
func (h *Hop) Min() float64 { return h.min }

// Max is the largest of the instant's points.
func (h *Hop) Max() float64 { return h.max }

// Extreme is the instant's value farthest from expected: x for fast channels.
// It is always the smallest or the largest one; of two equally far ones the larger.
func (h *Hop) Extreme(expected float64) float64 { return Extreme(h.min, h.max, expected) }

// Extreme returns the one of min and max that is farther from expected, max if equal.
func Extreme(min, max, expected float64) float64 {
	if expected-min > max-expected {
		return min
	}
	return max
}

const hopState = 1 + 8 + 4 + 3*8

// AppendState appends the state, 37 bytes.
func (h *Hop) AppendState(b []byte) []byte {
	b = append(b, byte(b2u(h.open)|b2u(h.closed)<<1)|stateVersion<<4)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.last))
	b = binary.LittleEndian.AppendUint32(b, h.count)
	for _, f := range [...]float64{h.mean, h.min, h.max} {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
	}
	return b
}

// DecodeState replaces the state by one that AppendState wrote.
func (h *Hop) DecodeState(b []byte) error {
	if len(b) != hopState || b[0]>>4 != stateVersion || b[0]&^3 != stateVersion<<4 {
		return errState("hop: length or version")
	}
	*h = Hop{
		open:   b[0]&1 != 0,
		closed: b[0]&2 != 0,
		last:   int64(binary.LittleEndian.Uint64(b[1:])),
		count:  binary.LittleEndian.Uint32(b[9:]),
		mean:   math.Float64frombits(binary.LittleEndian.Uint64(b[13:])),
		min:    math.Float64frombits(binary.LittleEndian.Uint64(b[21:])),
		max:    math.Float64frombits(binary.LittleEndian.Uint64(b[29:])),
	}
	return nil
}
