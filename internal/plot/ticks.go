package plot

import (
	"math"
	"strconv"
	"time"

	"gonum.org/v1/plot"
)

// timeTicks chooses steps that people use: five to ten of them, and the coarsest
// words that tell them apart.
type timeTicks struct{}

var timeSteps = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 2 * 24 * time.Hour, 7 * 24 * time.Hour,
	14 * 24 * time.Hour, 28 * 24 * time.Hour, 91 * 24 * time.Hour, 365 * 24 * time.Hour}

func (timeTicks) Ticks(lo, hi float64) []plot.Tick {
	step := timeSteps[len(timeSteps)-1]
	for _, s := range timeSteps {
		if (hi-lo)/s.Seconds() <= 10 {
			step = s
			break
		}
	}
	format := "2 Jan 2006"
	switch {
	case step < time.Minute:
		format = "15:04:05"
	case step < 24*time.Hour && hi-lo <= 86400:
		format = "15:04"
	case step < 24*time.Hour:
		format = "2 Jan 15:04"
	case step < 90*24*time.Hour:
		format = "2 Jan"
	}
	var out []plot.Tick
	s := step.Seconds()
	for at := math.Ceil(lo/s) * s; at <= hi; at += s {
		out = append(out, plot.Tick{Value: at, Label: time.Unix(int64(at), 0).UTC().Format(format)})
	}
	return out
}

// valueTicks are multiples of 1, 2 or 5 times a power of ten.
type valueTicks struct{}

func (valueTicks) Ticks(lo, hi float64) []plot.Tick {
	raw := (hi - lo) / 6
	if !(raw > 0) || math.IsInf(raw, 0) {
		return nil
	}
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	step := power * 10
	for _, f := range []float64{1, 2, 5} {
		if f*power >= raw {
			step = f * power
			break
		}
	}
	digits := max(0, int(-math.Floor(math.Log10(step)+1e-9)))
	var out []plot.Tick
	for k := math.Ceil(lo / step); k*step <= hi; k++ {
		label := strconv.FormatFloat(k*step+0, 'f', digits, 64) // +0 turns -0 into 0
		if math.Abs(k*step) >= 1e6 {
			label = strconv.FormatFloat(k*step, 'g', 4, 64)
		}
		out = append(out, plot.Tick{Value: k * step, Label: label})
	}
	return out
}
