package featurizer

// sample is one point of the window.
type sample struct {
	ts    int64 // microseconds
	value float64
}

// samples holds points in strictly ascending order of time. It slides within
// one array: amortised O(1) at both ends, and no allocation once grown.
type samples struct {
	buf  []sample
	head int
}

func (s *samples) live() []sample { return s.buf[s.head:] }
func (s *samples) newest() int64  { return s.buf[len(s.buf)-1].ts }
func (s *samples) last() float64  { return s.buf[len(s.buf)-1].value }

// pop removes the oldest sample.
func (s *samples) pop() sample {
	out := s.buf[s.head]
	s.head++
	return out
}

// insert puts a sample at position i of live.
func (s *samples) insert(i int, ts int64, value float64) {
	if len(s.buf) == cap(s.buf) && s.head > len(s.buf)/16 {
		s.buf = s.buf[:copy(s.buf, s.buf[s.head:])]
		s.head = 0
	}
	s.buf = append(s.buf, sample{ts, value})
	if live := s.live(); i < len(live)-1 {
		copy(live[i+1:], live[i:])
		live[i] = sample{ts, value}
	}
}

// refit moves the samples to an array of their size and an eighth.
func (s *samples) refit() {
	live := s.live()
	*s = samples{buf: append(make([]sample, 0, len(live)+len(live)/8+2), live...)}
}

// search returns the position of the first sample at or after ts, and whether it is at ts.
func (s *samples) search(ts int64) (int, bool) {
	i := from(s.live(), ts)
	return i, i < len(s.live()) && s.live()[i].ts == ts
}

// from returns how many samples are before ts.
func from(live []sample, ts int64) int {
	lo, hi := 0, len(live)
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); live[mid].ts < ts {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}
