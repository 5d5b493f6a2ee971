package plot

import "math"

// thin keeps of each column of pixels the smallest and the largest value, in
// their order, and of the band its mean.
func thin(pts []Point) []Point {
	if len(pts) <= 2*columns {
		return pts
	}
	first, last := seconds(pts[0].T), seconds(pts[len(pts)-1].T)
	column := func(p Point) int { return int((seconds(p.T) - first) / max(last-first, 1e-9) * columns) }
	var out []Point
	for from := 0; from < len(pts); {
		to := from
		lo, hi := from, from
		var lower, upper, n float64
		for ; to < len(pts) && column(pts[to]) == column(pts[from]); to++ {
			if pts[to].Value < pts[lo].Value {
				lo = to
			}
			if pts[to].Value > pts[hi].Value {
				hi = to
			}
			if !math.IsNaN(pts[to].Lower) && !math.IsNaN(pts[to].Upper) {
				lower, upper, n = lower+pts[to].Lower, upper+pts[to].Upper, n+1
			}
		}
		keep := []Point{pts[min(lo, hi)], pts[max(lo, hi)]}
		if lo == hi {
			keep = keep[:1]
		}
		for i := range keep {
			keep[i].Lower, keep[i].Upper = lower/n, upper/n // NaN without a band
		}
		out = append(out, keep...)
		from = to
	}
	return out
}
