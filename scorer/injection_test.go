package scorer

import (
	"fmt"
	"math"
	"testing"

	"github.com/edgepulse/edgepulse/scorer/internal/splitmix"
)

// injection moves rows 0..n-1 of an anomaly, in units of the metric's noise.
type injection struct {
	name  string
	want  Label
	sub   SubLabel // NoSubLabel: any
	least float64  // share that must be right of those detected
	rows  int
	value func(i int, x, frozen float64, rng *splitmix.Source) float64
}

var injections = []injection{
	{"spike", Spike, NoSubLabel, .95, 1, func(_ int, x, _ float64, _ *splitmix.Source) float64 { return x + 9 }},
	{"drop", Drop, NoSubLabel, .95, 2, func(_ int, x, _ float64, _ *splitmix.Source) float64 { return x - 9 }},
	{"level", Spike, Level, .7, 40, func(_ int, x, _ float64, _ *splitmix.Source) float64 { return x + 6 }},
	{"noise", NoLabel, Noise, .7, 40, func(_ int, x, _ float64, r *splitmix.Source) float64 { return x + 5*gauss(r) }},
	{"drift", Drift, NoSubLabel, .5, 90, func(i int, x, _ float64, _ *splitmix.Source) float64 { return x + float64(i)/7 }},
	{"drift down", Drift, NoSubLabel, .5, 90, func(i int, x, _ float64, _ *splitmix.Source) float64 { return x - float64(i)/7 }},
	{"stuck", Stuck, NoSubLabel, .95, 20, func(_ int, _, frozen float64, _ *splitmix.Source) float64 { return frozen }},
}

// TestInjectedAnomaliesAreNamed injects every kind into metrics of several
// shapes and compares the last label of the event with the kind.
func TestInjectedAnomaliesAreNamed(t *testing.T) {
	for _, in := range injections {
		const metrics = 60
		detected, right := 0, 0
		confusion := map[string]int{}
		for k := range metrics {
			label, sub := inject(in, uint64(k))
			confusion[fmt.Sprintf("%s/%s", label, sub)]++
			if label == NoLabel {
				continue
			}
			detected++
			if (in.want == NoLabel || label == in.want) && (in.sub == NoSubLabel || sub == in.sub) {
				right++
			}
		}
		t.Logf("%-11s detected %d of %d, right %d: %v", in.name, detected, metrics, right, confusion)
		if share := float64(right) / float64(max(detected, 1)); share < in.least {
			t.Errorf("%s: %.2f right of %d detected, want %.2f", in.name, share, detected, in.least)
		}
		if detected < metrics/2 {
			t.Errorf("%s: %d of %d detected", in.name, detected, metrics)
		}
	}
}

// inject runs one metric (its shape drawn from the seed) through the anomaly and
// returns the last label given up to its end.
func inject(in injection, seed uint64) (label Label, sub SubLabel) {
	rng := splitmix.Source{State: seed + 100}
	wave := []float64{0, 3, 8}[seed%3]
	memory := []float64{0, .6}[seed/3%2]
	onset := 1300 + rng.Intn(288)
	m := NewModel(seed)
	ts, frozen, inertia := int64(1_700_000_000_000_000), 0.0, 0.0
	for i := range onset + in.rows {
		inertia = memory*inertia + gauss(&rng)
		x := wave*math.Sin(2*math.Pi*float64(ts%dayMicros)/float64(dayMicros)) + inertia
		if k := i - onset; k >= 0 {
			x = in.value(k, x, frozen, &rng)
		} else {
			frozen = x
		}
		var v Verdict
		m.Observe(Observation{TS: ts, Value: x, Extreme: x}, &v)
		if i >= onset && v.Label != NoLabel {
			label, sub = v.Label, v.SubLabel
		}
		ts += 5 * minute
	}
	return label, sub
}
