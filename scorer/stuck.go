package scorer

const (
	runMemory  = 64 // completed runs remembered
	runsLeast  = 16 // completed runs before a long one means anything
	runsOwn    = 24 // of one value before it is compared with them alone
	stuckLeast = 8
	runCap     = 1 << 20
)

// runs counts equal values in a row and remembers how long such runs usually
// last: a sensor that reports whole degrees repeats itself without being stuck.
type runs struct {
	value  float64
	length uint32
	past   [runMemory]uint32
	values [runMemory]float32 // of which value the past runs were
	n      uint32
	head   uint32
	most   uint32 // longest of past
}

// add tells whether x ends a run that counted as stuck.
func (r *runs) add(x float64) (released bool) {
	if r.length > 0 && x == r.value {
		r.length = min(r.length+1, runCap)
		return false
	}
	if r.length > 0 {
		released = r.stuck()
		gone := r.past[r.head]
		r.past[r.head], r.values[r.head] = r.length, float32(r.value)
		r.head = (r.head + 1) % runMemory
		r.n = min(r.n+1, runMemory)
		r.remember(gone)
	}
	r.value, r.length = x, 1
	return released
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
// longest recent run (64 runs: their 99 % quantile is their maximum) plus 3. A
// value that many of them had is compared with its own: a switch rests long in
// one position and shortly in the other.
func (r *runs) limit() int {
	most := r.most
	if r.length >= stuckLeast {
		if own, n := r.own(); n >= runsOwn {
			most = own
		}
	}
	return max(stuckLeast, int(3*most+3))
}

// own is the longest past run of the present value, and how many there were.
func (r *runs) own() (most uint32, n int) {
	for i, v := range r.values[:r.n] {
		if v == float32(r.value) {
			most = max(most, r.past[i])
			n++
		}
	}
	return most, n
}

func (r *runs) stuck() bool { return r.n >= runsLeast && int(r.length) >= r.limit() }

func (r *runs) code(c *coder) {
	c.float(&r.value)
	c.count(&r.length, runCap)
	c.count(&r.n, runMemory)
	c.count(&r.head, runMemory-1)
	c.count(&r.most, runCap)
	for i := range r.past[:r.n] {
		c.count(&r.past[i], runCap)
		c.float32(&r.values[i])
	}
}
