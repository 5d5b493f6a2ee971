package scorer

const (
	restlessRate  = .001
	restlessFrom  = 4.0
	restlessMost  = 6.0
	suppressRows  = 100
	suppressLeast = 6
)

// alarmGate turns the continuous score into one worth waking somebody for: a
// metric that is restless all the time is discounted, and within a window only a
// row above every earlier emission is emitted.
type alarmGate struct {
	restless float64 // P, running mean of the excess score
	emitted  float64 // last emission, the largest of the window by construction
	age      uint32  // rows since, saturating just outside every window
}

// pass returns the raw alarm of a row with score s, 0 when suppressed.
func (g *alarmGate) pass(s, dt float64, allowed bool) float64 {
	a := s / (1 + g.restless)
	g.restless += float64(restlessRate * (min(max(s-restlessFrom, 0), restlessMost) - g.restless))
	if g.age <= suppressRows {
		g.age++
	}
	if !allowed || int(g.age) <= window(suppressRows, suppressLeast, dt) && a <= g.emitted {
		return 0
	}
	g.emitted, g.age = a, 0
	return a
}

func (g *alarmGate) code(c *coder) {
	c.float(&g.restless)
	c.float(&g.emitted)
	c.count(&g.age, suppressRows+1)
}
