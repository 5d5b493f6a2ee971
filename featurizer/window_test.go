package featurizer

import (
	"bytes"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

type point struct {
	ts int64
	v  float64
}

// drawStream draws a stream in order of arrival: regular steps, jitter, gaps,
// bursts, late points, duplicates, conflicts; walks, plateaus, spikes and huge
// offsets.
func drawStream(t *rapid.T, most int) []point {
	step := rapid.SampledFrom([]int64{1_000, 1_000_000, 5_000_000, 60_000_000, 3_600_000_000}).Draw(t, "step")
	offset := rapid.SampledFrom([]float64{0, 1, 1e9, -1e15}).Draw(t, "offset")
	scale := rapid.SampledFrom([]float64{1e-3, 1, 1e6}).Draw(t, "scale")
	n := rapid.IntRange(1, most).Draw(t, "n")
	ts, v := int64(1_700_000_000_000_000), offset
	var out []point
	for range n {
		p := point{}
		switch rapid.IntRange(0, 19).Draw(t, "kind") {
		case 0: // late
			p = point{ts - rapid.Int64Range(1, 20).Draw(t, "late")*step - rapid.Int64Range(0, step).Draw(t, "fraction"), v}
		case 1, 2: // repeat an earlier one, perhaps with another value
			if len(out) == 0 {
				continue
			}
			p = out[len(out)-1-rapid.IntRange(0, min(len(out)-1, 30)).Draw(t, "back")]
			if rapid.Bool().Draw(t, "conflict") {
				p.v += scale
			}
		case 3: // gap
			ts += step * rapid.Int64Range(2, 200).Draw(t, "gap")
			p = point{ts, v}
		case 4: // burst
			ts += 1
			p = point{ts, v}
		case 5: // spike
			ts += step
			p = point{ts, v + scale*rapid.SampledFrom([]float64{1e3, -1e6, 1e12}).Draw(t, "spike")}
		default:
			ts += step + rapid.Int64Range(-step/4, step/4).Draw(t, "jitter")
			v += scale / 1024 * float64(rapid.IntRange(-1024, 1024).Draw(t, "walk")) * float64(rapid.IntRange(0, 2).Draw(t, "moves"))
			p = point{ts, v}
		}
		out = append(out, p)
	}
	return out
}

func near(t *rapid.T, what string, got, want, size float64) {
	t.Helper()
	if !(math.Abs(got-want) <= 1e-9*(math.Abs(want)+size)) {
		t.Fatalf("%s = %v, want %v (off by %g)", what, got, want, got-want)
	}
}

// checkExact compares an unbucketed vector with textbook formulas.
func checkExact(t *rapid.T, v *Vector, ref *naive, at int64) {
	t.Helper()
	at = max(at, ref.newest)
	from := at - ref.span()
	if v.WindowStart != from || v.WindowEnd != at || v.Newest != ref.newest {
		t.Fatalf("span (%d, %d] newest %d, want (%d, %d] %d", v.WindowStart, v.WindowEnd, v.Newest, from, at, ref.newest)
	}
	ts, vs := ref.inside(max(from, ref.gone), at)
	if int(v.Count) != len(vs) {
		t.Fatalf("count %d, want %d", v.Count, len(vs))
	}
	if v.Step != float64(ref.step())/1e6 {
		t.Fatalf("step %v, want %v µs", v.Step, ref.step())
	}
	if int(v.StuckRun) != ref.run() {
		t.Fatalf("stuck run %d, want %d", v.StuckRun, ref.run())
	}
	if len(vs) == 0 {
		return
	}
	m, s := meanStd(vs)
	lo, hi := vs[0], vs[0]
	for _, x := range vs {
		lo, hi = min(lo, x), max(hi, x)
	}
	near(t, "mean", v.Mean, m, s)
	near(t, "std", v.Std, s, 0)
	near(t, "median", v.Median, medianOf(vs), 0)
	near(t, "mad", v.MAD, madOf(vs), 0)
	if v.Min != lo || v.Max != hi || v.Range != hi-lo || v.Last != ref.all[ref.newest] {
		t.Fatalf("min max range last %v %v %v %v, want %v %v", v.Min, v.Max, v.Range, v.Last, lo, hi)
	}
	var secs []float64
	for _, x := range ts {
		secs = append(secs, float64(x-ts[0])/1e6)
	}
	if _, st := meanStd(secs); st > 0 {
		near(t, "slope", v.Slope, slopeOf(ts, vs), s/st)
	} else if v.Slope != 0 {
		t.Fatalf("slope %v", v.Slope)
	}
}

func TestWindowAgainstTextbook(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{Window: rapid.SampledFrom([]time.Duration{5 * time.Second, time.Minute, 300 * time.Second}).Draw(t, "window")}
		w, ref := NewWindow(cfg), newNaive(cfg.Window.Microseconds())
		var v, again Vector
		for _, p := range drawStream(t, 200) {
			if got, want := w.Add(p.ts, p.v), ref.add(p.ts, p.v); got != want {
				t.Fatalf("add %v: %v, want %v", p, got, want)
			}
			at := p.ts
			if rapid.IntRange(0, 9).Draw(t, "tick") == 0 {
				at += ref.span() / 7 * rapid.Int64Range(0, 9).Draw(t, "silence")
			}
			w.Evaluate(at, &v)
			checkExact(t, &v, ref, at)
			if w.Evaluate(at, &again); again != v {
				t.Fatal("evaluating changed the window")
			}
		}
	})
}

