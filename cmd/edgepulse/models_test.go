package main

import (
	"strings"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/schemas/api"
)

func TestPrintDiff(t *testing.T) {
	at := time.Date(2026, 11, 23, 8, 45, 0, 0, time.UTC)
	shape := func(version string, depth float64) api.ModelShape {
		return api.ModelShape{Model: api.Model{Version: strings.Repeat(version, 64), TS: at, Rows: 640}, Trees: 32, Nodes: 1400, MeanDepth: depth,
			Features: []api.ModelFeature{{Name: "mean", Min: 20, Max: 22.5, SplitShare: .125, SplitDepth: 3}}}
	}
	d := &api.ModelDiff{DeviceExternalID: "press-1", MetricName: "temperature", From: shape("a", 5.25), To: shape("b", 5.5),
		Changes: &api.ModelChanges{Evaluations: 500, Forest: api.ModelDifference{Mean: .01, Max: .2}, Score: api.ModelDifference{Mean: .002, Max: .1},
			Warnings: api.ModelWarnings{From: 3, To: 1, Changed: 2},
			Largest:  []api.ModelInstant{{TS: at, Value: 27, From: api.ModelOpinion{Forest: .7, Score: .95, Severity: "warning"}, To: api.ModelOpinion{Forest: .5, Score: .85}}}}}
	var out strings.Builder
	if err := printDiff(&out, d); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"press-1/temperature", "from aaaaaaaaaaaa ", "to bbbbbbbbbbbb\n", "20..22.5, 12.5 % of splits at depth 3.0", "Over the last 500 evaluations", "of the scores   0.0020  0.1000",
		"warnings: 3, with the other model 1; 2 evaluations cross", "2026-11-23 08:45:00  27     0.950  0.850    0.700   0.500    warning -> -"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	out.Reset()
	d.Changes = nil
	if err := printDiff(&out, d); err != nil || !strings.Contains(out.String(), "can't be scored anew") {
		t.Error(err, out.String())
	}
}
