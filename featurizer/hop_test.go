package featurizer

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Every point that isn't behind the last instant belongs to exactly one hop;
// instants are the first points at or after a boundary; mean and extremes are
// those of the hop's points, whatever restarts happen in between.
func TestHop(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		step := rapid.Int64Range(1_000, 3_000_000).Draw(t, "step")
		h := &Hop{}
		var waiting []float64
		ts, last, offered := rapid.Int64Range(-5_000_000, 5_000_000).Draw(t, "start"), int64(math.MinInt64), false
		for range rapid.IntRange(1, 100).Draw(t, "n") {
			late := offered && rapid.IntRange(0, 9).Draw(t, "late") == 0
			at := ts
			if late {
				at -= rapid.Int64Range(1, 2_000_000).Draw(t, "by")
			} else {
				ts += rapid.Int64Range(1, 2*step).Draw(t, "dt")
				at = ts
			}
			offered = true
			v := float64(rapid.IntRange(-50, 50).Draw(t, "v"))
			if at > last {
				waiting = append(waiting, v)
			}
			restored := &Hop{}
			if err := restored.DecodeState(h.AppendState(nil)); err != nil || *restored != *h {
				t.Fatal("state", err)
			}
			h = restored
			boundary := math.Floor(float64(at)/1e6) > math.Floor(float64(last)/1e6)
			want := !late && (last == math.MinInt64 || boundary || step >= 750_000)
			if got := h.Point(time.Second, 0, step, at, v, late); got != want {
				t.Fatalf("at %d: instant %v, want %v", at, got, want)
			}
			if !want {
				if int(h.Pending()) != len(waiting) {
					t.Fatalf("pending %d, want %d", h.Pending(), len(waiting))
				}
				continue
			}
			mean, _ := meanStd(waiting)
			expected := rapid.Float64Range(-60, 60).Draw(t, "expected")
			far := 0.0
			for _, x := range waiting {
				far = max(far, math.Abs(x-expected))
			}
			if int(h.Count()) != len(waiting) || math.Abs(h.Mean()-mean) > 1e-9 || math.Abs(h.Extreme(expected)-expected) != far || h.Pending() != 0 {
				t.Fatalf("%+v for %v", h, waiting)
			}
			last, waiting = at, nil
		}
	})
}

// Metrics of one fast rhythm are evaluated in four moments of a second, each metric once
// in each second, at its own.
func TestPhasesSpreadAFleet(t *testing.T) {
	moments := map[int64]int{}
	for id := range byte(100) {
		metric := []byte{0xab, id}
		phase := Phase(metric, time.Second)
		h, instants := &Hop{}, 0
		for ts := int64(0); ts < 60_000_000; ts += 10_000 {
			if h.Point(time.Second, phase, 10_000, ts, 1, false) && ts > 0 {
				instants++
				moments[ts%1_000_000]++
			}
		}
		if instants < 59 || instants > 60 {
			t.Fatalf("metric %d: %d instants in a minute", id, instants)
		}
	}
	if len(moments) != 4 {
		t.Errorf("moments %v, want four", moments)
	}
	for at, n := range moments {
		if n < 1200 || n > 1800 {
			t.Errorf("%d of 6000 evaluations at %d µs", n, at)
		}
	}
}

// With few points in a hop, all metrics are evaluated at the same instants: the first
// point of each hop, whatever their phase.
func TestPhasesNeedManyPoints(t *testing.T) {
	for id := range byte(4) {
		h, instants := &Hop{}, 0
		for ts := int64(0); ts < 60_000_000; ts += 200_000 {
			if h.Point(time.Second, Phase([]byte{id}, time.Second), 200_000, ts, 1, false) {
				instants++
				if ts%1_000_000 != 0 {
					t.Fatalf("metric %d: an instant at %d µs", id, ts)
				}
			}
		}
		if instants != 60 {
			t.Errorf("metric %d: %d instants in a minute", id, instants)
		}
	}
}
