package scorer

const (
	arOrder      = 5
	arForgetting = .9995
	arClip       = 3.0 // errors teach up to this many usual errors
	arPrior      = 100.0
	arTraceLimit = 1e5
)

// autoregression predicts a row from the five before it by recursive least
// squares with forgetting (Haykin, "Adaptive Filter Theory", ch. 10). It works
// on deviations from the slow mean in units of the usual deviation: the
// coefficients do not depend on the metric's unit, the inverse correlation does.
type autoregression struct {
	weight  [arOrder]float64
	inverse [arOrder][arOrder]float64
	past    [arOrder]float64 // deviations, newest first
	err     ewma
	unit    ewma
}

func newAutoregression() autoregression {
	var a autoregression
	a.weight[0] = 1
	for i := range a.inverse {
		a.inverse[i][i] = arPrior
	}
	return a
}

// predict is the deviation expected of the next row.
func (a *autoregression) predict() float64 {
	sum := 0.0
	for i, w := range a.weight {
		sum += float64(w * a.past[i])
	}
	return sum
}

// learn takes the deviation that came and what was predicted for it.
func (a *autoregression) learn(got, predicted float64) {
	e := got - predicted
	if a.err.n > 2*arOrder {
		limit := arClip * max(a.err.mean, 1e-3*a.unit.mean)
		e = min(max(e, -limit), limit)
	}
	if a.unit.mean > 0 {
		a.update(e / a.unit.mean)
	}
	a.err.add(abs(e), errorRate)
	a.unit.add(abs(got), errorRate)
	copy(a.past[1:], a.past[:arOrder-1])
	a.past[0] = got
}

// update is the RLS step for an error in units.
func (a *autoregression) update(e float64) {
	var phi, gain [arOrder]float64
	for i, p := range a.past {
		phi[i] = p / a.unit.mean
	}
	energy, trace := arForgetting, 0.0
	for i := range gain {
		for j, p := range phi {
			gain[i] += float64(a.inverse[i][j] * p)
		}
		energy += float64(phi[i] * gain[i])
		trace += a.inverse[i][i]
	}
	// Without excitation (a constant metric) forgetting would let the inverse
	// grow for ever.
	grow := 1 / arForgetting
	if trace > arTraceLimit {
		grow = 1
	}
	for i := range gain {
		a.weight[i] += float64(gain[i] / energy * e)
		for j := i; j < arOrder; j++ {
			v := (a.inverse[i][j] - float64(gain[i]*gain[j])/energy) * grow
			a.inverse[i][j], a.inverse[j][i] = v, v
		}
	}
	a.guard()
}

// guard starts over when rounding has driven the filter out of its range; a
// coefficient of 50 predicts nothing.
func (a *autoregression) guard() {
	for i, w := range a.weight {
		if !(abs(w) < 50) || !(a.inverse[i][i] > 0) {
			fresh := newAutoregression()
			a.weight, a.inverse = fresh.weight, fresh.inverse
			return
		}
	}
}

func (a *autoregression) code(c *coder) {
	c.floats(a.weight[:])
	for i := range a.inverse {
		for j := i; j < arOrder; j++ {
			c.float(&a.inverse[i][j])
			a.inverse[j][i] = a.inverse[i][j]
		}
	}
	c.floats(a.past[:])
	a.err.code(c)
	a.unit.code(c)
}
