package featurizer

import (
	"math"
	"time"
)

// Bounds of what a window accepts. They keep every sum of squares and every
// difference of timestamps far from overflow.
const (
	maxValue    = 1e150   // squares of deviations stay finite
	maxTime     = 1 << 60 // microseconds, about 36,500 years around 1970
	maxStep     = 1 << 45 // microseconds, about 407 days
	noTime      = math.MinInt64
	windowSteps = 12  // a slow metric's window holds this many steps
	hardSamples = 512 // largest MaxSamples: the scratch of an evaluation is on the stack
)

// Config of a window. The zero value means the defaults.
type Config struct {
	Window     time.Duration // trailing span of event time; default 300 s
	Hop        time.Duration // distance of evaluation instants; default 1 s
	MaxSamples int           // most samples held before the window is kept in sub-buckets; 8 to 512, default 512
}

func (c Config) withDefaults() Config {
	if c.Window <= 0 {
		c.Window = 300 * time.Second
	}
	c.Window = max(min(c.Window, maxStep*time.Microsecond), time.Microsecond)
	if c.Hop <= 0 {
		c.Hop = time.Second
	}
	c.Hop = max(c.Hop, time.Microsecond)
	if c.MaxSamples <= 0 {
		c.MaxSamples = hardSamples
	}
	c.MaxSamples = min(max(c.MaxSamples, 8), hardSamples)
	return c
}

// AddResult says what became of a point.
type AddResult uint8

const (
	Entered   AddResult = iota // newest point so far
	Late                       // older than the newest, entered; seen by later evaluations only
	Duplicate                  // same timestamp and value as a point inside: ignored
	Conflict                   // same timestamp as a point inside, other value: ignored, the first one stays
	TooOld                     // behind the window, or behind what it can still tell from a duplicate: ignored
	Unusable                   // not finite, beyond ±1e150, or a timestamp beyond ±2^60 µs: ignored
)

func (r AddResult) String() string {
	return [...]string{"entered", "late", "duplicate", "conflict", "too-old", "unusable"}[r]
}

// Window is the trailing event-time window of one metric: its samples in order
// of time, the same values in order of size, and running sums.
//
// What comes in: points by [Window.Add], in any order. What goes out: a
// [Vector] by [Window.Evaluate], which changes nothing, so evaluating more or
// less often never changes a later result. Order: the result depends on the
// sequence of Add calls alone. State: at most Config.MaxSamples samples, or,
// for metrics faster than that, MaxSamples/4 sub-buckets and the MaxSamples/2
// most recent samples. Failure: there is none; a point that can't enter is
// named by its AddResult and ignored.
//
// The span is Config.Window, widened to 12 learned sampling steps for slow
// metrics.
//
// Which features are exact. With at most MaxSamples points in the span all are.
// Beyond (Vector.Bucketed) points are aggregated in sub-buckets of span/(MaxSamples/4),
// aligned to multiples of that width: count, mean, standard deviation, min,
// max, range, stuck run and last stay exact over the covered whole buckets
// (Vector.WindowStart is rounded down to a bucket's start); median and MAD are
// those of the bucket means; the slope is fitted to the bucket means at the
// bucket centres, weighted by count. A late point then enters only while it is
// newer than the MaxSamples/2 most recent samples reach back, because only
// there a duplicate can be told from a new point. Once the recent samples alone
// cover the span, the window is exact again.
type Window struct {
	cfg     Config
	width   int64 // cfg.Window in microseconds
	samples samples
	order   order   // values by size; empty while bucketed
	sums    moments // over samples; unused while bucketed
	buckets buckets // empty unless bucketed
	step    stepLearner
	scale   scaleLearner
	first   int64  // oldest timestamp ever inside; noTime before the first point
	floor   int64  // points at or below it are too old: they might be duplicates
	covered int64  // every accepted point above it and inside the span is represented
	run     uint32 // trailing run of equal values, over the stream
}

// NewWindow returns an empty window.
func NewWindow(cfg Config) *Window {
	w := &Window{}
	w.Reset(cfg)
	return w
}

// Reset empties the window and sets its configuration.
func (w *Window) Reset(cfg Config) {
	cfg = cfg.withDefaults()
	*w = Window{cfg: cfg, width: cfg.Window.Microseconds(), first: noTime, floor: noTime, covered: noTime}
}

// Resize changes the span. What is held beyond a shorter one goes at once; a
// longer one is covered as far back as samples are held.
func (w *Window) Resize(window time.Duration) {
	cfg := w.cfg
	cfg.Window = window
	cfg = cfg.withDefaults()
	if cfg.Window == w.cfg.Window {
		return
	}
	w.cfg, w.width = cfg, cfg.Window.Microseconds()
	if w.first != noTime {
		w.evict()
	}
}

