package featurizer

import "math"

// sums are the weighted power sums of values and times around two anchors:
// d = value - anchor, t = ts - origin in microseconds.
type sums struct {
	n                     float64
	anchor                float64
	origin                int64
	sx, sxx, st, stt, stx float64
}

// tally adds (sign +1) or takes away (sign -1) one sample.
func (s *sums) tally(ts int64, value, sign float64) {
	d := value - s.anchor
	t := float64(ts - s.origin)
	s.n += sign
	s.sx += float64(sign * d)
	s.sxx += float64(sign * float64(d*d))
	s.st += float64(sign * t)
	s.stt += float64(sign * float64(t*t))
	s.stx += float64(sign * float64(t*d))
}

// spreadX is n² times the population variance of the values, spreadT that of
// the times, spreadTX n² times their covariance.
func (s *sums) spreadX() float64  { return float64(s.n*s.sxx) - float64(s.sx*s.sx) }
func (s *sums) spreadT() float64  { return float64(s.n*s.stt) - float64(s.st*s.st) }
func (s *sums) spreadTX() float64 { return float64(s.n*s.stx) - float64(s.st*s.sx) }

// mean returns the arithmetic mean.
func (s *sums) mean() float64 { return s.anchor + s.sx/s.n }

// std returns the population standard deviation; constant says that all values are equal.
func (s *sums) std(constant bool) float64 {
	if constant || s.n < 2 {
		return 0
	}
	return math.Sqrt(max(s.spreadX(), 0)) / s.n
}

// sumsOf computes the sums of samples with their mean as the anchor: the
// textbook two passes, with the first pass taken around the first value so that
// a large common offset costs no digits.
func sumsOf(live []sample) sums {
	if len(live) == 0 {
		return sums{}
	}
	base := live[0].value
	shift := 0.0
	for _, s := range live {
		shift += s.value - base
	}
	out := sums{anchor: base + shift/float64(len(live)), origin: live[len(live)/2].ts}
	for _, s := range live {
		out.tally(s.ts, s.value, 1)
	}
	return out
}

// moments are sums that slide. Adding and taking away leaves a rounding error
// that grows with the largest sum seen, so it is bounded instead of hoped for:
// the sums are rebuilt from the samples once as many samples entered as are
// inside, and at once when the bound (peak sum × operations × ulp, plus the
// cancellation of the anchors) exceeds 1e-10 of the result. Both conditions
// depend on the state alone. Amortised cost O(1): a rebuild resets the peak, and
// the result must shrink by orders of magnitude before the next early one.
type moments struct {
	sums
	ops          float64 // samples added or taken away since the last rebuild
	peakX, peakT float64 // largest sxx and stt since then
}

// precision is ulp / 1e-10, inverted: the largest accepted ratio of bound to result.
const precision = 1e-10 * (1 << 52)

func (m *moments) add(ts int64, value float64) {
	m.tally(ts, value, 1)
	m.ops++
	m.peakX = max(m.peakX, m.sxx)
	m.peakT = max(m.peakT, m.stt)
}

func (m *moments) remove(ts int64, value float64) {
	m.tally(ts, value, -1)
	m.ops++
}

// check rebuilds the sums if it is time to.
func (m *moments) check(live []sample, o order) {
	switch {
	case m.ops >= 2*m.n+16,
		m.imprecise(m.st, m.peakT, m.spreadT()) && len(live) > 1,
		m.imprecise(m.sx, m.peakX, m.spreadX()) && !o.constant():
		m.rebuild(live)
	}
}

func (m *moments) imprecise(sum, peak, spread float64) bool {
	bound := float64(sum*sum) + float64(float64(m.ops*m.n)*peak)
	return !(bound <= float64(precision*spread))
}

func (m *moments) rebuild(live []sample) {
	s := sumsOf(live)
	*m = moments{sums: s, peakX: s.sxx, peakT: s.stt}
}
