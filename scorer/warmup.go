package scorer

import "math"

// WarmUpState says how far a model is to be believed.
type WarmUpState uint8

const (
	Warming     WarmUpState = iota // scores are 0
	Calibrating                    // scores, no alarms
	Learning                       // scores and alarms on a short history
	Trusted
)

func (s WarmUpState) String() string {
	return [...]string{"warming", "calibrating", "learning", "trusted"}[s&3]
}

// WarmUp is the state with the way left to Trusted.
type WarmUp struct {
	State         WarmUpState
	RowsRemaining int
	ETASeconds    float64
}

const (
	silentRows  = 20  // the channels have no history to compare with
	trustedRows = 500 // .02 of it are ten rows: the deeper knot stands on its own
)

// alarmRows is when alarms begin: a day, so that the time of day has been seen
// once, but at least 60 rows and at most 300.
func alarmRows(dt float64) int {
	return int(math.Min(math.Max(60, math.Round(86400/dt)), 300))
}

func warmUp(rows int, dt float64) WarmUp {
	left := max(trustedRows-rows, 0)
	w := WarmUp{RowsRemaining: left, ETASeconds: float64(left) * dt}
	switch {
	case rows < silentRows:
		w.State = Warming
	case rows < alarmRows(dt):
		w.State = Calibrating
	case left > 0:
		w.State = Learning
	default:
		w.State = Trusted
	}
	return w
}
