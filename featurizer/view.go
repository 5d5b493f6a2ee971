package featurizer

import "slices"

// view is what features read: the part of a window inside one evaluation's span.
type view struct {
	sums             // over samples, or over bucket means
	start, end int64 // the span (start, end]
	covered    int64 // the window represents every point above it
	first      int64 // oldest timestamp ever inside
	step       int64 // microseconds, 0 while unknown
	count      int   // points
	order      order // values, or bucket means, ascending
	min, max   float64
	last       float64
	run        uint32
	scale      float64 // usual standard deviation, 0 while unknown
	bucketed   bool
}

// scratch is room for the values of one evaluation.
type scratch [hardSamples]float64

// Evaluate writes the features over the span that ends at `at` (microseconds).
// An `at` before the newest point means the newest point: event time never runs
// backwards. Nothing is changed. At the newest point the cost is O(log n); at a
// later instant (a tick) that leaves samples behind, and while bucketed, it is
// one pass and one sort over at most MaxSamples values.
func (w *Window) Evaluate(at int64, out *Vector) {
	*out = Vector{WindowEnd: at, WindowStart: at - w.span()}
	if w.first == noTime {
		return
	}
	newest := w.samples.newest()
	at = max(at, newest)
	v := view{
		start:   at - w.span(),
		end:     at,
		covered: w.covered,
		first:   w.first,
		step:    w.step.step(),
		last:    w.samples.last(),
		run:     w.run,
	}
	if w.scale.n >= scaleTrust {
		v.scale = w.scale.value
	}
	switch {
	case w.buckets.on():
		var buf scratch
		v.order = w.viewBuckets(&v, buf[:0])
		w.describe(&v, out)
	case w.samples.live()[0].ts <= v.start:
		var buf scratch
		v.order = w.viewTail(&v, buf[:0])
		w.describe(&v, out)
	default:
		v.sums = w.sums.sums
		v.count = len(w.order)
		v.order = w.order
		v.min, v.max = w.order[0], w.order[len(w.order)-1]
		w.describe(&v, out)
	}
}

// viewTail takes the samples inside the span when older ones are still held.
// It returns their values by size, in room.
func (w *Window) viewTail(v *view, room order) order {
	live := w.samples.live()
	live = live[from(live, v.start+1):]
	room = fill(room, live)
	v.sums = sumsOf(live)
	v.count = len(live)
	if len(live) > 0 {
		v.min, v.max = room[0], room[len(room)-1]
	}
	return room
}

// viewBuckets takes the whole buckets that reach into the span.
// It returns their means by size, in room.
func (w *Window) viewBuckets(v *view, room order) order {
	b := &w.buckets
	t := b.total(v.start)
	v.bucketed = true
	v.sums = t.sums
	v.count = int(t.n)
	v.min, v.max = t.min, t.max
	for i := t.skipped; i < len(b.list); i++ {
		room = append(room, b.list[i].mean())
	}
	slices.Sort(room)
	v.start = floorDiv(v.start+1, b.width)*b.width - 1
	return room
}

func (w *Window) describe(v *view, out *Vector) {
	out.WindowStart, out.WindowEnd = v.start, v.end
	out.Newest = w.samples.newest()
	out.Count = uint32(v.count)
	out.Bucketed = v.bucketed
	out.Step = float64(v.step) / 1e6
	out.Scale = v.scale
	compute(v, out)
}
