package scorer

import "math"

// Observation is one evaluation of one metric.
type Observation struct {
	TS       int64     // evaluation instant, unix microseconds (event time)
	Value    float64   // the point's value for slow metrics, the hop's mean for fast ones (slow channels)
	Extreme  float64   // the hop's value farthest from expected (fast channel); equals Value for slow metrics
	Step     float64   // sampling step of the evaluations in seconds; 0: the model learns it from TS
	Features []float64 // FeatureCount rolling features in the order of FeatureNames, or nil: no forest channel
	// Sensitivity is about how many times as many alarms are wanted; 0 = 1.
	Sensitivity float64
}

// shift is what the sensitivity adds to a raw alarm: scores in the tail fall off
// about exponentially with unit mean, so ln k more reaches any threshold k times
// as often. What is learned of the metric does not depend on it.
func (o *Observation) shift() float64 {
	if o.Sensitivity > 0 && o.Sensitivity != 1 {
		return math.Log(o.Sensitivity)
	}
	return 0
}

// Verdict is what one observation is worth. Bounds are in the metric's own unit.
type Verdict struct {
	Score    float64 // [0,1], 1-exp(-.8 RawScore): continuous, nothing suppressed
	Alarm    float64 // [0,1], 1-exp(-.95 RawAlarm): rate-limited, 0 between emissions
	RawScore float64 // S, about the log-odds of the row against the metric's own past
	RawAlarm float64 // a, S under the restlessness penalty, shifted by the sensitivity

	Value    float64 // the observation's value, so that a verdict explains itself
	Expected float64 // forecast made before the value was seen
	Lower    float64 // 99 % band
	Upper    float64

	Severity Severity // of the emitted alarm; a stuck or missing metric is at least Warning
	Label    Label
	SubLabel SubLabel
	// Onset is the first row of the anomaly the label speaks of (unix
	// microseconds), 0 without one; with Revised, an earlier verdict of the same
	// onset bore another label.
	Onset   int64
	Revised bool
	WarmUp  WarmUp

	Step     float64 // sampling step used, seconds
	Gap      float64 // seconds since the previous observation
	Run      int     // equal values in a row, this one included
	RunLimit int     // run length from which the metric counts as stuck
	Ratio    float64 // |Value - Expected| in usual deviations of this metric
	Seasonal bool    // the time of day took part in Expected

	contributors [channelCount]Contribution
	present      int
}

// Contribution is one channel's share of the score.
type Contribution struct {
	Channel string
	Share   float64 // [0,1]; shares of one verdict sum to 1
}

// Contributors lists the channels that take part in the score, largest share
// first, equal shares in channel order. It aliases the verdict.
func (v *Verdict) Contributors() []Contribution { return v.contributors[:v.present] }