// Fast metrics: the buckets' features against all accepted points of the span.
func TestBucketedAgainstTextbook(t *testing.T) {
	bucketed := 0
	rapid.Check(t, func(t *rapid.T) {
		const most = 64
		cfg := Config{Window: 10 * time.Second, MaxSamples: most}
		w := NewWindow(cfg)
		ref := newNaive(cfg.Window.Microseconds())
		offset := rapid.SampledFrom([]float64{0, 1e9}).Draw(t, "offset")
		ts, v := int64(-50_000_000), offset
		var vec Vector
		for range rapid.IntRange(1, 400).Draw(t, "n") {
			kind := rapid.IntRange(0, 99).Draw(t, "kind")
			p := point{}
			switch {
			case kind < 8:
				p = point{ts - rapid.Int64Range(0, 2_000_000).Draw(t, "late"), v}
			case kind == 8:
				ts += rapid.Int64Range(1, 12_000_000).Draw(t, "gap")
				p = point{ts, v}
			case kind == 9:
				ts += 50_000
				p = point{ts, v + 1e6}
			default:
				ts += rapid.Int64Range(1, 100_000).Draw(t, "step")
				v += float64(rapid.IntRange(-1024, 1024).Draw(t, "walk")) / 1024
				p = point{ts, v}
			}
			if _, known := ref.all[p.ts]; known {
				if got := w.Add(p.ts, p.v); got == Late || got == Entered {
					t.Fatalf("a duplicate was %v", got)
				}
			} else if got := w.Add(p.ts, p.v); got == Entered || got == Late {
				ref.all[p.ts] = p.v
				ref.newest = max(ref.newest, p.ts)
			} else if p.ts > ref.newest-1_000_000 && w.Len() < most/2 {
				t.Fatalf("refused %v: %v", p, got)
			}
			w.Evaluate(ts, &vec)
			if want := ref.all[ref.newest]; vec.Last != want || int(vec.StuckRun) != ref.run() {
				t.Fatalf("last %v run %d, want %v %d", vec.Last, vec.StuckRun, want, ref.run())
			}
			_, vs := ref.inside(max(vec.WindowStart, w.covered), vec.WindowEnd)
			if int(vec.Count) != len(vs) {
				t.Fatalf("count %d, want %d (bucketed %v)", vec.Count, len(vs), vec.Bucketed)
			}
			if !vec.Bucketed {
				continue
			}
			bucketed++
			m, s := meanStd(vs)
			near(t, "mean", vec.Mean, m, s)
			near(t, "std", vec.Std, s, 0)
			near(t, "max-min", vec.Range, vec.Max-vec.Min, 0)
			if len(w.buckets.list) > most/4+2 || w.Len() > most/2 {
				t.Fatalf("%d buckets, %d samples", len(w.buckets.list), w.Len())
			}
			var means []float64
			for lo := vec.WindowStart; lo < vec.WindowEnd; lo += w.buckets.width {
				if _, in := ref.inside(max(lo, w.covered), lo+w.buckets.width); len(in) > 0 {
					m, _ := meanStd(in)
					means = append(means, m)
				}
			}
			near(t, "median", vec.Median, medianOf(means), 0)
			near(t, "mad", vec.MAD, madOf(means), s)
		}
	})
	if bucketed == 0 {
		t.Error("no stream was bucketed")
	}
}

