package scorer

import "math"

// window returns a channel's length in rows: n rows at a step of 300 s or less,
// fewer for slower metrics so that it covers the same time, never below least.
func window(n, least int, dt float64) int {
	return int(math.Min(math.Max(math.Round(300*float64(n)/dt), float64(least)), float64(n)))
}

// ring keeps the last len(v) values, newest at the head.
type ring struct {
	v    []float32
	head uint32 // where the next value goes
	n    uint32
}

func (r *ring) add(v float64) {
	r.v[r.head] = float32(v)
	r.head++
	if int(r.head) == len(r.v) {
		r.head = 0
	}
	if int(r.n) < len(r.v) {
		r.n++
	}
}

// back is the k-th last value, 0 being the newest; k must be below r.n.
func (r *ring) back(k int) float64 {
	i := int(r.head) - 1 - k
	if i < 0 {
		i += len(r.v)
	}
	return float64(r.v[i])
}

// mean is the mean of the last w values, or of as many as there are.
func (r *ring) mean(w int) float64 {
	a, b := r.last(w)
	sum := 0.0
	for _, v := range a {
		sum += float64(v)
	}
	for _, v := range b {
		sum += float64(v)
	}
	return sum / float64(max(len(a)+len(b), 1))
}

// width is the range of the last w values.
func (r *ring) width(w int) float64 {
	a, b := r.last(w)
	lo, hi := float32(math.Inf(1)), float32(math.Inf(-1))
	for _, v := range a {
		lo, hi = min(lo, v), max(hi, v)
	}
	for _, v := range b {
		lo, hi = min(lo, v), max(hi, v)
	}
	return float64(hi) - float64(lo)
}

// last returns the last w values as two runs, older first.
func (r *ring) last(w int) (a, b []float32) {
	w = min(w, int(r.n))
	if start := int(r.head) - w; start >= 0 {
		return r.v[start:r.head], nil
	} else {
		return r.v[len(r.v)+start:], r.v[:r.head]
	}
}

func (r *ring) code(c *coder) {
	c.count(&r.n, uint32(len(r.v)))
	c.count(&r.head, uint32(len(r.v)-1))
	// Unused places are zero in a fresh model and stay so: only full rings and
	// prefixes exist, so the first n places are all there is.
	for i := range r.v[:r.n] {
		c.float32(&r.v[i])
	}
}
