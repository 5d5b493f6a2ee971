package simulate

import (
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
