package featurizer

import (
	"math"
	"math/big"
	"slices"
)

// naive is the window by the book: it keeps every accepted point for ever and
// computes from all of them each time, in 300-bit arithmetic.
type naive struct {
	width  int64
	all    map[int64]float64
	order  []int64 // accepted timestamps in order of arrival
	diffs  []int64
	newest int64
	gone   int64 // newest accepted timestamp that a span ever left behind
}

func newNaive(width int64) *naive {
	return &naive{width: width, all: map[int64]float64{}, newest: math.MinInt64, gone: math.MinInt64}
}

func (n *naive) step() int64 {
	d := slices.Clone(n.diffs[max(0, len(n.diffs)-31):])
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[(len(d)-1)/2]
}

func (n *naive) span() int64 { return max(n.width, 12*n.step()) }

func (n *naive) add(ts int64, v float64) AddResult {
	result := Entered
	switch {
	case n.newest == math.MinInt64:
	case ts > n.newest:
		n.diffs = append(n.diffs, ts-n.newest)
	default:
		if ts <= n.newest-n.span() || ts <= n.gone {
			return TooOld
		}
		if old, ok := n.all[ts]; ok {
			if old == v {
				return Duplicate
			}
			return Conflict
		}
		result = Late
	}
	n.newest = max(n.newest, ts)
	n.all[ts] = v
	n.order = append(n.order, ts)
	for ts := range n.all {
		if ts <= n.newest-n.span() && ts > n.gone {
			n.gone = ts
		}
	}
	return result
}

// inside returns the points in (from, to], by time.
func (n *naive) inside(from, to int64) (ts []int64, vs []float64) {
	for t := range n.all {
		if t > from && t <= to {
			ts = append(ts, t)
		}
	}
	slices.Sort(ts)
	for _, t := range ts {
		vs = append(vs, n.all[t])
	}
	return ts, vs
}

// run is the trailing run of equal values over everything accepted.
func (n *naive) run() int {
	_, vs := n.inside(math.MinInt64, math.MaxInt64)
	k := 1
	for k < len(vs) && vs[len(vs)-1-k] == vs[len(vs)-1] {
		k++
	}
	return k
}

func bf(x float64) *big.Float { return new(big.Float).SetPrec(300).SetFloat64(x) }

func sum(vs []float64) *big.Float {
	s := bf(0)
	for _, v := range vs {
		s.Add(s, bf(v))
	}
	return s
}

// meanStd are the textbook formulas.
func meanStd(vs []float64) (mean, std float64) {
	n := bf(float64(len(vs)))
	m := sum(vs)
	m.Quo(m, n)
	s := bf(0)
	for _, v := range vs {
		d := bf(v)
		d.Sub(d, m)
		s.Add(s, d.Mul(d, d))
	}
	s.Quo(s, n)
	mean, _ = m.Float64()
	std, _ = s.Sqrt(s).Float64()
	return mean, std
}

// slopeOf is cov(t, x)/var(t) per second.
func slopeOf(ts []int64, vs []float64) float64 {
	var secs []float64
	for _, t := range ts {
		secs = append(secs, float64(t-ts[0]))
	}
	n := bf(float64(len(vs)))
	mt, mx := sum(secs), sum(vs)
	mt.Quo(mt, n)
	mx.Quo(mx, n)
	num, den := bf(0), bf(0)
	for i := range vs {
		dt, dx := bf(secs[i]), bf(vs[i])
		dt.Sub(dt, mt)
		dx.Sub(dx, mx)
		dx.Mul(dx, dt)
		num.Add(num, dx)
		den.Add(den, dt.Mul(dt, dt))
	}
	if den.Sign() == 0 {
		return 0
	}
	out, _ := num.Quo(num, den).Float64()
	return out * 1e6
}

func medianOf(vs []float64) float64 {
	s := slices.Clone(vs)
	slices.Sort(s)
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}

func madOf(vs []float64) float64 {
	m := medianOf(vs)
	var d []float64
	for _, v := range vs {
		d = append(d, math.Abs(v-m))
	}
	return medianOf(d)
}
