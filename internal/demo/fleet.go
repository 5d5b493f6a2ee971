package demo

import (
	"time"

	"github.com/edgepulse/edgepulse/internal/simulate"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// The fleet: one device of each kind, with fourteen days behind it. The step of
// the history is the coarsest whose differences still look like those of the live
// second: by the ten minutes, the swing of the day is in every difference, and
// models that learned it take real anomalies for usual.
const (
	devices     = 4
	historyLen  = 14 * 24 * time.Hour
	historyStep = 150 * time.Second
	liveStep    = time.Second

	// RoundLength is when the anomalies begin again, on other metrics.
	RoundLength = 10 * time.Minute

	// sensorBuffer is how much of the past a sensor keeps while the service is away.
	sensorBuffer = 15 * time.Minute
)

// History is the fleet as it was from an instant on.
func History(from time.Time) simulate.Config {
	return simulate.Config{Seed: 1, Devices: devices, Prefix: "demo", Start: from, Step: historyStep}
}

// Live is the fleet as it is; its round of anomalies begins at from.
func Live(from time.Time, round int) (simulate.Config, error) {
	cfg := Calm(from)
	script, err := simulate.Demo(cfg, from, round)
	cfg.Script = script
	return cfg, err
}

// Calm is the live fleet without anomalies.
func Calm(from time.Time) simulate.Config {
	cfg := History(from)
	cfg.Step = liveStep
	return cfg
}

// Keep leaves the door contact out: 0 for hours, by the second, is its nature.
func Keep(p simulate.Point) bool { return p.Metric != "door" }

// Rules of the demo.
func Rules() []api.AlertRule {
	return []api.AlertRule{
		{Name: "Anything unusual", MinSeverity: "warning", ResolveAfter: "30s", UpdateEvery: "1m"},
		{Name: "Drifts, early", MinSeverity: "info", Labels: []string{"drift"}, ResolveAfter: "30s"},
	}
}
