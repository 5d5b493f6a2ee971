package bench

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
)

// Ratio is one figure of a run beside that of an older one.
type Ratio struct {
	Name     string
	Old, New float64
}

// Ratio is new to old; 0 where there is no old.
func (r Ratio) Ratio() float64 {
	if r.Old == 0 {
		return 0
	}
	return r.New / r.Old
}

// Compare lays a report beside one that an earlier run wrote with --json.
func Compare(file string, now *Report) ([]Ratio, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read report to compare with: %w", err)
	}
	var old Report
	if err := json.Unmarshal(b, &old); err != nil {
		return nil, fmt.Errorf("read %s: expected what `edgepulse bench --json` prints: %w", file, err)
	}
	if old.Scenario.Name != now.Scenario.Name {
		return nil, fmt.Errorf("%s is a run of scenario %s, this one is of %s", file, old.Scenario.Name, now.Scenario.Name)
	}
	out := []Ratio{
		{"points/s", old.PointsPerSec, now.PointsPerSec}, {"evaluations/s", old.EvalsPerSec, now.EvalsPerSec},
		{"ack p50, ms", old.Ack.P50, now.Ack.P50}, {"ack p99, ms", old.Ack.P99, now.Ack.P99},
		{"ingest to score p99, ms", old.Score.P99, now.Score.P99}, {"sensor to webhook p99, ms", old.Webhook.P99, now.Webhook.P99},
		{"datapoints, bytes/point", old.RowBytes, now.RowBytes}, {"archive, bytes/point", old.ArchiveBytes, now.ArchiveBytes},
	}
	maps2 := func(what string, a, b map[string]float64) {
		names := map[string]bool{}
		for k := range a {
			names[k] = true
		}
		for k := range b {
			names[k] = true
		}
		for _, k := range slices.Sorted(maps.Keys(names)) {
			out = append(out, Ratio{k + ", " + what, a[k], b[k]})
		}
	}
	maps2("CPU µs/point", old.CPU, now.CPU)
	maps2("log bytes/point", old.LogBytes, now.LogBytes)
	maps2("resident MB", old.RSS, now.RSS)
	return out, nil
}
