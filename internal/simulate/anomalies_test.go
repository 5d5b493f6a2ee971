package simulate

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"testing"
	"time"
)

// Each label has its shape, exactly between start and end of the truth, and the
// series without anomalies is the same elsewhere.
func TestShapes(t *testing.T) {
	at := monday.Add(10 * time.Minute)
	base := Config{Seed: 5, Devices: 4, Start: monday, ClockSkew: time.Second, Jitter: .1}
	plain := func(device int, metric string) ([]int64, []float64) {
		return series(fleet(t, base), monday.Add(time.Hour), device, metric)
	}
	for _, in := range []Injection{
		{0, "voltage", Spike, at, 3 * time.Second, 9},
		{3, "rps", Drop, at, time.Second, -8},
		{2, "temperature", Drift, at, 2 * time.Minute, -7},
		{2, "flow", Missingness, at, 20 * time.Second, 0},
		{0, "voltage", Stuck, at, time.Minute, 0},
		{1, "door", Stuck, at, time.Minute, 0},
	} {
		cfg := base
		cfg.Script = []Injection{in}
		f := fleet(t, cfg)
		truth := f.GroundTruth(monday, monday.Add(time.Hour))
		if len(truth) != 1 || truth[0].Label != in.Label || truth[0].Device != f.Devices()[in.Device] || truth[0].Metric != in.Metric {
			t.Fatalf("%+v: truth %+v", in, truth)
		}
		start, end := truth[0].Start, truth[0].End
		ts0, v0 := plain(in.Device, in.Metric)
		ts1, v1 := series(f, monday.Add(time.Hour), in.Device, in.Metric)
		sigma, grain := 0.0, 0.0
		for _, m := range f.devices[in.Device].metrics {
			if m.spec.name == in.Metric {
				sigma = m.spec.sigma
				grain = 1.01 / m.spec.resolution / sigma // the sensor's resolution in sigmas
			}
		}
		inside, before := 0, math.NaN()
		j := 0
		for i, ts := range ts0 {
			hit := ts >= start && ts <= end
			if in.Label == Missingness && hit {
				inside++
				continue
			}
			if ts1[j] != ts {
				t.Fatalf("%v: timestamps differ", in.Label)
			}
			diff := (v1[j] - v0[i]) / sigma
			switch {
			case !hit:
				if diff != 0 {
					t.Fatalf("%v: %v sigma outside", in.Label, diff)
				}
			case in.Label == Spike, in.Label == Drop:
				if math.Abs(diff-in.Magnitude) > grain {
					t.Errorf("%v: %v sigma", in.Label, diff)
				}
			case in.Label == Drift:
				if want := in.Magnitude * float64(inside+1) / 120; math.Abs(diff-want) > grain {
					t.Errorf("drift: %v sigma, want %v", diff, want)
				}
			case in.Metric == "door":
				before = 1
				fallthrough
			default:
				if v1[j] != before {
					t.Errorf("stuck at %v, want %v", v1[j], before)
				}
			}
			if hit {
				inside++
			} else {
				before = v1[j]
			}
			j++
		}
		if want := int(in.For / time.Second); inside != want {
			t.Errorf("%v: %d samples, want %d", in.Label, inside, want)
		}
	}
}

// Background anomalies come at the rate and in the mix asked for, and the
// truth of a part of time is the part of the truth.
func TestBackground(t *testing.T) {
	f := fleet(t, Config{Seed: 11, Devices: 40, Start: monday, AnomaliesPerDay: 2.5, Mix: Mix{4, 2, 2, 1, 1}})
	const days = 30
	truth := f.GroundTruth(monday, monday.Add(days*24*time.Hour))
	if perDay := float64(len(truth)) / 40 / days; math.Abs(perDay-2.5) > .1 {
		t.Errorf("%v anomalies per device and day", perDay)
	}
	var n [labels]int
	for _, a := range truth {
		n[a.Label]++
		length := (a.End-a.Start)/1e6 + 1
		lo, hi := a.Label.samples()
		if length < lo || length > hi {
			t.Fatalf("%+v lasts %d samples", a, length)
		}
		size := math.Abs(a.Magnitude)
		switch a.Label {
		case Missingness, Stuck:
			if size != 0 {
				t.Fatalf("%+v", a)
			}
		default:
			if size < 6 || size > 12 || a.Label == Spike && a.Magnitude < 0 || a.Label == Drop && a.Magnitude > 0 {
				t.Fatalf("%+v", a)
			}
		}
	}
	for _, l := range Labels {
		if n[l] == 0 {
			t.Errorf("no %v", l)
		}
	}
	if n[Spike] < n[Stuck]*2 {
		t.Errorf("mix %v", n)
	}
	var parts []Anomaly
	for d := range days {
		for _, a := range f.GroundTruth(monday.Add(time.Duration(d)*24*time.Hour), monday.Add(time.Duration(d+1)*24*time.Hour)) {
			if !slices.Contains(parts, a) {
				parts = append(parts, a)
			}
		}
	}
	if !slices.Equal(parts, truth) {
		t.Error("the days' truths are not the whole")
	}
}

