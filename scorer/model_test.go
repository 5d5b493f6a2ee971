package scorer

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"github.com/edgepulse/edgepulse/scorer/internal/splitmix"
)

const minute = int64(60e6)

// stream is a synthetic metric: a daily wave, noise, and whatever the seed
// throws in: spikes, gaps, stuck runs, repeated and backward timestamps.
func synthetic(seed uint64, n int) []Observation {
	rng := splitmix.Source{State: seed}
	step := []int64{minute / 60, minute, 5 * minute, 60 * minute}[rng.Intn(4)]
	scale := math.Pow(10, float64(rng.Intn(9)-3))
	ts := int64(1_700_000_000_000_000)
	out := make([]Observation, n)
	var w featureWindow
	last := 0.0
	for i := range out {
		x := 20 + 5*math.Sin(2*math.Pi*float64(ts%dayMicros)/float64(dayMicros)) + gauss(&rng)
		switch rng.Intn(200) {
		case 0:
			x += 40
		case 1:
			ts += step * int64(rng.Intn(40))
		case 2:
			ts -= step * 3
		case 3, 4, 5, 6:
			x = last
		}
		last = x
		f := append([]float64(nil), w.features(ts, x*scale)...)
		out[i] = Observation{TS: ts, Value: x * scale, Extreme: x * scale, Features: f}
		if seed%3 == 0 {
			out[i].Step = float64(step) / 1e6
		}
		ts += step
	}
	return out
}

func gauss(rng *splitmix.Source) float64 {
	s := -6.0
	for range 12 {
		s += rng.Float64()
	}
	return s
}

func run(m *Model, obs []Observation) []Verdict {
	out := make([]Verdict, len(obs))
	for i, o := range obs {
		m.Observe(o, &out[i])
	}
	return out
}

func sameVerdicts(t *testing.T, what string, got, want []Verdict) {
	t.Helper()
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%s: row %d differs:\n%+v\n%+v", what, i, got[i], want[i])
		}
	}
}

func TestEqualInputsGiveEqualBits(t *testing.T) {
	obs := synthetic(1, 3000)
	a, b := NewModel(7), NewModel(7)
	sameVerdicts(t, "second run", run(b, obs), run(a, obs))
	if !bytes.Equal(a.AppendState(nil), b.AppendState(nil)) {
		t.Error("equal models have different bytes")
	}
}

// A row's verdict is a function of the rows up to it.
func TestPrefixInvariance(t *testing.T) {
	for seed := range uint64(4) {
		obs := synthetic(seed, 1500)
		all := run(NewModel(seed), obs)
		for _, n := range []int{1, 2, 19, 21, 64, 65, 300, 777, 1499} {
			cut := append([]Observation(nil), obs[:n]...)
			cut = append(cut, Observation{TS: obs[n].TS, Value: 1e9}) // another future
			sameVerdicts(t, fmt.Sprintf("seed %d, prefix %d", seed, n), run(NewModel(seed), cut)[:n], all[:n])
		}
	}
}

// A model that goes through its stored form anywhere continues bit for bit.
func TestSnapshotContinues(t *testing.T) {
	for seed := range uint64(6) {
		obs := synthetic(seed, 1300)
		whole, m := NewModel(seed), NewModel(seed)
		for i, o := range obs {
			if i%97 == int(seed) || i < 70 && i%7 == 0 {
				b := m.AppendState([]byte("prefix"))[len("prefix"):]
				m = NewModel(99)
				if err := m.DecodeState(b); err != nil {
					t.Fatalf("seed %d row %d: %v", seed, i, err)
				}
				if !bytes.Equal(m.AppendState(nil), b) {
					t.Fatalf("seed %d row %d: bytes change through decoding", seed, i)
				}
				var got, want Verdict
				m.Silence(o.TS+40*minute, o.TS, &got)
				whole.Silence(o.TS+40*minute, o.TS, &want)
				sameVerdicts(t, fmt.Sprintf("seed %d silence at %d", seed, i), []Verdict{got}, []Verdict{want})
			}
			var got, want Verdict
			m.Observe(o, &got)
			whole.Observe(o, &want)
			sameVerdicts(t, fmt.Sprintf("seed %d row %d", seed, i), []Verdict{got}, []Verdict{want})
		}
	}
}

func TestSilenceLeavesNoTrace(t *testing.T) {
	obs := synthetic(2, 700)
	m := NewModel(2)
	run(m, obs)
	before := m.AppendState(nil)
	var v Verdict
	for k := range int64(50) {
		m.Silence(m.last+k*minute*30, m.last, &v)
	}
	if !bytes.Equal(before, m.AppendState(nil)) {
		t.Error("Silence changed the model")
	}
	if v.Label != Missingness || v.Severity < Warning || v.Score < .9 {
		t.Errorf("a day of silence: %+v", v)
	}
}

