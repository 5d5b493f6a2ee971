package scorer

import (
	"cmp"
	"math"
	"slices"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/scorer/forest"
)

// Description is a model for people: how large its forest is and what it splits on.
type Description struct {
	Rows      int // of the sample
	Trees     int
	Nodes     int
	MeanDepth float64 // of the leaves
	Features  []FeatureShape
}

// FeatureShape is one feature in a model. Min and Max are those of the sample, in the
// metric's unit.
type FeatureShape struct {
	Name       string
	Min, Max   float64
	SplitShare float64 // of all splits of the forest
	SplitDepth float64 // mean depth of its splits: 0 is a root, which asks first
}

// Describe reads an artefact. Without an anchor, the features that move with the
// level stand relative to the metric's first value.
func Describe(b []byte, anchor *float64) (Description, error) {
	a, err := decodeArtefact(b)
	if err != nil {
		return Description{}, err
	}
	if a.features != FeatureCount {
		return Description{}, ErrFeatures
	}
	shape := a.grow().Shape()
	d := Description{Rows: a.rows(), Trees: a.trees, Nodes: shape.Nodes, MeanDepth: shape.Depth}
	for i, name := range FeatureNames {
		f := FeatureShape{Name: name, Min: math.Inf(1), Max: math.Inf(-1), SplitShare: float64(shape.Splits[i]) / float64(max(shape.AllSplits, 1)), SplitDepth: shape.SplitsAt[i]}
		for k := i; k < len(a.sample); k += a.features {
			v := float64(a.sample[k])
			f.Min, f.Max = min(f.Min, v), max(f.Max, v)
		}
		if anchor != nil && located[i] {
			f.Min, f.Max = f.Min+*anchor, f.Max+*anchor
		}
		d.Features = append(d.Features, f)
	}
	return d, nil
}

// CompareWarmUp is how many evaluations before those that count a comparison wants:
// the other channels have to find their feet.
const CompareWarmUp = trustedRows

// comparedMost bounds the instants that a comparison names.
const comparedMost = 10

// Opinion is what a model makes of one evaluation.
type Opinion struct {
	Forest   float64 // (0,1], of the forest alone
	Score    float64 // [0,1], of all channels
	Severity Severity
}

// Instant is one evaluation in the eyes of two models.
type Instant struct {
	TS       int64
	Value    float64
	From, To Opinion
}

// Difference of two models over the evaluations that were compared, absolute.
type Difference struct{ Mean, Max float64 }

// Comparison is what a change of a metric's forest changes.
type Comparison struct {
	Count          int
	Forest, Score  Difference
	WarnFrom       int // evaluations of severity warning or above
	WarnTo         int
	WarnChanged    int       // that cross the threshold of a warning, up or down
	LargestChanges []Instant // at most ten, the largest difference of scores first
}

// Compare scores a metric's evaluations, oldest first, as if the one forest and as if
// the other had been pinned, and compares the last count of them. Everything but the
// forests is alike: both begin with an empty model and learn from the evaluations
// before. anchor is the one of the artefacts; the residual among o.Features is made anew.
func Compare(metric schemas.ID, from, to []byte, anchor float64, obs []Observation, count int) (Comparison, error) {
	var c Comparison
	a, err := newOpinions(metric, from)
	if err != nil {
		return c, err
	}
	b, err := newOpinions(metric, to)
	if err != nil {
		return c, err
	}
	first := 0.0
	if len(obs) > 0 {
		first = clampMagnitude(obs[0].Value)
	}
	var all []Instant
	for i, o := range obs {
		// A fresh model is anchored at the first value that it sees, the artefacts
		// at the first that the metric ever had.
		o.Features = slices.Clone(o.Features)
		for k := range o.Features {
			if located[k] {
				o.Features[k] += first - anchor
			}
		}
		at := Instant{TS: o.TS, Value: o.Value, From: a.of(o), To: b.of(o)}
		if i >= len(obs)-count {
			all = append(all, at)
		}
	}
	c.sum(all)
	return c, nil
}

func (c *Comparison) sum(all []Instant) {
	c.Count = len(all)
	for i := range all {
		at := &all[i]
		c.Forest.add(at.From.Forest-at.To.Forest, len(all))
		c.Score.add(at.From.Score-at.To.Score, len(all))
		was, is := at.From.Severity >= Warning, at.To.Severity >= Warning
		if was {
			c.WarnFrom++
		}
		if is {
			c.WarnTo++
		}
		if was != is {
			c.WarnChanged++
		}
	}
	slices.SortStableFunc(all, func(x, y Instant) int {
		return cmp.Or(cmp.Compare(y.score(), x.score()), cmp.Compare(y.forest(), x.forest()), cmp.Compare(y.TS, x.TS))
	})
	c.LargestChanges = all[:min(len(all), comparedMost)]
}

func (d *Difference) add(v float64, n int) {
	v = math.Abs(v)
	d.Mean += v / float64(n)
	d.Max = max(d.Max, v)
}

func (i *Instant) score() float64  { return math.Abs(i.From.Score - i.To.Score) }
func (i *Instant) forest() float64 { return math.Abs(i.From.Forest - i.To.Forest) }

// opinions asks a model that scores with one forest throughout.
type opinions struct {
	model   *Model
	forest  *forest.Forest
	verdict Verdict
}

func newOpinions(metric schemas.ID, artefact []byte) (*opinions, error) {
	d, err := decodeArtefact(artefact)
	if err != nil {
		return nil, err
	}
	if d.features != FeatureCount {
		return nil, ErrFeatures
	}
	m := NewModel(seedOf(metric))
	m.Pin(artefact)
	return &opinions{model: m, forest: m.pattern.pinned.grow()}, nil
}

func (p *opinions) of(o Observation) Opinion {
	p.model.Observe(o, &p.verdict)
	f := layFeatures(o.Features, p.model.row.residual, p.model.anchor)
	return Opinion{Forest: p.forest.Score(f[:]), Score: p.verdict.Score, Severity: p.verdict.Severity}
}
