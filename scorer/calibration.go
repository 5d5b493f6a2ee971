package scorer

import (
	"math"
	"slices"

	"github.com/edgepulse/edgepulse/scorer/internal/splitmix"
)

const (
	reservoirSize    = 512
	reservoirHorizon = 10000 // rows over which an old value is forgotten
)

// calibrator turns a channel's value into a tail score by the channel's own
// history, separately above and below the median.
//
// The score of a distance r from the median is -ln of the tail probability,
// less ln 2: 0 at the median, ln 5 at the .1 quantile of that side, ln 25 at the
// .02 quantile, linear between, and beyond the last knot the logarithm of a
// generalised Pareto tail with shape .5. With few values the knots lean on an
// exponential tail of the interquartile range; the floor, which contains a share
// of the unclipped range, keeps a quiet past from making every step enormous.
//
// The history is a reservoir kept sorted: replacing a random rank is the same as
// replacing a random slot, and quantiles are look-ups.
type calibrator struct {
	sorted []float32 // ascending; its capacity is the reservoir's size
	seen   uint32
	span   span
	beyond [2]excess // below, above the median
}

const (
	knotA, knotB  = .1, .02 // tail probabilities of the two knots
	knotSupport   = 3.0     // values beyond a knot at which it counts half
	winsorTails   = 5.0     // the history stores values up to this many scales beyond
	winsorSlope   = .2      // the last knot in full, the rest of them at this rate
	floorIQR      = .1
	floorRange    = .02
	paretoInverse = 2.0 // 1/shape

	excessPrior  = 30.0 // rows of a unit-mean excess that a fresh tail is worth
	excessCap    = 4.0
	excessMemory = 100
	excessMost   = 3.0
)

var (
	ln5, ln25   = math.Log(.5 / knotA), math.Log(.5 / knotB)
	lnKnotRatio = ln25 - ln5
)

// tail is one side of the history: the knots and the Pareto scale beyond them.
type tail struct{ a, b, scale float64 }

// score judges v against the history before it, then adds v, winsorised, to it.
func (c *calibrator) score(v float64, rng *splitmix.Source) float64 {
	c.span.add(v)
	if len(c.sorted) == 0 {
		c.insert(v, rng)
		return 0
	}
	median := c.quantile(.5)
	iqr := c.quantile(.75) - c.quantile(.25)
	floor := float64(floorIQR*iqr) + float64(floorRange*c.span.width())
	side, r := 1.0, v-median
	if r < 0 {
		side, r = -1, -r
	}
	t := c.tail(side, median, iqr, floor)
	if limit := t.b + float64(winsorTails*t.scale); r > limit {
		c.insert(median+float64(side*(limit+float64(winsorSlope*(r-limit)))), rng)
	} else {
		c.insert(v, rng)
	}
	if r <= t.b || t.scale <= 0 {
		return t.score(r)
	}
	k := 0
	if side > 0 {
		k = 1
	}
	return ln25 + c.beyond[k].score(paretoInverse*math.Log1p((r-t.b)/(paretoInverse*t.scale)))
}

// excess corrects a tail that is heavier than shape .5: there the scores beyond
// the last knot are exponential with mean 1, so their mean says by how much the
// assumption is wrong. It only ever lowers scores.
type excess struct {
	mean float64
	n    uint32
}

func (e *excess) score(s float64) float64 {
	n := float64(e.n)
	mean := (excessPrior + float64(n*e.mean)) / (excessPrior + n)
	e.mean += (min(s, excessCap) - e.mean) / (n + 1)
	e.n = min(e.n+1, excessMemory)
	return s / min(max(mean, 1), excessMost)
}

func (c *calibrator) tail(side, median, iqr, floor float64) tail {
	a := c.knot(side, knotA, ln5, median, iqr, floor)
	b := c.knot(side, knotB, ln25, median, iqr, floor)
	a = max(a, .5*floor*ln5)
	b = max(b, a+float64(.5*floor*lnKnotRatio))
	return tail{a: a, b: b, scale: (b-a)/lnKnotRatio + floor}
}

// knot shrinks the empirical quantile towards an exponential tail, by the number
// of values the quantile rests on.
func (c *calibrator) knot(side, p, lnInverse, median, iqr, floor float64) float64 {
	q := c.quantile(p) - median
	if side > 0 {
		q = c.quantile(1-p) - median
	}
	support := float64(float64(len(c.sorted)) * p)
	g := support / (support + knotSupport)
	return float64(g*math.Abs(q)) + float64((1-g)*(iqr/1.35+floor)*lnInverse)
}

// score is linear between the knots; beyond the last see calibrator.score.
func (t tail) score(r float64) float64 {
	switch {
	case t.scale <= 0 || r <= 0:
		return 0 // a constant history and the same value again
	case r <= t.a:
		return ln5 * r / t.a
	}
	return ln5 + lnKnotRatio*(r-t.a)/(t.b-t.a)
}

func (e *excess) code(c *coder) {
	c.float(&e.mean)
	c.count(&e.n, excessMemory)
}

// quantile interpolates linearly between ranks.
func (c *calibrator) quantile(p float64) float64 {
	at := float64(p * float64(len(c.sorted)-1))
	i := int(at)
	lo := float64(c.sorted[i])
	if i+1 == len(c.sorted) {
		return lo
	}
	return lo + float64((at-float64(i))*(float64(c.sorted[i+1])-lo))
}

// insert adds v while there is room, afterwards with the probability that keeps
// the reservoir a sample of the last horizon or so.
func (c *calibrator) insert(v float64, rng *splitmix.Source) {
	c.seen = min(c.seen+1, reservoirHorizon)
	x := coarse(float32(v))
	to, _ := slices.BinarySearch(c.sorted, x)
	if len(c.sorted) < cap(c.sorted) {
		c.sorted = append(c.sorted, 0)
		copy(c.sorted[to+1:], c.sorted[to:])
		c.sorted[to] = x
		return
	}
	out := rng.Intn(int(c.seen))
	switch {
	case out >= len(c.sorted):
	case out < to:
		copy(c.sorted[out:], c.sorted[out+1:to])
		c.sorted[to-1] = x
	default:
		copy(c.sorted[to+1:out+1], c.sorted[to:out])
		c.sorted[to] = x
	}
}

func (c *calibrator) code(k *coder) {
	k.count(&c.seen, reservoirHorizon)
	c.span.code(k)
	for i := range c.beyond {
		c.beyond[i].code(k)
	}
	k.sortedCoarse(&c.sorted, cap(c.sorted))
}
