package scorer

import (
	"bytes"
	"math"
	"testing"

	"github.com/edgepulse/edgepulse/schemas"
)

// A metric whose level has moved since one of its models was made: the comparison
// must see it, in the unit of the metric.
func TestCompareModels(t *testing.T) {
	obs := synthetic(1, 3000)
	b := newPinBench(t)
	list, _ := b.learn(obs, 6)
	m, _ := b.fold.metrics.Get(b.metric)
	anchor := m.model.Anchor()
	if anchor != obs[0].Value {
		t.Fatalf("anchor %v, the first value was %v", anchor, obs[0].Value)
	}
	recent := obs[1000:]
	c, err := Compare(b.metric, list[0], list[5], anchor, recent, 800)
	if err != nil {
		t.Fatal(err)
	}
	if c.Count != 800 || !(c.Forest.Mean > .001 && c.Forest.Max > c.Forest.Mean && c.Score.Max > 0) || len(c.LargestChanges) != comparedMost {
		t.Fatalf("%+v", c)
	}
	top := c.LargestChanges[0]
	if math.Abs(top.From.Score-top.To.Score) != c.Score.Max {
		t.Errorf("the first instant is not the largest difference: %+v, %+v", top, c.Score)
	}
	for _, at := range c.LargestChanges {
		if at.TS < recent[len(recent)-800].TS-minute*200 || at.From.Forest <= 0 || at.From.Forest > 1 {
			t.Errorf("%+v", at)
		}
	}
	same, err := Compare(b.metric, list[2], list[2], anchor, recent, 5000)
	if err != nil || same.Count != len(recent) || same.Forest.Max != 0 || same.Score.Max != 0 || same.WarnChanged != 0 || same.WarnFrom != same.WarnTo {
		t.Errorf("a model against itself: %+v, %v", same, err)
	}
	none, err := Compare(b.metric, list[0], list[1], anchor, nil, 100)
	if err != nil || none.Count != 0 || none.Forest != (Difference{}) || len(none.LargestChanges) != 0 {
		t.Errorf("nothing to compare: %+v, %v", none, err)
	}
	if _, err := Compare(b.metric, list[0], []byte("model"), anchor, recent, 10); err == nil {
		t.Error("what is no artefact was compared")
	}
}

// What the forest says of a row in a comparison is what it says in the fold,
// although the models of a comparison begin in the middle of the metric's life.
func TestCompareSeesRowsAsTheFoldDoes(t *testing.T) {
	obs := synthetic(2, 2500)
	for i := range obs { // far from zero and from its own beginning: an anchor matters
		shift := 5000 + 3*float64(i)
		obs[i].Value += shift
		obs[i].Extreme += shift
		for k := range obs[i].Features {
			if located[k] {
				obs[i].Features[k] += shift
			}
		}
	}
	m := NewModel(seedOf(schemas.ID{7}))
	run(m, obs[:1500])
	artefact := m.Artefact()
	grown, err := GrowArtefact(artefact)
	if err != nil {
		t.Fatal(err)
	}
	want := map[int64]float64{}
	var v Verdict
	for _, o := range obs[1500:] {
		m.Observe(o, &v)
		f := layFeatures(o.Features, m.row.residual, m.anchor)
		want[o.TS] = grown.Score(f[:])
	}
	c, err := Compare(schemas.ID{7}, artefact, artefact, m.Anchor(), obs[900:], 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range c.LargestChanges {
		if got := at.From.Forest; math.Abs(got-want[at.TS]) > .03 { // the forecast, and so one feature of twelve, is of a younger model
			t.Errorf("%d: the comparison says %v, the fold %v", at.TS, got, want[at.TS])
		}
	}
}

func TestDescribe(t *testing.T) {
	b := newPinBench(t)
	list, _ := b.learn(synthetic(1, 2000), 3)
	m, _ := b.fold.metrics.Get(b.metric)
	anchor := m.model.Anchor()
	d, err := Describe(list[2], &anchor)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := Describe(list[2], nil)
	if err != nil {
		t.Fatal(err)
	}
	share := 0.0
	for i, f := range d.Features {
		share += f.SplitShare
		offset := 0.0
		if located[i] {
			offset = anchor
		}
		if f.Name != FeatureNames[i] || f.Min > f.Max || f.Min != bare.Features[i].Min+offset || f.SplitDepth < 0 || f.SplitDepth > 6 {
			t.Errorf("%+v", f)
		}
	}
	if d.Rows != patternSample || d.Trees != patternTrees || len(d.Features) != FeatureCount || math.Abs(share-1) > 1e-9 || d.MeanDepth < 3 || d.MeanDepth > 6 ||
		d.Nodes < patternTrees*20 {
		t.Errorf("%+v, shares sum to %v", d, share)
	}
	if _, err := Describe(bytes.Repeat([]byte{1}, 3000), nil); err == nil {
		t.Error("what is no artefact was described")
	}
}
