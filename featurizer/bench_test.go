package featurizer

import (
	"math"
	"testing"
)

// shapes of metrics that the benchmarks run.
var shapes = []struct {
	name   string
	step   int64 // microseconds
	jitter int64
}{
	{"1s-300samples", 1_000_000, 50_000},
	{"10s-30samples", 10_000_000, 200_000},
	{"1h-12samples", 3_600_000_000, 1_000_000},
	{"600ms-500samples", 600_000, 0},
	{"1kHz-bucketed", 1_000, 100},
}

type feed struct {
	ts, step, jitter int64
	x                uint64
}

func (f *feed) next() (int64, float64) {
	f.x = f.x*6364136223846793005 + 1442695040888963407
	f.ts += f.step
	ts := f.ts
	if f.jitter > 0 {
		ts += int64(f.x>>40) % f.jitter
	}
	return ts, 20 + math.Float64frombits(1023<<52|f.x>>12)
}

func filled(step, jitter int64) (*Window, *feed) {
	w, f := NewWindow(Config{}), &feed{step: step, jitter: jitter}
	for range 700_000 {
		w.Add(f.next())
		if f.ts > 2*w.span() && f.ts > 1500*step {
			break
		}
	}
	return w, f
}

func BenchmarkAdd(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			w, f := filled(s.step, s.jitter)
			b.ReportAllocs()
			for b.Loop() {
				w.Add(f.next())
			}
		})
	}
}

// BenchmarkAddHard feeds what makes sums be rebuilt and samples be moved.
func BenchmarkAddHard(b *testing.B) {
	for name, value := range map[string]func(i int, x float64) float64{
		"constant":        func(int, float64) float64 { return 7.3 },
		"outlier-each-3":  func(i int, x float64) float64 { return x + float64(b2u(i%3 == 0))*1e12 },
		"outlier-per-305": func(i int, x float64) float64 { return 1e9 + x + float64(b2u(i%305 == 0))*1e12 },
		"fading":          func(i int, x float64) float64 { return x * math.Pow(.5, float64(i%900)) },
	} {
		b.Run(name, func(b *testing.B) {
			w, f := filled(1_000_000, 50_000)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				ts, x := f.next()
				i++
				w.Add(ts, value(i, x))
			}
		})
	}
	b.Run("half-late", func(b *testing.B) {
		w, f := filled(1_000_000, 50_000)
		b.ReportAllocs()
		for b.Loop() {
			ts, x := f.next()
			w.Add(ts, x)
			w.Add(ts-100_500_000, x)
		}
	})
}

func BenchmarkEvaluate(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			w, f := filled(s.step, s.jitter)
			var v Vector
			b.ReportAllocs()
			for b.Loop() {
				w.Evaluate(f.ts, &v)
			}
		})
	}
	b.Run("tick-300samples", func(b *testing.B) {
		w, f := filled(1_000_000, 50_000)
		var v Vector
		b.ReportAllocs()
		for b.Loop() {
			w.Evaluate(f.ts+30_000_000, &v)
		}
	})
}

func BenchmarkState(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			w, _ := filled(s.step, s.jitter)
			var state []byte
			b.ReportAllocs()
			for b.Loop() {
				state = w.AppendState(state[:0])
			}
			b.ReportMetric(float64(len(state)), "state-B")
		})
	}
}
