package scorer

import "math"

const (
	fastClip  = 5.0
	fastFloor = .005 // of the running range
)

// fastChannel is a plain z-score against the slow mean, the only channel that
// sees the extreme of a hop. It needs no reservoir and is right from the first
// rows on. (The mixture's residual in its place is worse: where a forecaster is
// nearly exact, every small departure is many deviations.)
//
// On bursty metrics large z are common; like a ranked channel's tail, what lies
// beyond the .02 quantile of a Pareto is divided by how far it usually goes.
type fastChannel struct {
	center ewma
	spread ewma
	beyond excess
}

// score judges the extreme by the values before it, 2 ln(1+z), the tail a Pareto
// of shape .5 would give, and learns x.
func (f *fastChannel) score(extreme, x, rangeWidth float64) float64 {
	spread := f.spread.mean + float64(fastFloor*rangeWidth)
	z := 0.0
	if d := abs(extreme - f.center.mean); d > 0 && spread > 0 {
		z = d / spread
	}
	d := abs(x - f.center.mean)
	if f.spread.n > youngForecast {
		d = min(d, fastClip*max(f.spread.mean, fastFloor*rangeWidth))
	}
	f.spread.add(d, .005)
	f.center.add(x, .01)
	t := 2 * math.Log1p(z)
	if t <= ln25 {
		return t
	}
	return ln25 + f.beyond.score(t-ln25)
}

func (f *fastChannel) code(c *coder) {
	f.center.code(c)
	f.spread.code(c)
	f.beyond.code(c)
}
