package scorer

import (
	"math"
	"strconv"
	"strings"
)

// Explain says in one sentence why the row scored as it did. It allocates; call
// it for rows somebody reads.
func (v *Verdict) Explain() string {
	var b strings.Builder
	switch {
	case v.Label == Missingness && (v.present == 0 || v.Gap > gapSteps*v.Step): // no value to speak of
		b.WriteString("no value for " + duration(v.Gap) + "; one every " + duration(v.Step) + " is usual")
	case v.Label == Stuck && v.Run >= v.RunLimit:
		b.WriteString("stuck at " + number(v.Value) + " for " + strconv.Itoa(v.Run) + " values in a row; " +
			strconv.Itoa(v.RunLimit) + " would already be too many")
	default:
		v.explainValue(&b)
		switch v.Label {
		case Missingness:
			b.WriteString("; right after a gap")
		case Stuck:
			b.WriteString("; right after being stuck")
		}
	}
	return b.String()
}

func (v *Verdict) explainValue(b *strings.Builder) {
	side := " above"
	if v.Value < v.Expected {
		side = " below"
	}
	b.WriteString(number(v.Value) + " is " + number(abs(v.Value-v.Expected)) + side + " the expected " + number(v.Expected) +
		" (" + number(v.Lower) + " … " + number(v.Upper) + ")")
	if v.Ratio >= 1.5 {
		b.WriteString("; " + strconv.Itoa(int(math.Min(math.Round(v.Ratio), 1000))) + "x the usual deviation")
		if v.Seasonal {
			b.WriteString(" for this hour")
		}
	}
	if v.present > 0 && v.Label != NoLabel {
		b.WriteString("; mostly " + channelWords(v.contributors[0].Channel))
	}
}

func channelWords(name string) string {
	switch name {
	case fastName:
		return fastWords
	case patternName:
		return patternWords
	}
	for i := range ranked {
		if ranked[i].name == name {
			return ranked[i].words
		}
	}
	return name
}

// number writes three significant digits, whole numbers above a thousand in
// full, and exponents only where they save reading.
func number(v float64) string {
	a := abs(v)
	switch {
	case a == 0:
		return "0"
	case a >= 1e9 || a < 1e-3:
		return strconv.FormatFloat(v, 'g', 3, 64)
	case a >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= .9995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func duration(seconds float64) string {
	for _, u := range [...]struct {
		size float64
		name string
	}{{86400, " d"}, {3600, " h"}, {60, " min"}} {
		if seconds >= 2*u.size || seconds == u.size {
			return strconv.FormatFloat(math.Round(10*seconds/u.size)/10, 'f', -1, 64) + u.name
		}
	}
	return strconv.FormatFloat(math.Round(1000*seconds)/1000, 'f', -1, 64) + " s"
}
