package simulate

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

var monday = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

func fleet(t testing.TB, cfg Config) *Fleet {
	t.Helper()
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// series collects one metric of one device.
func series(f *Fleet, until time.Time, device int, metric string) (ts []int64, vs []float64) {
	id := f.Devices()[device]
	for p := range f.Until(until) {
		if p.Device == id && p.Metric == metric {
			ts = append(ts, p.TS)
			vs = append(vs, p.Value)
		}
	}
	return ts, vs
}

func messy() Config {
	return Config{Seed: 7, Devices: 9, Start: monday, Step: time.Second, MixedSteps: true,
		ClockSkew: 2 * time.Second, Jitter: .2, DropRate: .01, AnomaliesPerDay: 100}
}

// However the caller cuts time, wherever it starts, the same points come out.
func TestSamePointsForAnyCalls(t *testing.T) {
	until := monday.Add(40 * time.Minute)
	all := slices.Collect(fleet(t, messy()).Until(until))
	if again := slices.Collect(fleet(t, messy()).Until(until)); !slices.Equal(all, again) {
		t.Fatal("two equal fleets differ")
	}

	// By the second, and broken off after every seventh point.
	var pieces []Point
	f := fleet(t, messy())
	for now := monday; !now.After(until); now = now.Add(time.Second) {
		for broken := true; broken; {
			broken = false
			n := 0
			for p := range f.Until(now) {
				pieces = append(pieces, p)
				if n++; n == 7 {
					broken = true
					break
				}
			}
		}
	}
	if !slices.Equal(byDevice(all), byDevice(pieces)) {
		t.Fatal("small calls give other points")
	}

	// Live: a fleet that starts later goes on where history ends.
	cut := monday.Add(25*time.Minute + 300*time.Millisecond)
	history := slices.Collect(fleet(t, messy()).Until(cut))
	cfg := messy()
	cfg.Start = cut
	live := slices.Collect(fleet(t, cfg).Until(until))
	if !slices.Equal(byDevice(all), byDevice(append(history, live...))) {
		t.Fatal("history and live don't join")
	}

	cfg = messy()
	cfg.Seed++
	if slices.Equal(all, slices.Collect(fleet(t, cfg).Until(until))) {
		t.Fatal("the seed changes nothing")
	}
}

// byDevice sorts stably by device: the order that is promised.
func byDevice(ps []Point) []Point {
	ps = slices.Clone(ps)
	slices.SortStableFunc(ps, func(a, b Point) int { return strings.Compare(a.Device, b.Device) })
	return ps
}

func TestTimeOrderAndRates(t *testing.T) {
	f := fleet(t, messy())
	last := map[string]int64{}
	count := map[string]int{}
	for p := range f.Until(monday.Add(time.Hour)) {
		key := p.Device + p.Metric
		if p.TS <= last[key] {
			t.Fatalf("%+v is not after %d", p, last[key])
		}
		last[key] = p.TS
		count[p.Device]++
		if math.IsNaN(p.Value) || math.IsInf(p.Value, 0) || p.Unit == "" {
			t.Fatalf("%+v", p)
		}
	}
	for i, id := range f.Devices() {
		want := 3 * 3600.0
		if i/4%2 == 1 {
			want /= 2
		}
		// about 1 % lost, and the gaps of the anomalies
		if got := float64(count[id]); got > want || got < .95*want {
			t.Errorf("%s: %v points, want about %v", id, got, want)
		}
	}
}

// Across devices points come in rounds of one step.
func TestRounds(t *testing.T) {
	newest := int64(0)
	for p := range fleet(t, Config{Devices: 12, Start: monday}).Until(monday.Add(time.Minute)) {
		if p.TS < newest-1_000_000 {
			t.Fatalf("%+v comes %d µs late", p, newest-p.TS)
		}
		newest = max(newest, p.TS)
	}
}

// Lost samples are single: gaps of two steps.
func TestDropRate(t *testing.T) {
	ts, _ := series(fleet(t, Config{Seed: 3, Start: monday, DropRate: .05}), monday.Add(3*time.Hour), 0, "voltage")
	if got := 1 - float64(len(ts))/10800; math.Abs(got-.05*.95) > .01 {
		t.Errorf("lost %v", got)
	}
	for i := range ts[1:] {
		if d := ts[i+1] - ts[i]; d != 1e6 && d != 2e6 {
			t.Fatalf("a gap of %d µs", d)
		}
	}
}

// The noise is stationary with unit variance, has the AR(1) correlation, and
// doesn't depend on the way to a sample.
func TestNoise(t *testing.T) {
	tab := newTables()
	for _, phi := range []float64{0, .6, .9} {
		s := newNoise(mix(5, uint64(phi*10)), phi)
		const n = 400_000
		var at [block]struct{ s, ss, jump float64 }
		var sw, sww, previous float64
		for k := range int64(n) {
			ar, white := s.at(tab, k-n/2)
			c := &at[(k-n/2)&(block-1)]
			c.s += ar
			c.ss += ar * ar
			c.jump += (ar - previous) * (ar - previous)
			previous = ar
			sw += white
			sww += white * white
			if k%9973 == 0 {
				fresh := newNoise(s.key, phi)
				for _, from := range []int64{0, 1, 100, -100} { // from nowhere, from near and from behind
					if from != 0 {
						fresh.at(tab, k-n/2-from)
					}
					if a, w := fresh.at(tab, k-n/2); a != ar || w != white {
						t.Fatalf("sample %d: %v %v, walking there %v %v", k, a, w, ar, white)
					}
				}
			}
		}
		for pos, c := range at { // at every position of a block alike: no seams
			m := n / block
			if v := c.ss / float64(m); math.Abs(v-1) > .1 {
				t.Errorf("phi %v, position %d: variance %v", phi, pos, v)
			}
			if v := c.jump / float64(m); math.Abs(v-2*(1-phi)) > .1*2*(1-phi)+.01 {
				t.Errorf("phi %v, position %d: squared step %v, want %v", phi, pos, v, 2*(1-phi))
			}
		}
		if v := sww / n; math.Abs(v-1) > .02 || math.Abs(sw/n) > .01 {
			t.Errorf("white: mean %v, variance %v", sw/n, v)
		}
	}
}

// Loads follow the day and the week.
func TestSeasons(t *testing.T) {
	f := fleet(t, Config{Seed: 1, Start: monday, Step: time.Minute})
	_, rps := series(f, monday.Add(7*24*time.Hour), 3, "rps")
	mean := func(day, from, to int) float64 {
		s := 0.0
		for _, v := range rps[day*1440+from*60 : day*1440+to*60] {
			s += v
		}
		return s / float64((to-from)*60)
	}
	for d := range 5 {
		if day, night := mean(d, 10, 12), mean(d, 1, 5); day < 3*night {
			t.Errorf("weekday %d: day %v, night %v", d, day, night)
		}
	}
	if work, off := mean(2, 10, 17), mean(5, 10, 17); off > .7*work {
		t.Errorf("Wednesday %v, Saturday %v", work, off)
	}
	if a, b := mean(1, 10, 17), mean(2, 10, 17); math.Abs(a-b) > .02*a {
		t.Errorf("Tuesday %v, Wednesday %v", a, b)
	}
	_, v := series(fleet(t, Config{Seed: 1, Start: monday, Step: time.Minute}), monday.Add(24*time.Hour), 1, "door")
	open := 0.0
	for _, x := range v {
		open += x
	}
	if share := open / float64(len(v)); share < .005 || share > .06 {
		t.Errorf("the door is open %v of the time", share)
	}
}

// sigma, the unit of magnitudes, is the spread that a metric has around its
// hourly trend.
func TestSigma(t *testing.T) {
	f := fleet(t, Config{Seed: 2, Devices: 4, Start: monday})
	type acc struct{ n, s, ss, sum float64 }
	metrics := map[string]*acc{}
	for p := range f.Until(monday.Add(2 * time.Hour)) {
		a := metrics[p.Device+" "+p.Metric]
		if a == nil {
			a = &acc{}
			metrics[p.Device+" "+p.Metric] = a
		}
		a.n++
		a.s += p.Value
		a.ss += p.Value * p.Value
		if a.n == 1800 { // half an hour: the season hardly moves at night
			a.sum += math.Sqrt(a.ss/a.n - a.s/a.n*a.s/a.n)
			a.n, a.s, a.ss = 0, 0, 0
		}
	}
	for i := range f.devices {
		for m := range f.devices[i].metrics {
			s := f.devices[i].metrics[m].spec
			if s.name == "door" {
				continue
			}
			if got := metrics[f.devices[i].id+" "+s.name].sum / 4; got < .6*s.sigma || got > 1.4*s.sigma {
				t.Errorf("%v %s: spread %v, sigma %v", f.devices[i].kind, s.name, got, s.sigma)
			}
		}
	}
}

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
			script, err := Demo(cfg, at)
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
	if _, err := Demo(Config{Devices: 1}, monday); err == nil {
		t.Error("one device has too few metrics for a demo, and nobody said so")
	}
}

