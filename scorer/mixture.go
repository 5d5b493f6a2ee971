package scorer

import "math"

const (
	errorRate   = .005
	errorWinsor = 6.0
	// youngForecast is how many errors a forecaster must have made before it is
	// given a vote of its own.
	youngForecast = 12
)

// The forecasters of the mixture, in the order of their state.
const (
	lastValue = iota
	fastMean
	slowMean
	timeOfDay
	timeOfDayNow // time of day, moved by how today differs from it
	linear       // autoregression
	forecasterCount
)

// mixture is an online mixture of forecasters: each one's vote is the inverse
// fourth power of its own usual error, so that the best of them leads within a
// few dozen rows and a metric needs no class of its own.
type mixture struct {
	last   float64
	fast   ewma
	slow   ewma
	today  ewma // residual against the time of day
	season season
	ar     autoregression
	err    [forecasterCount]ewma

	// Of the row under way; not state.
	forecast [forecasterCount]float64
	usable   [forecasterCount]bool
	slotHit  bool
}

// expect prepares all forecasts for the row at ts and returns the mixture's.
func (m *mixture) expect(ts int64, dt float64) float64 {
	m.season.fit(dt)
	f := &m.forecast
	f[lastValue], f[fastMean], f[slowMean] = m.last, m.fast.mean, m.slow.mean
	usual, hit := m.season.at(ts)
	m.slotHit = hit
	if !hit {
		usual = m.slow.mean
	}
	f[timeOfDay], f[timeOfDayNow] = usual, usual+m.today.mean
	f[linear] = m.slow.mean + m.ar.predict()
	m.usable = [forecasterCount]bool{true, true, true, hit, hit, true}
	return m.vote()
}

// seen says that the time of day of the last n rows has been visited before.
func (m *mixture) seen(ts int64, dt float64, n int) bool {
	for k := range n + 1 {
		if _, hit := m.season.at(ts - int64(float64(float64(k)*dt)*1e6)); !hit {
			return false
		}
	}
	return true
}

func (m *mixture) vote() float64 {
	best := m.bestError()
	sum, weight := 0.0, 0.0
	for i, f := range m.forecast {
		if !m.usable[i] || m.err[i].n < youngForecast {
			continue
		}
		w := 1.0
		if m.err[i].mean > best {
			w = best / m.err[i].mean
			w *= w
			w *= w
		}
		sum += float64(w * f)
		weight += w
	}
	if weight == 0 {
		return m.last
	}
	return sum / weight
}

// bestError is the usual error of the best forecaster of age, the mixture's unit.
func (m *mixture) bestError() float64 {
	best := math.Inf(1)
	for i := range m.err {
		if m.err[i].n >= youngForecast {
			best = min(best, m.err[i].mean)
		}
	}
	if math.IsInf(best, 1) {
		return m.err[lastValue].mean
	}
	return best
}

// learn shows x to every forecaster; least is the smallest error worth telling
// apart from none.
func (m *mixture) learn(ts int64, x, least float64) {
	for i, f := range m.forecast {
		if !m.usable[i] {
			continue
		}
		e := abs(x - f)
		if m.err[i].n >= youngForecast {
			e = min(e, errorWinsor*max(m.err[i].mean, least))
		}
		m.err[i].add(max(e, 1e-12*least), errorRate)
	}
	scale := max(m.bestError(), least)
	if m.slotHit {
		m.today.add(x-m.forecast[timeOfDay], .1)
	}
	m.ar.learn(x-m.slow.mean, m.forecast[linear]-m.slow.mean)
	m.season.add(ts, x, scale)
	m.last = x
	m.fast.add(x, .1)
	m.slow.add(x, .01)
}

func (m *mixture) code(c *coder) {
	c.float(&m.last)
	m.fast.code(c)
	m.slow.code(c)
	m.today.code(c)
	m.season.code(c)
	m.ar.code(c)
	for i := range m.err {
		m.err[i].code(c)
	}
}

func abs(v float64) float64  { return math.Abs(v) }
func sqrt(v float64) float64 { return math.Sqrt(v) }
