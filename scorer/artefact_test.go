package scorer

import (
	"math"
	"testing"
)

// TestArtefactGrowsTheSameForest compares the forest of an artefact with the
// model's own, and expects another artefact after a refit.
func TestArtefactGrowsTheSameForest(t *testing.T) {
	m := NewModel(7)
	var v Verdict
	var first []byte
	refits := uint64(0)
	for i := range 1500 {
		x := math.Sin(float64(i)/20) + float64(i*7919%101)/100
		f := make([]float64, FeatureCount)
		for j := range f {
			f[j] = x * float64(j+1)
		}
		m.Observe(Observation{TS: int64(i) * 60e6, Value: x, Extreme: x, Features: f}, &v)
		if m.ForestVersion() == refits {
			continue
		}
		refits = m.ForestVersion()
		grown, err := GrowArtefact(m.Artefact())
		if err != nil {
			t.Fatal(err)
		}
		row := m.pattern.sample[:FeatureCount]
		if got, want := grown.Score(row), m.pattern.forest.Score(row); got != want {
			t.Fatalf("refit %d: the artefact's forest says %v, the model's %v", refits, got, want)
		}
		if refits == 1 {
			first = m.Artefact()
		}
	}
	if refits < 2 || string(first) == string(m.Artefact()) {
		t.Fatalf("%d refits, artefact unchanged: %v", refits, string(first) == string(m.Artefact()))
	}
	for _, bad := range [][]byte{nil, first[:10], first[:len(first)-1], append([]byte("XXXXXXXX"), first[8:]...)} {
		if _, err := GrowArtefact(bad); err == nil {
			t.Fatalf("%d damaged bytes were taken", len(bad))
		}
	}
}