// A long step still has whole anomalies.
func TestHourlyStep(t *testing.T) {
	f := fleet(t, Config{Seed: 1, Start: monday, Step: time.Hour, AnomaliesPerDay: .05})
	truth := f.GroundTruth(monday, monday.Add(400*24*time.Hour))
	if len(truth) < 60 {
		t.Fatalf("%d anomalies", len(truth))
	}
	for _, a := range truth {
		if lo, hi := a.Label.samples(); (a.End-a.Start)/3600e6+1 < lo || (a.End-a.Start)/3600e6+1 > hi {
			t.Errorf("%+v", a)
		}
	}
}

func TestDemo(t *testing.T) {
	for _, step := range []time.Duration{time.Second, 2 * time.Second} {
		for _, devices := range []int{2, 4, 20} {
			cfg := Config{Devices: devices, Start: monday, Step: step, AnomaliesPerDay: 50}
			at := monday.Add(time.Hour)
			script, err := Demo(cfg, at, devices/2)
			if err != nil {
				t.Fatal(err)
			}
			cfg.Script = script
			f := fleet(t, cfg)
			seen := map[Label]int64{}
			for _, in := range script {
				for _, a := range f.GroundTruth(at, at.Add(DemoLength)) {
					if a.Device == f.Devices()[in.Device] && a.Metric == in.Metric {
						seen[a.Label]++
						if a.End > at.Add(DemoLength).UnixMicro() || a.Label == Missingness && a.End-a.Start < 4*step.Microseconds() {
							t.Errorf("%+v", a)
						}
					}
				}
			}
			if len(seen) != len(Labels) {
				t.Errorf("%d devices: only %v", devices, seen)
			}
		}
	}
	if _, err := Demo(Config{Devices: 1}, monday, 0); err == nil {
		t.Error("one device has too few metrics for a demo, and nobody said so")
	}
}

// The demo plays on the metrics that suit the story, and no background anomaly
// comes near it.
func TestDemoStage(t *testing.T) {
	cfg := Config{Seed: 1, Devices: 4, Start: monday, AnomaliesPerDay: 200}
	at := monday.Add(12 * time.Hour)
	script, err := Demo(cfg, at, 0)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Script = script
	f := fleet(t, cfg)
	for i, in := range script {
		s := demo[0][i]
		if f.devices[in.Device].kind != s.kind || in.Metric != s.metric {
			t.Errorf("%v plays on %v %s", in.Label, f.devices[in.Device].kind, in.Metric)
		}
		near := 0
		for _, a := range f.GroundTruth(in.At.Add(-299*time.Second), in.At.Add(in.For+299*time.Second)) {
			if a.Device == f.Devices()[in.Device] && a.Metric == in.Metric {
				near++
			}
		}
		if near != 1 {
			t.Errorf("%v has company: %d", in.Label, near)
		}
	}
	if n := len(f.GroundTruth(monday, monday.Add(24*time.Hour))); n < 600 {
		t.Errorf("%d anomalies in all", n)
	}
}

func TestWriters(t *testing.T) {
	truth := []Anomaly{{"sim-pump-0002", "flow", Drop, 1, 2, -7.5}}
	var lines, rows bytes.Buffer
	if err := WriteJSONLines(&lines, truth); err != nil {
		t.Fatal(err)
	}
	if err := WriteCSV(&rows, truth); err != nil {
		t.Fatal(err)
	}
	want := `{"device_external_id":"sim-pump-0002","metric":"flow","label":"drop","start":1,"end":2,"magnitude":-7.5}` + "\n"
	if lines.String() != want || !json.Valid(lines.Bytes()) {
		t.Errorf("%s", lines.String())
	}
	if want := "device_external_id,metric,label,start,end,magnitude\nsim-pump-0002,flow,drop,1,2,-7.5\n"; rows.String() != want {
		t.Errorf("%s", rows.String())
	}
}
