package scorer

import "math"

const (
	bandRate    = .08
	bandMiss    = .005 // per side: a 99 % band
	bandLogMost = 6.0
)

// band is an adaptive prediction interval (after Gibbs, Candès: "Adaptive
// Conformal Inference", 2021): each side's half-width is exp(q) usual errors,
// and q moves up when the side was exceeded and a little down when not, which
// makes the long-run coverage nominal whatever the distribution.
type band struct {
	upper, lower float64 // q per side
	usual        ewma    // absolute error
}

func newBand() band { return band{upper: math.Log(3), lower: math.Log(3)} }

// bounds returns the distances of the band's edges from the forecast.
func (b *band) bounds() (below, above float64) {
	return math.Exp(b.lower) * b.usual.mean, math.Exp(b.upper) * b.usual.mean
}

func (b *band) learn(residual float64) {
	below, above := b.bounds()
	b.upper = step(b.upper, residual > above)
	b.lower = step(b.lower, -residual > below)
	b.usual.add(abs(residual), errorRate)
}

func step(q float64, exceeded bool) float64 {
	if exceeded {
		q += bandRate * (1 - bandMiss)
	} else {
		q -= bandRate * bandMiss
	}
	return min(max(q, -bandLogMost), bandLogMost)
}

func (b *band) code(c *coder) {
	c.float(&b.upper)
	c.float(&b.lower)
	b.usual.code(c)
}
