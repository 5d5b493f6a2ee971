package scorer

import "slices"

const stepMemory = 31

// stepEstimate is the running median of the last positive differences between
// timestamps: a gap or a burst does not move it.
type stepEstimate struct {
	diff  [stepMemory]int64 // microseconds
	n     uint32
	head  uint32
	value float64 // seconds; 0 while unknown
}

func (s *stepEstimate) add(diff int64) {
	if diff <= 0 {
		return
	}
	s.diff[s.head] = diff
	s.head = (s.head + 1) % stepMemory
	s.n = min(s.n+1, stepMemory)
	if diff == int64(s.value*1e6) {
		return // on a regular grid the median has nothing to learn
	}
	sorted := s.diff
	slices.Sort(sorted[:s.n])
	s.value = float64(sorted[(s.n-1)/2]) / 1e6
}

func (s *stepEstimate) code(c *coder) {
	c.count(&s.n, stepMemory)
	c.count(&s.head, stepMemory-1)
	for i := range s.diff[:s.n] {
		u := uint64(s.diff[i])
		c.uvarint(&u)
		s.diff[i] = int64(u)
	}
	c.float(&s.value)
}
