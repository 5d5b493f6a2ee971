package scorer

import (
	"math"

	"github.com/edgepulse/edgepulse/schemas/zones"
	"github.com/edgepulse/edgepulse/scorer/internal/splitmix"
)

const (
	forecastRows = 12
	meanRows     = 100
	seasonRows   = 24
	rangeRows    = 12
	linearRows   = 3
	historyRows  = 128 // values kept: the longest window and the labels' past
)

// magnitudeCap is the largest |value| that takes part: squares of it stay
// finite, in float32 as well as with five of them multiplied out in float64.
const magnitudeCap = 1e18

// labelFloor, of the running range, keeps the deviations of an event on a flat
// metric from being infinite.
const labelFloor = .002

// defaultStep serves the first two rows of a metric whose step nobody knows.
const defaultStep = 60.0

// Model is all that is remembered of one metric. It is a pure fold: equal
// sequences of observations give equal verdicts and equal bytes.
type Model struct {
	rng    splitmix.Source
	rows   uint64
	anchor float64
	first  int64 // timestamp of the first row
	last   int64
	step   stepEstimate
	span   span

	mix       mixture
	values    ring
	residuals ring
	seasonals ring
	linears   ring

	calibration [rankedCount]calibrator
	fast        fastChannel
	pattern     patternChannel
	gate        alarmGate
	band        band
	event       event
	echo        echo
	runs        runs

	lastStep  float64
	lastValue float64

	// Scratch of the row under way; not state.
	row    row
	scores [channelCount]float64
	past   []float64
}

// NewModel returns an empty model; seed derives from the metric's id.
func NewModel(seed uint64) *Model {
	m := &Model{}
	m.reset(seed)
	return m
}

func (m *Model) reset(seed uint64) {
	*m = Model{rng: splitmix.Source{State: seed}}
	m.values.v = make([]float32, historyRows)
	m.residuals.v = make([]float32, forecastRows)
	m.seasonals.v = make([]float32, seasonRows)
	m.linears.v = make([]float32, linearRows)
	m.mix.ar = newAutoregression()
	m.band = newBand()
	m.pattern.reset(splitmix.Mix(seed))
	for i := range m.calibration {
		m.calibration[i].sorted = make([]float32, 0, reservoirSize)
	}
}

// Move lets the metric's days be those of a zone, nil = UTC.
func (m *Model) Move(zone *zones.Zone) { m.mix.season.move(zone, m.last) }

// Rows is the number of observations seen.
func (m *Model) Rows() uint64 { return m.rows }

// Observe judges one observation by the past alone, then learns it. A value that
// is not finite is no observation: the verdict is empty and nothing is learned.
func (m *Model) Observe(o Observation, v *Verdict) {
	if !finite(o.Value) {
		*v = Verdict{Value: m.lastValue, Expected: m.lastValue, Lower: m.lastValue, Upper: m.lastValue}
		m.describeWarmUp(m.lastStep, v)
		return
	}
	*v = Verdict{Value: o.Value}
	r := &m.row
	m.begin(&o, r)
	m.judge(r, v)
	m.describe(r, v)
	m.learn(r)
	r.features = nil
	m.describeWarmUp(r.dt, v)
}

// begin anchors the row and makes the forecasts.
func (m *Model) begin(o *Observation, r *row) {
	if m.rows == 0 {
		m.anchor, m.first, m.last = clampMagnitude(o.Value), o.TS, o.TS
	}
	r.ts, r.features = o.TS, o.Features
	r.dt = m.stepFor(o)
	r.shift = o.shift()
	r.x = clampMagnitude(o.Value) - m.anchor
	r.extreme = r.x
	if finite(o.Extreme) {
		r.extreme = clampMagnitude(o.Extreme) - m.anchor
	}
	r.expected = m.mix.expect(r.ts, r.dt)
	r.residual = r.x - r.expected
	r.seasonal = r.x - m.mix.forecast[timeOfDay]
	r.linear = r.x - m.mix.forecast[linear]
	m.span.add(r.x)
	m.values.add(r.x)
}

// stepFor is the given step, or the one learned from the rows before this one.
func (m *Model) stepFor(o *Observation) float64 {
	if o.Step > 0 && finite(o.Step) {
		return min(max(o.Step, 1e-6), 1e9)
	}
	learned := m.step.value
	m.step.add(o.TS - m.last)
	if learned > 0 {
		return min(max(learned, 1e-6), 1e9)
	}
	return defaultStep
}

