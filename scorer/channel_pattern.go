package scorer

import (
	"github.com/edgepulse/edgepulse/scorer/forest"
	"github.com/edgepulse/edgepulse/scorer/internal/splitmix"
)

// FeatureNames is the order of Observation.Features: rolling statistics of the
// evaluation's window in the metric's unit (slope per second, missing_rate in
// [0,1], stuck_run in rows). The residual is the model's own, x less its
// forecast; whatever the observation holds in its place is ignored.
var FeatureNames = [...]string{
	"mean", "std", "median", "mad", "min", "max", "range", "slope", "missing_rate", "stuck_run", "last", "residual",
}

const (
	// FeatureCount is the length of Observation.Features.
	FeatureCount = len(FeatureNames)

	residualFeature = FeatureCount - 1
	patternSample   = 64
	patternTrees    = 32
	patternHorizon  = 5000 // rows over which a row of the sample is forgotten
	patternPending  = 24   // most replacements that wait for a refit
	patternRanks    = 128  // past forest scores kept for calibration
	patternWeight   = .8
)

// located marks the features that move with the metric's level.
var located = [FeatureCount]bool{0: true, 2: true, 4: true, 5: true, 10: true}

// patternChannel is the isolation forest over the rolling features: combinations
// that no single feature shows. Alone it detects badly (a residual of two lines
// beats it); it is one voice among the others, weighted below them.
//
// The forest is grown from a reservoir sample of past rows. Replacements of
// sampled rows wait until a batch of them is complete, then the forest is grown
// anew: sample, version and seed are all a snapshot needs to grow it again.
type patternChannel struct {
	sample  []float32 // row-major, patternSample rows at most
	pending []float32 // replacement rows, in order of arrival
	slots   []uint32  // the sample rows they replace
	seen    uint32
	version uint64 // number of forests that the sample has made
	seed    uint64
	rng     splitmix.Source // of its own: features or not, the other channels draw alike
	ranks   calibrator
	forest  forest.Forest // of this version, once grown
	grown   bool
	pinned  *pinned // scores instead; not of this state, but of the metric's record
}

func (p *patternChannel) reset(seed uint64) {
	p.seed, p.rng.State = seed, seed
	p.ranks.sorted = make([]float32, 0, patternRanks)
}

// score judges one row of features by the forest grown before it and offers the
// row to the sample. Without features the channel is silent.
func (p *patternChannel) score(r *row, anchor float64) float64 {
	if len(r.features) != FeatureCount {
		return 0
	}
	f := layFeatures(r.features, r.residual, anchor)
	s := 0.0
	if grown := p.current(); grown != nil {
		// Only the isolated side is news.
		v := grown.Score(f[:])
		s = p.ranks.score(v, &p.rng)
		if v <= p.ranks.quantile(.5) {
			s = 0
		}
	}
	p.offer(f[:])
	return patternWeight * s
}

// layFeatures lays a row out as the forest sees it.
func layFeatures(features []float64, residual, anchor float64) (f [FeatureCount]float32) {
	for i, v := range features {
		switch {
		case i == residualFeature:
			v = residual
		case located[i]:
			v -= anchor
		}
		if finite(v) {
			f[i] = float32(clampMagnitude(v))
		}
	}
	return f
}

// current is the forest that scores: the pinned one, or that of this version, grown
// at its first row after a restore, so that a restart does not wait for all metrics.
// nil before the first.
func (p *patternChannel) current() *forest.Forest {
	switch {
	case p.pinned != nil:
		return p.pinned.grow()
	case p.version == 0:
		return nil
	case !p.grown:
		p.regrow()
	}
	return &p.forest
}

func (p *patternChannel) offer(f []float32) {
	p.seen = min(p.seen+1, patternHorizon)
	if len(p.sample) < patternSample*FeatureCount {
		p.sample = append(p.sample, f...)
	} else if slot := p.rng.Intn(int(p.seen)); slot < patternSample {
		if p.version == 0 { // no forest refers to the sample yet
			copy(p.sample[slot*FeatureCount:], f)
		} else {
			p.pending = append(p.pending, f...)
			p.slots = append(p.slots, uint32(slot))
		}
	}
	if !p.due() {
		return
	}
	for i, slot := range p.slots {
		copy(p.sample[int(slot)*FeatureCount:], p.pending[i*FeatureCount:(i+1)*FeatureCount])
	}
	p.pending, p.slots = p.pending[:0], p.slots[:0]
	p.grow()
}

// due says that the sample makes a new forest: the first one some rows after the
// sample is complete, later ones when enough rows of it were replaced. How many is
// jittered by the metric's seed, so that metrics that started together, as those of
// a new fleet do, do not make their forests together.
func (p *patternChannel) due() bool {
	jitter := splitmix.Mix(p.seed)
	if p.version == 0 {
		return p.seen >= patternSample+uint32(jitter>>8%patternSample)
	}
	return len(p.slots) >= patternPending-int(jitter%8)
}

func (p *patternChannel) grow() {
	p.version++
	if p.grown = false; p.pinned == nil {
		p.regrow()
	}
}

// regrow grows the forest that the sample, the version and the seed describe.
func (p *patternChannel) regrow() {
	p.forest.Fit(p.sample, FeatureCount, forest.Params{Trees: patternTrees, Sample: patternSample}, splitmix.Mix(p.seed^p.version))
	p.grown = true
}

func (p *patternChannel) code(c *coder) {
	c.word64(&p.seed)
	c.word64(&p.rng.State)
	c.uvarint(&p.version)
	c.count(&p.seen, patternHorizon)
	c.rows(&p.sample, FeatureCount, patternSample)
	c.rows(&p.pending, FeatureCount, patternPending)
	n := len(p.pending) / FeatureCount
	if c.reading {
		p.slots = append(p.slots[:0], make([]uint32, n)...)
	}
	for i := range p.slots {
		c.count(&p.slots[i], patternSample-1)
	}
	p.ranks.code(c)
	if p.version > 0 && len(p.sample) < patternSample*FeatureCount {
		c.fail()
	}
}

// ForestVersion is the number of times the metric's sample has made a new forest,
// grown or, behind a pin, not; 0 before its first sample is complete.
func (m *Model) ForestVersion() uint64 { return m.pattern.version }
