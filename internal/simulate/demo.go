package simulate

import (
	"errors"
	"slices"
	"time"
)

// DemoLength is how long the demo's script runs.
const DemoLength = 160 * time.Second

// scene is one anomaly of the demo: what happens when, on which kind of device.
type scene struct {
	kind      Kind
	metric    string
	label     Label
	at, last  time.Duration
	magnitude float64
}

// demo holds the stories that rounds take turns with: a metric that was
// disturbed a moment ago is judged more mildly. Every label shows within
// DemoLength when sensors sample every 1 or 2 seconds.
var demo = [...][5]scene{
	{
		{Pump, "vibration_rms", Spike, 15 * time.Second, 3 * time.Second, 25},
		{EnergyMeter, "voltage", Drop, 30 * time.Second, 4 * time.Second, -40},
		{ColdChain, "humidity", Stuck, 40 * time.Second, 80 * time.Second, 0},
		{WebService, "error_rate", Drift, 50 * time.Second, 80 * time.Second, 80},
		{Pump, "flow", Missingness, 60 * time.Second, 40 * time.Second, 0},
	},
	{
		{WebService, "p95_ms", Spike, 15 * time.Second, 3 * time.Second, 60},
		{Pump, "flow", Drop, 30 * time.Second, 4 * time.Second, -40},
		{ColdChain, "temperature", Stuck, 40 * time.Second, 80 * time.Second, 0},
		{Pump, "vibration_rms", Drift, 50 * time.Second, 80 * time.Second, 80},
		{EnergyMeter, "current", Missingness, 60 * time.Second, 40 * time.Second, 0},
	},
	{
		{EnergyMeter, "current", Spike, 15 * time.Second, 3 * time.Second, 120},
		{ColdChain, "humidity", Drop, 30 * time.Second, 4 * time.Second, -40},
		{EnergyMeter, "voltage", Stuck, 40 * time.Second, 80 * time.Second, 0},
		{Pump, "temperature", Drift, 50 * time.Second, 80 * time.Second, 90},
		{WebService, "rps", Missingness, 60 * time.Second, 40 * time.Second, 0},
	},
}

// Demo returns a script of all five labels that begins at `at` for a fleet of
// this configuration, one of several by round, on the first device of the fitting kind, or else on any
// metric that the label suits. It fails when there are too few metrics.
func Demo(cfg Config, at time.Time, round int) ([]Injection, error) {
	cfg.Script = nil
	f, err := New(cfg)
	if err != nil {
		return nil, err
	}
	var out []Injection
	for _, scene := range demo[round%len(demo)] {
		in := Injection{Label: scene.label, At: at.Add(scene.at), For: scene.last, Magnitude: scene.magnitude}
		if !f.cast(&in, out, func(k Kind, metric string) bool { return k == scene.kind && metric == scene.metric }) &&
			!f.cast(&in, out, func(Kind, string) bool { return true }) {
			return nil, errors.New("simulate: too few metrics for a demo of all labels")
		}
		out = append(out, in)
	}
	return out, nil
}

// cast finds the first metric that fits, suits the label and has no part yet.
func (f *Fleet) cast(in *Injection, taken []Injection, fits func(Kind, string) bool) bool {
	for i := range f.devices {
		d := &f.devices[i]
		for m := range d.metrics {
			s := d.metrics[m].spec
			busy := slices.ContainsFunc(taken, func(o Injection) bool { return o.Device == i && o.Metric == s.name })
			if !busy && fits(d.kind, s.name) && slices.Contains(s.labels, in.Label) {
				in.Device, in.Metric = i, s.name
				return true
			}
		}
	}
	return false
}
