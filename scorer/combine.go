package scorer

import "math"

const (
	youthPenalty = .3
	youthSeconds = 3 * 86400.0
	scoreRate    = .8
	alarmRate    = .95
)

// combine is the fourth-power norm of the channels' tail scores (better than
// their sum, their maximum or a Fisher combination: one loud channel suffices,
// several agreeing ones add), damped while the metric is young.
func combine(s *[channelCount]float64, age float64) float64 {
	sum := 0.0
	for _, v := range s {
		v *= v
		sum += float64(v * v)
	}
	return math.Sqrt(math.Sqrt(sum)) * (1 - float64(youthPenalty*math.Exp(-max(age, 0)/youthSeconds)))
}

// published maps a raw score to [0,1).
func published(raw, rate float64) float64 { return 1 - math.Exp(-rate*raw) }

// contribute writes each channel's share of the norm, largest first.
func (v *Verdict) contribute(s *[channelCount]float64) {
	sum := 0.0
	for _, x := range s {
		x *= x
		sum += float64(x * x)
	}
	v.present = 0
	if sum <= 0 {
		return
	}
	for i, x := range s {
		if x <= 0 {
			continue
		}
		x *= x
		c := Contribution{Channel: channelName(i), Share: x * x / sum}
		k := v.present
		for ; k > 0 && v.contributors[k-1].Share < c.Share; k-- {
			v.contributors[k] = v.contributors[k-1]
		}
		v.contributors[k] = c
		v.present++
	}
}

func channelName(i int) string {
	switch i {
	case fastIndex:
		return fastName
	case patternIndex:
		return patternName
	}
	return ranked[i].name
}
