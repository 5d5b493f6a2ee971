package scorer

const (
	runMemory  = 64 // completed runs remembered
	runsLeast  = 16 // completed runs before a long one means anything
	stuckLeast = 8
	runCap     = 1 << 20
)

// runs counts equal values in a row and remembers how long such runs usually
// last: a sensor that reports whole degrees repeats itself without being stuck.
type runs struct {
	value  float64
	length uint32
	past   [runMemory]uint32
	n      uint32
	head   uint32
	most   uint32 // longest of past
}

func (r *runs) add(x float64) {
	if r.length > 0 && x == r.value {
		r.length = min(r.length+1, runCap)
		return
	}
	if r.length > 0 {
		gone := r.past[r.head]
		r.past[r.head] = r.length
		r.head = (r.head + 1) % runMemory
		r.n = min(r.n+1, runMemory)
		r.remember(gone)
	}
	r.value, r.length = x, 1
}

// remember keeps the maximum; it is recomputed only when the longest run leaves.
func (r *runs) remember(gone uint32) {
	r.most = max(r.most, r.length)
	if gone < r.most {
		return
	}
	r.most = 0
	for _, n := range r.past[:r.n] {
		r.most = max(r.most, n)
	}
}

// limit is the run length from which the metric counts as stuck: three times the
// longest recent run (64 runs: their 99 % quantile is their maximum) plus 3.
func (r *runs) limit() int { return max(stuckLeast, int(3*r.most+3)) }

func (r *runs) stuck() bool { return r.n >= runsLeast && int(r.length) >= r.limit() }

func (r *runs) code(c *coder) {
	c.float(&r.value)
	c.count(&r.length, runCap)
	c.count(&r.n, runMemory)
	c.count(&r.head, runMemory-1)
	c.count(&r.most, runCap)
	for i := range r.past[:r.n] {
		c.count(&r.past[i], runCap)
	}
}
