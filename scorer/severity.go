package scorer

import "math"

// Severity grades an emitted alarm.
type Severity uint8

const (
	NoSeverity Severity = iota
	Info
	Warning
	Critical
)

func (s Severity) String() string {
	return [...]string{"", "info", "warning", "critical"}[min(s, Critical)]
}

const (
	infoBelow     = 1.0 // raw alarm below the threshold
	criticalAbove = 2.0 // and above it: a seventh of the tail
)

// AlarmThreshold is the raw alarm from which a metric with that sampling step
// (seconds) is worth a warning: 5.4 + .45 ln(3600/step), about one false alarm a
// week whatever the rate. 6.5 at five minutes, 9.1 at a second. A metric with a
// calm past is warned of earlier: see relief.
func AlarmThreshold(step float64) float64 { return 5.4 + float64(.45*math.Log(3600/step)) }

// SeverityOf grades a raw alarm: Warning from the threshold, Info from one below
// it, Critical from two above it.
func SeverityOf(rawAlarm, threshold float64) Severity {
	switch {
	case rawAlarm <= 0 || rawAlarm < threshold-infoBelow:
		return NoSeverity
	case rawAlarm < threshold:
		return Info
	case rawAlarm < threshold+criticalAbove:
		return Warning
	}
	return Critical
}