func (m *Model) judge(r *row, v *Verdict) {
	for i := range ranked {
		m.scores[i] = ranked[i].weight * m.calibration[i].score(ranked[i].value(m, r), &m.rng)
	}
	m.scores[fastIndex] = m.fast.score(r.extreme, r.x, m.span.width())
	m.scores[patternIndex] = m.pattern.score(r, m.anchor)
	below, above := m.band.bounds()
	v.Expected = r.expected + m.anchor
	v.Lower, v.Upper = v.Expected-below, v.Expected+above
	if m.rows < silentRows {
		return
	}
	s := combine(&m.scores, float64(r.ts-m.first)/1e6)
	v.RawScore, v.Score = s, published(s, scoreRate)
	allowed := int(min(m.rows, trustedRows)) >= alarmRows(r.dt)
	restless := m.gate.restless
	v.RawAlarm = m.gate.pass(s, r.dt, r.shift, allowed)
	if v.RawAlarm > 0 {
		v.Severity = SeverityOf(v.RawAlarm, AlarmThreshold(r.dt)-relief(restless, m.rows))
	}
	v.Alarm = publishedAlarm(v.RawAlarm, s)
	v.contribute(&m.scores)
}

// describe names the row: labels, run, gap, severity.
func (m *Model) describe(r *row, v *Verdict) {
	released := m.runs.add(r.x)
	v.Run, v.RunLimit = int(m.runs.length), m.runs.limit()
	v.Step, v.Gap = r.dt, float64(r.ts-m.last)/1e6
	v.Ratio = abs(r.residual) / max(m.band.usual.mean, float64(1e-6*m.span.width()), 1e-30)
	v.Seasonal = m.mix.slotHit
	if m.event.follow(v.RawScore, r.ts) {
		m.lookBack(r)
		if v.RawScore >= eventOpens && m.event.dwarfed(m.past, int(m.event.rows)-1) {
			m.event.begin(r.ts)
			m.lookBack(r)
		}
		v.Label, v.SubLabel = m.event.judge(m.past)
		v.Onset = m.event.onset
	}
	gap := m.rows >= silentRows && v.Gap > gapSteps*r.dt
	m.echo.follow(gap, released)
	if m.event.open && m.echo.rows > 0 && m.event.dwarfed(m.past, m.echo.since()) {
		m.echo = echo{}
	}
	switch {
	case gap:
		v.Label, v.SubLabel, v.Onset = Missingness, NoSubLabel, m.last
		v.Severity = max(v.Severity, Warning)
	case m.runs.stuck():
		v.Label, v.SubLabel = Stuck, NoSubLabel
		v.Onset = r.ts - int64(float64(v.Run-1)*r.dt*1e6)
		v.Severity = max(v.Severity, Warning)
	case m.event.open && m.echo.rows > 0:
		v.Label, v.SubLabel = Label(m.echo.label), NoSubLabel
	case m.event.open:
		v.Revised, v.Severity = m.event.publish(v.Label, v.Severity)
	}
}

// lookBack lays the rows of the event and those before it out for its judgement.
func (m *Model) lookBack(r *row) {
	if m.event.rows == 1 {
		m.event.seasonal = m.mix.seen(r.ts, r.dt, eventPast)
	}
	n := min(int(m.values.n), int(m.event.rows)+eventPast)
	m.past = m.past[:0]
	usual := 0.0
	for k := n - 1; k >= 0; k-- {
		if m.event.seasonal {
			if u, hit := m.mix.season.at(r.ts - int64(float64(float64(k)*r.dt)*1e6)); hit {
				usual = u
			}
		}
		m.past = append(m.past, m.values.back(k)-usual)
	}
	if m.event.rows == 1 {
		m.event.compare(m.past[:n-1], float64(labelFloor*m.span.width()))
	}
}

func (m *Model) learn(r *row) {
	m.band.learn(r.residual)
	m.mix.learn(r.ts, r.x, float64(.001*m.span.width()))
	m.last, m.lastStep, m.lastValue = r.ts, r.dt, r.x+m.anchor
	m.rows++
}

func (m *Model) describeWarmUp(dt float64, v *Verdict) {
	if dt <= 0 {
		dt = defaultStep
	}
	v.WarmUp = warmUp(int(min(m.rows, trustedRows)), dt)
}

func finite(v float64) bool { return v-v == 0 }

func clampMagnitude(v float64) float64 {
	return math.Min(math.Max(v, -magnitudeCap), magnitudeCap)
}