// Features feed one channel only; without them the others draw the same numbers.
func TestFeaturesTouchOneChannel(t *testing.T) {
	obs := synthetic(4, 900)
	with, without := NewModel(4), NewModel(4)
	var v Verdict
	spoke := false
	for i, o := range obs {
		with.Observe(o, &v)
		o.Features = nil
		without.Observe(o, &v)
		for k := range patternIndex {
			if with.scores[k] != without.scores[k] {
				t.Fatalf("row %d, channel %s: %v with features, %v without", i, channelName(k), with.scores[k], without.scores[k])
			}
		}
		spoke = spoke || with.scores[patternIndex] > 1
	}
	if !spoke {
		t.Error("the pattern channel never spoke")
	}
}

func checkFinite(t *testing.T, what string, i int, v *Verdict) {
	t.Helper()
	for _, x := range []float64{v.Score, v.Alarm, v.RawScore, v.RawAlarm, v.Expected, v.Lower, v.Upper, v.Value, v.Ratio, v.Gap, v.Step, v.WarmUp.ETASeconds} {
		if !finite(x) {
			t.Fatalf("%s, row %d: not finite: %+v", what, i, *v)
		}
	}
	if v.Score < 0 || v.Score > 1 || v.Alarm < 0 || v.Alarm > 1 || v.Lower > v.Expected || v.Expected > v.Upper {
		t.Fatalf("%s, row %d: out of range: %+v", what, i, *v)
	}
	sum := 0.0
	for _, c := range v.Contributors() {
		sum += c.Share
	}
	if len(v.Contributors()) > 0 && math.Abs(sum-1) > 1e-9 {
		t.Fatalf("%s, row %d: shares sum to %v", what, i, sum)
	}
	_ = v.Explain()
}

func TestHostileSeriesStayFinite(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	cases := []struct {
		name string
		at   func(i int) (int64, float64)
	}{
		{"constant", func(i int) (int64, float64) { return int64(i) * minute, 42 }},
		{"zero", func(i int) (int64, float64) { return int64(i) * minute, 0 }},
		{"huge", func(i int) (int64, float64) { return int64(i) * minute, 1e300 * float64(i%7-3) }},
		{"largest and smallest", func(i int) (int64, float64) {
			return int64(i) * minute, []float64{math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64}[i%3]
		}},
		{"tiny", func(i int) (int64, float64) { return int64(i) * minute, 1e-300 * float64(i%5) }},
		{"huge once", func(i int) (int64, float64) {
			if i == 400 {
				return int64(i) * minute, 1e300
			}
			return int64(i) * minute, float64(i % 11)
		}},
		{"exponential", func(i int) (int64, float64) { return int64(i) * minute, math.Exp(float64(i)) }},
		{"not numbers", func(i int) (int64, float64) {
			return int64(i) * minute, []float64{nan, 1, inf, 2, -inf, 3}[i%6]
		}},
		{"time jumps", func(i int) (int64, float64) {
			return []int64{0, math.MaxInt64, math.MinInt64, 1, -1}[i%5], float64(i % 13)
		}},
		{"same instant", func(i int) (int64, float64) { return 5, float64(i % 3) }},
		{"microseconds", func(i int) (int64, float64) { return int64(i), float64(i % 3) }},
		{"decades", func(i int) (int64, float64) { return int64(i) * dayMicros * 3650, float64(i % 3) }},
		{"flat, then alive", func(i int) (int64, float64) {
			return int64(i) * minute, math.Max(0, float64(i-600)) * float64(i%3)
		}},
	}
	for _, c := range cases {
		m := NewModel(3)
		var w featureWindow
		for i := range 1200 {
			ts, x := c.at(i)
			var v Verdict
			m.Observe(Observation{TS: ts, Value: x, Extreme: x, Features: w.features(int64(i), x)}, &v)
			checkFinite(t, c.name, i, &v)
			m.Silence(ts+int64(i)*minute, ts, &v)
			checkFinite(t, c.name+" silence", i, &v)
		}
		if err := NewModel(0).DecodeState(m.AppendState(nil)); err != nil {
			t.Errorf("%s: own state refused: %v", c.name, err)
		}
	}
}