// The demo plays on the metrics that suit the story, and no background anomaly
// comes near it.
func TestDemoStage(t *testing.T) {
	cfg := Config{Seed: 1, Devices: 4, Start: monday, AnomaliesPerDay: 200}
	at := monday.Add(12 * time.Hour)
	script, err := Demo(cfg, at)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Script = script
	f := fleet(t, cfg)
	for i, in := range script {
		s := demo[i]
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

func TestConfigErrors(t *testing.T) {
	for want, cfg := range map[string]Config{
		"Step":            {Step: time.Microsecond},
		"Jitter":          {Jitter: .5},
		"DropRate":        {DropRate: math.NaN()},
		"Devices":         {Devices: -1},
		"ClockSkew":       {ClockSkew: -1},
		"AnomaliesPerDay": {AnomaliesPerDay: -1},
		"Mix":             {Mix: Mix{-1}},
		"Kinds":           {Kinds: []Kind{kinds}},
		"no device 99":    {Script: []Injection{{Device: 99}}},
		"no metric":       {Script: []Injection{{Metric: "x"}}},
		"overlap":         {Script: []Injection{{Metric: "power"}, {Metric: "power"}}},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func BenchmarkPoints(b *testing.B) {
	for _, c := range []struct {
		name string
		cfg  Config
	}{
		{"plain", Config{Devices: 100}},
		{"messy", Config{Devices: 100, ClockSkew: time.Second, Jitter: .1, DropRate: .001, AnomaliesPerDay: 5}},
	} {
		b.Run(c.name, func(b *testing.B) {
			c.cfg.Start = monday
			f, now, n := fleet(b, c.cfg), monday, 0
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(time.Second)
				for range f.Until(now) {
					n++
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "points/s")
		})
	}
}
