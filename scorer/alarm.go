package scorer

import "math"

const (
	restlessRate  = .001
	restlessFrom  = 4.0
	restlessMost  = 6.0
	suppressRows  = 200
	suppressLeast = 6
	restlessUsual = .05 // P of a metric that needs the whole threshold
	reliefMost    = 1.5
	emitLeast     = 4.0 // less is not worth emitting, unless a severity begins below
	suppressed    = .5  // factor on the published alarm of a row not emitted
)

// alarmGate turns the continuous score into one worth waking somebody for: a
// metric that is restless all the time is discounted, and within a window only a
// row above every earlier emission is emitted.
type alarmGate struct {
	restless float64 // P, running mean of the excess score
	emitted  float64 // last emission, the largest of the window by construction
	age      uint32  // rows since, saturating just outside every window
}

// pass returns the raw alarm of a row with score s, 0 when it is not emitted.
// shift is that of the metric's sensitivity.
func (g *alarmGate) pass(s, dt, shift float64, allowed bool) float64 {
	a := s/(1+g.restless) + shift
	g.restless += float64(restlessRate * (min(max(s-restlessFrom, 0), restlessMost) - g.restless))
	if g.age <= suppressRows {
		g.age++
	}
	quiet := int(g.age) > window(suppressRows, suppressLeast, dt)
	if !allowed || a < min(emitLeast, AlarmThreshold(dt)-infoBelow) || !quiet && a <= g.emitted {
		return 0
	}
	g.emitted, g.age = a, 0
	return a
}

// publishedAlarm maps an emission to [0,1). A row that is not emitted keeps half
// its score: at most .5, far below the threshold of any severity (.97), yet
// ordered, for whoever wants to see how close a quiet row came.
func publishedAlarm(emission, s float64) float64 {
	if emission > 0 {
		return published(emission, alarmRate)
	}
	return suppressed * published(s, alarmRate)
}

// relief is by how much the threshold of a calm metric is lowered. Scores above 4
// fall off about exponentially with unit mean, so a metric whose mean excess is a
// tenth of the usual one reaches any threshold a tenth as often: ln 10 less gives
// it the false alarms of the others. While it is young, the usual excess stands
// for what has not been seen yet.
func relief(restless float64, rows uint64) float64 {
	p := restless + float64(restlessUsual*math.Exp(-restlessRate*float64(rows)))
	return min(max(math.Log(restlessUsual/p), 0), reliefMost)
}

func (g *alarmGate) code(c *coder) {
	c.float(&g.restless)
	c.float(&g.emitted)
	c.count(&g.age, suppressRows+1)
}
