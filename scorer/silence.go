package scorer

import "math"

// gapSteps is how many sampling steps may lie between two values before some are missing.
const gapSteps = 3.0

// Silence renders the verdict for a metric whose last value came at lastTS and
// that has said nothing up to ts (both unix microseconds of the same clock).
// That it is silent is the caller's judgement, who knows when values usually
// arrive; here it is graded. The model does not change: whether and how often a
// silent metric is looked at leaves no trace in later scores. Before the metric
// may raise alarms the verdict only bears the label.
//
// The score is 2 ln(steps missed), the tail of a Pareto of shape .5 like every
// other score: 2.2 at three steps, 4.6 at ten, 9.2 at a hundred.
func (m *Model) Silence(ts, lastTS int64, v *Verdict) {
	dt := m.lastStep
	*v = Verdict{Value: m.lastValue, Expected: m.lastValue, Lower: m.lastValue, Upper: m.lastValue}
	m.describeWarmUp(dt, v)
	gap := float64(ts-lastTS) / 1e6
	v.Step, v.Gap = dt, gap
	if m.rows == 0 || gap <= 0 {
		return
	}
	v.Label, v.Onset = Missingness, lastTS
	if int(min(m.rows, trustedRows)) < alarmRows(dt) {
		return
	}
	v.RawScore = 2 * math.Log(max(gap/dt, 1))
	v.RawAlarm = v.RawScore
	v.Score, v.Alarm = published(v.RawScore, scoreRate), published(v.RawAlarm, alarmRate)
	v.Severity = max(Warning, SeverityOf(v.RawAlarm, AlarmThreshold(dt)))
}