func TestConstantSeriesScoresNothing(t *testing.T) {
	m := NewModel(1)
	var v Verdict
	for i := range 2000 {
		m.Observe(Observation{TS: int64(i) * minute, Value: 7, Extreme: 7}, &v)
		if v.Score != 0 || v.Alarm != 0 || v.Severity != NoSeverity || v.Expected != 7 {
			t.Fatalf("row %d: %+v", i, v)
		}
	}
}

func TestWarmUpCountsDown(t *testing.T) {
	m := NewModel(1)
	var v Verdict
	var states []WarmUpState
	for i, o := range synthetic(3, 600) {
		m.Observe(o, &v)
		if len(states) == 0 || states[len(states)-1] != v.WarmUp.State {
			states = append(states, v.WarmUp.State)
		}
		if i < silentRows && v.Score != 0 || v.WarmUp.State == Calibrating && v.RawAlarm != 0 {
			t.Fatalf("row %d speaks in %v", i, v.WarmUp.State)
		}
		if want := max(trustedRows-i-1, 0); v.WarmUp.RowsRemaining != want {
			t.Fatalf("row %d: %d rows remaining, want %d", i, v.WarmUp.RowsRemaining, want)
		}
	}
	if fmt.Sprint(states) != "[warming calibrating learning trusted]" {
		t.Errorf("states %v", states)
	}
}

// The 99 % band covers about that on rows without anomalies, whatever their
// distribution.
func TestBandCoverage(t *testing.T) {
	draws := map[string]func(*splitmix.Source) float64{
		"gauss":   gauss,
		"uniform": func(r *splitmix.Source) float64 { return r.Float64() },
		"skewed":  func(r *splitmix.Source) float64 { return -math.Log(1 - r.Float64()) },
	}
	for name, draw := range draws {
		rng := splitmix.Source{State: 5}
		m := NewModel(1)
		var v Verdict
		inside, n := 0, 0
		for i := range 6000 {
			x := draw(&rng)
			m.Observe(Observation{TS: int64(i) * 5 * minute, Value: x, Extreme: x}, &v)
			if i >= trustedRows {
				n++
				if x >= v.Lower && x <= v.Upper {
					inside++
				}
			}
		}
		if c := float64(inside) / float64(n); c < .98 || c > .998 {
			t.Errorf("%s: coverage %.4f", name, c)
		}
	}
}

func TestStateAndAllocationBudget(t *testing.T) {
	obs := synthetic(2, 12000)
	m := NewModel(2)
	run(m, obs[:11000])
	if n := len(m.AppendState(nil)); n > maxStateBytes {
		t.Errorf("%d state bytes, budget %d", n, maxStateBytes)
	} else {
		t.Logf("%d state bytes, forest resident %d bytes", n, m.pattern.forest.ResidentBytes())
	}
	var v Verdict
	i := 11000
	if n := testing.AllocsPerRun(900, func() { m.Observe(obs[i], &v); i++ }); n != 0 {
		t.Errorf("%v allocations per row", n)
	}
}

func FuzzDecodeState(f *testing.F) {
	for seed := range uint64(3) {
		m := NewModel(seed)
		for k, o := range synthetic(seed, 400) {
			var v Verdict
			m.Observe(o, &v)
			if k == 0 || k == 30 || k == 90 || k == 399 {
				f.Add(m.AppendState(nil))
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := NewModel(1)
		if m.DecodeState(b) != nil {
			return
		}
		var v Verdict
		for _, o := range synthetic(1, 80) {
			m.Observe(o, &v)
			m.Silence(o.TS, m.last, &v)
			_ = v.Explain()
		}
	})
}

func BenchmarkObserve(b *testing.B) {
	obs := synthetic(2, 20000)
	for _, features := range []bool{false, true} {
		b.Run(fmt.Sprintf("features=%v", features), func(b *testing.B) {
			m := NewModel(2)
			var v Verdict
			b.ReportAllocs()
			for i := range b.N {
				o := obs[i%len(obs)]
				o.TS += int64(i/len(obs)) * (obs[len(obs)-1].TS - obs[0].TS + minute)
				if !features {
					o.Features = nil
				}
				m.Observe(o, &v)
			}
			b.ReportMetric(float64(len(m.AppendState(nil))), "state-B")
		})
	}
}

func BenchmarkAppendState(b *testing.B) {
	m := NewModel(2)
	run(m, synthetic(2, 3000))
	var buf []byte
	for range b.N {
		buf = m.AppendState(buf[:0])
	}
}

func BenchmarkDecodeState(b *testing.B) {
	m := NewModel(2)
	run(m, synthetic(2, 3000))
	buf := m.AppendState(nil)
	for range b.N {
		if err := m.DecodeState(buf); err != nil {
			b.Fatal(err)
		}
	}
}