// A restart at every position continues bit for bit.
func TestRestartAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{Window: 20 * time.Second, MaxSamples: 32}
		stream := drawStream(t, 150)
		straight, restarted := NewWindow(cfg), NewWindow(cfg)
		var a, b Vector
		for i, p := range stream {
			if x, y := straight.Add(p.ts, p.v), restarted.Add(p.ts, p.v); x != y {
				t.Fatalf("point %d: %v, after restarts %v", i, x, y)
			}
			state := restarted.AppendState(nil)
			if !bytes.Equal(state, straight.AppendState(nil)) {
				t.Fatalf("point %d: states differ", i)
			}
			restarted = NewWindow(cfg)
			if err := restarted.DecodeState(state); err != nil {
				t.Fatalf("point %d: %v", i, err)
			}
			straight.Evaluate(p.ts, &a)
			restarted.Evaluate(p.ts, &b)
			if a != b {
				t.Fatalf("point %d:\n%+v\n%+v", i, a, b)
			}
		}
	})
}

// Millions of slides over a large offset, with outliers that pass through, must
// not wear the sums out.
func TestNoDrift(t *testing.T) {
	w := NewWindow(Config{})
	x := uint64(1)
	var v Vector
	ts := int64(0)
	for i := range 2_000_000 {
		x = x*6364136223846793005 + 1442695040888963407
		value := 1e9 + float64(int64(x>>33)-1<<30)/(1<<30)
		if i%5_003 == 0 {
			value = 1e15
		}
		ts += 1_000_000
		w.Add(ts, value)
		if w.sums.ops > 2*w.sums.n+18 {
			t.Fatalf("point %d: %v operations without a rebuild", i, w.sums.ops)
		}
		if i%9_973 != 0 {
			continue
		}
		w.Evaluate(ts, &v)
		var vs []float64
		for _, s := range w.samples.live() {
			vs = append(vs, s.value)
		}
		m, s := meanStd(vs)
		if math.Abs(v.Mean-m) > 1e-9*s || math.Abs(v.Std-s) > 1e-9*s {
			t.Fatalf("point %d: mean %v std %v, want %v %v", i, v.Mean, v.Std, m, s)
		}
	}
}

func TestUnusable(t *testing.T) {
	w := NewWindow(Config{})
	w.Add(10, 1)
	before := w.AppendState(nil)
	for _, p := range []point{{11, math.NaN()}, {11, math.Inf(1)}, {11, math.Inf(-1)}, {11, 1e151}, {1<<60 + 1, 0}, {math.MinInt64, 0}, {math.MaxInt64, 0}} {
		if got := w.Add(p.ts, p.v); got != Unusable {
			t.Errorf("%v: %v", p, got)
		}
	}
	if !bytes.Equal(before, w.AppendState(nil)) {
		t.Error("an unusable point changed the state")
	}
	w.Add(20, math.Copysign(0, -1))
	if w.Add(20, 0) != Duplicate || math.Signbit(w.samples.last()) {
		t.Error("-0 is not 0")
	}
}

// A window that is bucketed becomes exact again when the metric slows down.
func TestExactAgain(t *testing.T) {
	w := NewWindow(Config{})
	var v Vector
	ts := int64(0)
	for i := range 100_000 {
		ts += 1_000
		w.Add(ts, float64(i%7))
	}
	if w.Evaluate(ts, &v); !v.Bucketed || v.Count != 100_000 || v.Std < 1.9 {
		t.Fatalf("%+v", v)
	}
	for i := range 300 {
		ts += 2_000_000
		w.Add(ts, float64(i%7))
	}
	if w.Evaluate(ts, &v); v.Bucketed || v.Count != 150 || v.Step != 2 {
		t.Fatalf("%+v", v)
	}
}

// A slow metric's window widens to 12 steps.
func TestSlowMetric(t *testing.T) {
	w := NewWindow(Config{})
	var v Vector
	for i := range 40 {
		w.Add(int64(i)*3_600_000_000, float64(i))
	}
	w.Evaluate(0, &v)
	if v.Count != 12 || v.Step != 3600 || v.MissingRate != 0 || math.Abs(v.Slope-1.0/3600) > 1e-12 || v.WindowEnd-v.WindowStart != 12*3_600_000_000 {
		t.Fatalf("%+v", v)
	}
}

// A constant metric restarts too, however long it was constant.
func TestConstantForLong(t *testing.T) {
	w := NewWindow(Config{})
	for i := range int64(20_000) {
		w.Add(i*10_000_000, 7.3)
	}
	if err := NewWindow(Config{}).DecodeState(w.AppendState(nil)); err != nil {
		t.Fatal(err)
	}
	var v Vector
	w.Evaluate(0, &v)
	if v.Mean != 7.3 || v.Std != 0 || v.Slope != 0 || v.StuckRun != 20_000 || v.LowVariance {
		t.Fatalf("%+v", v)
	}
}