// Len returns how many raw samples are held.
func (w *Window) Len() int { return len(w.samples.live()) }

// Newest returns the newest event time in microseconds; ok is false before the first point.
func (w *Window) Newest() (ts int64, ok bool) {
	if w.first == noTime {
		return 0, false
	}
	return w.samples.newest(), true
}

// Step returns the learned sampling step in microseconds, 0 while unknown.
func (w *Window) Step() int64 { return w.step.step() }

// span is the window's width in microseconds.
func (w *Window) span() int64 { return max(w.width, windowSteps*w.step.step()) }

// Add offers the point (ts in microseconds since 1970, value).
func (w *Window) Add(ts int64, value float64) AddResult {
	if !(math.Abs(value) <= maxValue) || ts > maxTime || ts < -maxTime {
		return Unusable
	}
	value += 0 // -0 becomes +0: one representation per value
	if w.first == noTime {
		w.first = ts
		w.run = 1
		w.enter(len(w.samples.live()), ts, value)
		return Entered
	}
	if newest := w.samples.newest(); ts > newest {
		w.step.learn(ts - newest)
		if value == w.samples.last() {
			w.run += b2u(w.run != math.MaxUint32)
		} else {
			w.run = 1
		}
		opened := w.enter(len(w.samples.live()), ts, value)
		w.evict()
		w.learnScale(opened)
		return Entered
	}
	if ts <= w.floor || ts <= w.samples.newest()-w.span() {
		return TooOld
	}
	i, found := w.samples.search(ts)
	if found {
		if w.samples.live()[i].value == value {
			return Duplicate
		}
		return Conflict
	}
	w.first = min(w.first, ts)
	w.breakRun(i, value)
	w.enter(i, ts, value)
	w.evict()
	return Late
}

// breakRun updates the trailing run for a late value that goes to position i.
func (w *Window) breakRun(i int, value float64) {
	after := uint32(len(w.samples.live()) - i)
	if w.run < after {
		return
	}
	if value == w.samples.last() {
		w.run += b2u(w.run != math.MaxUint32)
	} else {
		w.run = after
	}
}

// enter stores a sample at position i; it reports whether a bucket was opened for it.
func (w *Window) enter(i int, ts int64, value float64) (opened bool) {
	w.samples.insert(i, ts, value)
	if w.buckets.on() {
		return w.buckets.add(ts, value)
	}
	w.order.insert(value)
	w.sums.add(ts, value)
	return false
}

// evict drops what the span no longer covers, and goes from samples to
// sub-buckets or back where the number of points asks for it.
func (w *Window) evict() {
	span := w.span()
	from := w.samples.newest() - span
	if w.buckets.on() {
		w.evictBucketed(span, from)
		return
	}
	for w.samples.live()[0].ts <= from {
		s := w.samples.pop()
		w.order.remove(s.value)
		w.sums.remove(s.ts, s.value)
		w.floor, w.covered = s.ts, s.ts
	}
	if len(w.samples.live()) > w.cfg.MaxSamples {
		w.buckets.start(span, w.cfg.MaxSamples/4)
		w.fillBuckets()
		w.order, w.sums = nil, moments{}
		w.trim()
		w.samples.refit()
		return
	}
	w.sums.check(w.samples.live(), w.order)
}

func (w *Window) evictBucketed(span, from int64) {
	w.trim()
	if from >= w.floor { // the samples held cover the span again
		w.buckets = buckets{}
		for w.samples.live()[0].ts <= from {
			w.floor = w.samples.pop().ts
		}
		w.covered = w.floor
		live := w.samples.live()
		w.order = fill(nil, live)
		w.sums.rebuild(live)
		return
	}
	if span != w.buckets.span { // the step changed: start again from the samples held
		w.buckets.start(span, w.cfg.MaxSamples/4)
		w.fillBuckets()
		w.covered = w.floor
	}
	w.buckets.evict(from)
}

// trim keeps the most recent MaxSamples/2 samples of a bucketed window.
func (w *Window) trim() {
	for len(w.samples.live()) > w.cfg.MaxSamples/2 {
		w.floor = w.samples.pop().ts
	}
}

func (w *Window) fillBuckets() {
	for _, s := range w.samples.live() {
		w.buckets.add(s.ts, s.value)
	}
}

// learnScale lets the scale learn the spread that the window has now: at every
// newest point, while bucketed once per bucket.
func (w *Window) learnScale(opened bool) {
	if w.buckets.on() {
		if opened {
			t := w.buckets.total(noTime)
			w.scale.learn(t.std(t.min == t.max), int(t.n))
		}
		return
	}
	w.scale.learn(w.sums.std(w.order.constant()), len(w.order))
}

func b2u(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}
