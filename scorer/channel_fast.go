package scorer

import "math"

const (
	fastClip  = 5.0
	fastFloor = .005 // of the running range
)

// fastChannel is a plain z-score of the residual, the only channel that sees the
// extreme of a hop. It needs no reservoir and is right from the first rows on.
type fastChannel struct {
	center ewma
	spread ewma
}

// score judges the residual against those before it and learns it: 2 ln(1+z),
// the tail a Pareto of shape .5 would give.
func (f *fastChannel) score(extreme, residual, rangeWidth float64) float64 {
	spread := f.spread.mean + float64(fastFloor*rangeWidth)
	z := 0.0
	if d := abs(extreme - f.center.mean); d > 0 && spread > 0 {
		z = d / spread
	}
	d := abs(residual - f.center.mean)
	if f.spread.n > youngForecast {
		d = min(d, fastClip*max(f.spread.mean, fastFloor*rangeWidth))
	}
	f.spread.add(d, .005)
	f.center.add(residual, .01)
	return 2 * math.Log1p(z)
}

func (f *fastChannel) code(c *coder) {
	f.center.code(c)
	f.spread.code(c)
}
