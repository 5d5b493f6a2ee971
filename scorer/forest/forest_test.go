package forest

import (
	"math"
	"testing"

	"github.com/edgepulse/edgepulse/scorer/internal/splitmix"
)

func gaussian(n, cols int, seed uint64) []float32 {
	rng := splitmix.Source{State: seed}
	rows := make([]float32, n*cols)
	for i := range rows {
		var s float64
		for range 12 {
			s += rng.Float64()
		}
		rows[i] = float32(s - 6)
	}
	return rows
}

func TestConstantDataScoresHalf(t *testing.T) {
	rows := make([]float32, 300*3)
	for i := range rows {
		rows[i] = 7
	}
	var f Forest
	f.Fit(rows, 3, Params{}, 1)
	if got := f.Score([]float32{7, 7, 7}); got != .5 {
		t.Errorf("constant data scores %v, want .5", got)
	}
}

func TestConstantColumnIsNeverChosen(t *testing.T) {
	rows := gaussian(400, 3, 2)
	for i := 1; i < len(rows); i += 3 {
		rows[i] = 4
	}
	var f Forest
	f.Fit(rows, 3, Params{}, 3)
	for i, n := range f.nodes {
		if n.threshold == n.threshold && n.feature == 1 {
			t.Fatalf("node %d splits the constant column", i)
		}
	}
}

func TestDegenerateSizes(t *testing.T) {
	var f Forest
	if got := f.Score(nil); got != .5 {
		t.Errorf("empty forest scores %v", got)
	}
	f.Fit([]float32{1, 2}, 2, Params{}, 1)
	if got := f.Score([]float32{9, 9}); got != .5 {
		t.Errorf("one-row forest scores %v", got)
	}
	f.Fit(nil, 2, Params{}, 1)
	if f.Trees() != 0 || f.Cols() != 0 {
		t.Error("an empty matrix leaves trees behind")
	}
}

func TestHostileValuesStayFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	rows := gaussian(64, 2, 5)
	rows[0], rows[3], rows[7], rows[9] = nan, math.MaxFloat32, -math.MaxFloat32, inf
	var f Forest
	f.Fit(rows, 2, Params{Trees: 20, Sample: 64}, 9)
	for _, row := range [][]float32{{nan, nan}, {inf, -inf}, {math.MaxFloat32, 0}} {
		if s := f.Score(row); !(s > 0 && s <= 1) {
			t.Errorf("row %v scores %v", row, s)
		}
	}
}

func TestEqualSeedsGiveEqualBits(t *testing.T) {
	rows := gaussian(500, 4, 6)
	var a, b Forest
	b.Fit(gaussian(90, 2, 1), 2, Params{}, 77) // a used forest must grow like a new one
	a.Fit(rows, 4, Params{}, 5)
	b.Fit(rows, 4, Params{}, 5)
	x, y := make([]float64, 500), make([]float64, 500)
	a.ScoreBatch(rows, x)
	b.ScoreBatch(rows, y)
	for i := range x {
		if x[i] != y[i] || x[i] != a.Score(rows[i*4:i*4+4]) {
			t.Fatalf("row %d: %v, %v", i, x[i], y[i])
		}
	}
	if b.Fit(rows, 4, Params{}, 6); a.Score(rows) == b.Score(rows) {
		t.Error("another seed gives the same forest")
	}
}

func TestRefitAllocatesNothing(t *testing.T) {
	rows := gaussian(64, 12, 6)
	var f Forest
	seed := uint64(0)
	for range 50 {
		f.Fit(rows, 12, Params{Trees: 32, Sample: 64}, seed)
		seed++
	}
	if n := testing.AllocsPerRun(20, func() {
		f.Fit(rows, 12, Params{Trees: 32, Sample: 64}, 7)
		f.Score(rows)
	}); n != 0 {
		t.Errorf("%v allocations per refit", n)
	}
}

func BenchmarkFit(b *testing.B) {
	rows := gaussian(100000, 10, 1)
	var f Forest
	for i := range b.N {
		f.Fit(rows, 10, Params{}, uint64(i))
	}
}

func BenchmarkFitMetric(b *testing.B) {
	rows := gaussian(64, 12, 1)
	var f Forest
	for i := range b.N {
		f.Fit(rows, 12, Params{Trees: 32, Sample: 64}, uint64(i))
	}
}

func BenchmarkScoreRow(b *testing.B) {
	rows := gaussian(4096, 10, 1)
	var f Forest
	f.Fit(rows, 10, Params{}, 1)
	b.ReportAllocs()
	for i := range b.N {
		k := (i & 4095) * 10
		f.Score(rows[k : k+10])
	}
}

func BenchmarkScoreRowMetric(b *testing.B) {
	rows := gaussian(4096, 12, 1)
	var f Forest
	f.Fit(rows[:64*12], 12, Params{Trees: 32, Sample: 64}, 1)
	for i := range b.N {
		k := (i & 4095) * 12
		f.Score(rows[k : k+12])
	}
	b.ReportMetric(float64(f.ResidentBytes()), "resident-B")
}

func BenchmarkScoreBatch(b *testing.B) {
	const n = 16384
	rows := gaussian(n, 10, 1)
	out := make([]float64, n)
	var f Forest
	f.Fit(rows, 10, Params{}, 1)
	b.ResetTimer()
	for range b.N {
		f.ScoreBatch(rows, out)
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
