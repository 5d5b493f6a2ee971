package scorer

import "slices"

// Label names what kind of anomaly a row belongs to; NoLabel outside events.
type Label uint8

const (
	NoLabel Label = iota
	Spike
	Drop
	Drift
	Missingness
	Stuck
)

func (l Label) String() string {
	return [...]string{"", "spike", "drop", "drift", "missingness", "stuck"}[min(l, Stuck)]
}

// SubLabel refines Spike and Drop.
type SubLabel uint8

const (
	NoSubLabel SubLabel = iota
	Level               // the values stay on one side
	Noise               // the values scatter
)

func (l SubLabel) String() string {
	return [...]string{"", "level", "noise"}[min(l, Noise)]
}

const (
	eventOpens  = 4.0 // raw score
	eventCloses = 3.0
	eventQuiet  = 6  // rows below eventCloses that end an event
	eventPast   = 60 // rows before the onset an event is compared with
	eventRows   = 64 // rows of an event that are looked at, the latest ones
	eventLeast  = 6  // rows before a shape is anything but a spike or drop

	levelShare     = .6
	levelDeviation = 2.0
	noiseRatio     = 1.8

	dwarfing = 5.0 // times as far out as all before it: a row that is an event of its own
)

// event follows one anomaly from its onset. It keeps what was usual before, not
// the rows: those are the newest of the model's values, less what is usual for
// their time of day where that is known.
type event struct {
	open   bool
	onset  int64
	rows   uint32 // since the onset, this row included; saturates at eventRows
	quiet  uint32 // rows in a row below eventCloses
	median float64
	scale  float64 // 1.4826 MAD before the onset, floored
	jitter float64 // mean square of differences before the onset
	label  uint32  // last label given, to tell a revision
	alarm  uint32  // highest severity so far

	seasonal bool // rows are compared less the time of day
}

// follow opens, continues or closes the event for a row with raw score s.
func (e *event) follow(s float64, ts int64) (open bool) {
	switch {
	case !e.open && s >= eventOpens:
		e.begin(ts)
		return true
	case !e.open:
		return false
	case s < eventCloses:
		e.quiet++
	default:
		e.quiet = 0
	}
	e.rows = min(e.rows+1, eventRows)
	if e.quiet >= eventQuiet {
		*e = event{}
	}
	return e.open
}

func (e *event) begin(ts int64) { *e = event{open: true, onset: ts, rows: 1} }

// compare fixes what was usual in the rows before the onset; floor keeps the
// scale off zero.
func (e *event) compare(before []float64, floor float64) {
	var past [eventPast]float64
	n := copy(past[:], before)
	if n < 2 {
		e.scale = max(floor, 1e-30)
		return
	}
	for k := range n {
		if k > 0 {
			d := past[k] - past[k-1]
			e.jitter += float64(d*d) / float64(n-1)
		}
	}
	slices.Sort(past[:n])
	e.median = past[n/2]
	for k := range n {
		past[k] = abs(past[k] - e.median)
	}
	slices.Sort(past[:n])
	// Where most values are equal the MAD is zero; half the usual difference is
	// below the scale of any noise and still one of the metric's own.
	e.scale = max(1.4826*past[n/2], sqrt(e.jitter)/2, floor, 1e-30)
}

// shape is what the rows of an event look like, in scales before the onset.
type shape struct {
	n            int
	most, least  float64 // largest and smallest deviation
	above, below int     // rows beyond levelDeviation
	jitter       float64 // mean square of differences
}

// shape describes the rows of the event.
func (e *event) shape(rows []float64) shape {
	s := shape{n: len(rows)}
	last := 0.0
	for i, x := range rows {
		z := (x - e.median) / e.scale
		if i == 0 {
			s.most, s.least = z, z
		} else {
			d := x - last
			s.jitter += float64(d*d) / float64(s.n-1)
		}
		s.most, s.least, last = max(s.most, z), min(s.least, z), x
		if z > levelDeviation {
			s.above++
		} else if z < -levelDeviation {
			s.below++
		}
	}
	return s
}

// dwarfed reports whether the newest row lies so much farther out than the n rows
// before it that it is news of its own. What begins with it is named by itself: an
// absurd value that happens to follow a faint anomaly, or the end of a gap, would
// otherwise be the next moment of that one, and bear its name.
func (e *event) dwarfed(rows []float64, n int) bool {
	newest := len(rows) - 1
	if n < 1 {
		return false
	}
	before := e.shape(rows[max(newest-n, 0):newest])
	return abs(rows[newest]-e.median) > dwarfing*e.scale*max(before.most, -before.least, levelDeviation)
}

// judge names the event as it looks now; rows are those before its onset and its
// own. What was published as a spike is revised once it shows as a drift; a drift
// that ends stays one.
func (e *event) judge(rows []float64) (Label, SubLabel) {
	if Label(e.label) == Drift || e.drifts(rows) {
		return Drift, NoSubLabel
	}
	s := e.shape(rows[max(len(rows)-int(e.rows), 0):])
	label := Spike
	if -s.least > s.most {
		label = Drop
	}
	if s.n < eventLeast {
		return label, NoSubLabel
	}
	switch share := levelShare * float64(s.n); {
	case float64(s.above) > share:
		return Spike, Level
	case float64(s.below) > share:
		return Drop, Level
	}
	if s.jitter > noiseRatio*noiseRatio*e.jitter && s.above > 0 && s.below > 0 && 4*(s.above+s.below) >= max(s.n, 12) {
		if last := Label(e.label); last == Spike || last == Drop {
			label = last // which side is farther is chance
		}
		return label, Noise
	}
	return label, NoSubLabel
}

// publish notes the label given, and tells whether it revises an earlier one. A
// drift cannot be told at once: when an alarm turns out to be one, the revision
// bears its severity, as news to whoever was alarmed. Other revisions are often
// chance, such as which of two sides of a noisy event lies farther out.
func (e *event) publish(label Label, severity Severity) (revised bool, as Severity) {
	revised = e.label != 0 && e.label != uint32(label)
	e.label = uint32(label)
	e.alarm = max(e.alarm, uint32(severity))
	if revised && label == Drift {
		severity = Severity(e.alarm)
	}
	return revised, severity
}

func (e *event) code(c *coder) {
	c.flag(&e.open)
	c.int64(&e.onset)
	c.count(&e.rows, eventRows)
	c.count(&e.quiet, eventQuiet)
	c.float(&e.median)
	c.float(&e.scale)
	c.float(&e.jitter)
	c.count(&e.label, uint32(Stuck))
	c.count(&e.alarm, uint32(Critical))
	c.flag(&e.seasonal)
	if e.open && !(e.scale > 0) {
		c.fail()
	}
}
