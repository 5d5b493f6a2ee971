// Package forest is an isolation forest (Liu, Ting, Zhou: "Isolation Forest",
// ICDM 2008), held to scikit-learn's IsolationForest.
//
// In: a row-major float32 matrix and a seed. Out: a score in (0,1] per row,
// higher is more isolated; .5 is what data without structure scores.
// Order: rows may come in any order, but the forest depends on it through the
// seeded sampling; equal (data, parameters, seed) give equal forests to the bit.
// State: the nodes alone; a forest is re-grown from its sample and seed, never
// stored. Failure: none; NaN in a row follows the right branch everywhere.
//
// The layers, each using only those before it:
//
//	store.go    flat nodes, path lengths, c(n)
//	sampler.go  psi rows without replacement
//	tree.go     one tree grown in place over a list of row indices
//	score.go    one row, or a batch four rows abreast
package forest

import "github.com/edgepulse/edgepulse/scorer/internal/splitmix"

// MaxSample bounds psi so that a leaf's size fits its node (see store.go).
const MaxSample = 4096

// Params are the sizes of a forest. Zero values mean 100 trees of 256 rows, the
// paper's and scikit-learn's defaults.
type Params struct {
	Trees  int // number of trees
	Sample int // psi: rows per tree, at most MaxSample
}

func (p Params) withDefaults() Params {
	if p.Trees <= 0 {
		p.Trees = 100
	}
	if p.Sample <= 0 {
		p.Sample = 256
	}
	p.Sample = min(p.Sample, MaxSample)
	return p
}

// Forest is a grown forest over rows of a fixed width. The zero value is empty
// and scores .5; Fit fills it and may be called again, reusing its memory.
type Forest struct {
	cols  int
	psi   int
	nodes []node
	roots []int32 // first node of each tree, ascending
	depth []uint8 // edges on the longest path of each tree
	grow  grower
}

// Cols is the row width the forest was fitted on; 0 when empty.
func (f *Forest) Cols() int { return f.cols }

// Trees is the number of trees; 0 when empty.
func (f *Forest) Trees() int { return len(f.roots) }

// ResidentBytes is the memory the nodes hold.
func (f *Forest) ResidentBytes() int { return cap(f.nodes)*nodeBytes + cap(f.roots)*4 + cap(f.depth) }

// Fit grows the forest on rows, a row-major matrix of len(rows)/cols rows. An
// empty matrix empties the forest. The rows are not retained.
func (f *Forest) Fit(rows []float32, cols int, p Params, seed uint64) {
	p = p.withDefaults()
	f.nodes, f.roots, f.depth = f.nodes[:0], f.roots[:0], f.depth[:0]
	f.cols, f.psi = cols, 0
	if cols <= 0 || len(rows) < cols {
		f.cols = 0
		return
	}
	n := len(rows) / cols
	f.psi = min(p.Sample, n)
	rng := splitmix.Source{State: seed}
	s := newSampler(n, f.grow.order)
	f.grow.begin(rows, cols, f.psi)
	for range p.Trees {
		drawn := s.draw(f.psi, &rng)
		f.roots = append(f.roots, int32(len(f.nodes)))
		var d int
		f.nodes, d = f.grow.tree(f.nodes, drawn, &rng)
		f.depth = append(f.depth, uint8(d))
	}
	f.grow.order, f.grow.rows = s.order, nil
}
