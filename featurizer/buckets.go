package featurizer

import "slices"

// bucket aggregates the points of one sub-bucket.
type bucket struct {
	id       int64   // floor(ts / width)
	n        uint32  // points
	anchor   float64 // its first value
	off      float64 // mean - anchor
	m2       float64 // sum of squared deviations from the mean
	min, max float64
}

// mean is the bucket's mean value.
func (b *bucket) mean() float64 { return b.anchor + b.off }

// add is Welford's update (Technometrics 1962) on value - anchor: the
// anchor is exact, so a large common offset costs no digits.
func (b *bucket) add(value float64) {
	d := value - b.anchor
	b.n++
	before := d - b.off
	b.off += before / float64(b.n)
	b.m2 += float64(before * (d - b.off))
	b.min = min(b.min, value)
	b.max = max(b.max, value)
}

// buckets holds the non-empty sub-buckets of a fast metric in order of time.
type buckets struct {
	span  int64 // the window's span that width was derived from; 0: not in use
	width int64 // microseconds
	list  []bucket
}

func (b *buckets) on() bool { return b.span != 0 }

// start empties the buckets and sets their width to span/count, rounded up.
func (b *buckets) start(span int64, count int) {
	list := b.list[:0]
	if list == nil {
		list = make([]bucket, 0, count+2)
	}
	*b = buckets{span: span, width: (span + int64(count) - 1) / int64(count), list: list}
}

// add puts a point into its bucket and reports whether it opened the newest one.
func (b *buckets) add(ts int64, value float64) (opened bool) {
	id := floorDiv(ts, b.width)
	i := len(b.list)
	for i > 0 && b.list[i-1].id >= id { // nearly always the last bucket
		i--
	}
	if i < len(b.list) && b.list[i].id == id {
		b.list[i].add(value)
		return false
	}
	b.list = slices.Insert(b.list, i, bucket{id: id, n: 1, anchor: value, min: value, max: value})
	return i == len(b.list)-1
}

// evict drops buckets that end at or before from.
func (b *buckets) evict(from int64) {
	k := 0
	for k < len(b.list) && b.end(k) <= from {
		k++
	}
	if k > 0 {
		b.list = b.list[:copy(b.list, b.list[k:])]
	}
}

// end is the last instant (inclusive) of bucket i.
func (b *buckets) end(i int) int64 { return (b.list[i].id+1)*b.width - 1 }

// centre is the middle of bucket i.
func (b *buckets) centre(i int) int64 { return b.list[i].id*b.width + b.width/2 }

// total is what the buckets say together.
type total struct {
	sums
	min, max float64
	skipped  int // buckets left out
}

// total combines the buckets that end after from, with their common mean as the
// anchor (Chan, Golub, LeVeque 1983).
func (b *buckets) total(from int64) total {
	t := total{}
	for t.skipped < len(b.list) && b.end(t.skipped) <= from {
		t.skipped++
	}
	list := b.list[t.skipped:]
	if len(list) == 0 {
		return t
	}
	base, shift, n := list[0].anchor, 0.0, 0.0
	for i := range list {
		w := float64(list[i].n)
		n += w
		shift += float64(w * ((list[i].anchor - base) + list[i].off))
	}
	t.anchor = base + shift/n
	t.n = n
	t.origin = b.centre(t.skipped + len(list)/2)
	t.min, t.max = list[0].min, list[0].max
	for i := range list {
		c := &list[i]
		w := float64(c.n)
		d := (c.anchor - t.anchor) + c.off
		u := float64(b.centre(t.skipped+i) - t.origin)
		t.sx += float64(w * d)
		t.sxx += c.m2 + float64(w*float64(d*d))
		t.st += float64(w * u)
		t.stt += float64(w * float64(u*u))
		t.stx += float64(w * float64(u*d))
		t.min = min(t.min, c.min)
		t.max = max(t.max, c.max)
	}
	return t
}

// floorDiv is a/b rounded towards minus infinity, b > 0.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
