package scorer

// ewma is an exponentially weighted mean that starts as the plain mean: its rate
// is max(rate, 1/(n+1)), so that the first values count equally and none of them
// as the whole past.
type ewma struct {
	mean float64
	n    uint32 // saturates once 1/(n+1) is below every rate in use
}

const ewmaCountCap = 4096

func (e *ewma) add(v, rate float64) {
	if e.n < ewmaCountCap {
		e.n++
	}
	e.mean += float64(max(rate, 1/float64(e.n)) * (v - e.mean))
}

func (e *ewma) code(c *coder) {
	c.float(&e.mean)
	c.count(&e.n, ewmaCountCap)
}

// span is the running range of everything seen, unclipped on purpose: a metric
// that once moved by a thousand is not alarmed by a tenth.
type span struct {
	lo, hi float64
	any    bool
}

func (s *span) add(v float64) {
	if !s.any {
		s.lo, s.hi, s.any = v, v, true
		return
	}
	s.lo, s.hi = min(s.lo, v), max(s.hi, v)
}

func (s *span) width() float64 { return s.hi - s.lo }

func (s *span) code(c *coder) {
	c.float(&s.lo)
	c.float(&s.hi)
	c.flag(&s.any)
}
