package forest

import (
	"math"

	"github.com/edgepulse/edgepulse/scorer/internal/splitmix"
)

// grower holds what growing a tree needs beside the nodes; it exists so that a
// refit allocates nothing once its buffers have grown.
type grower struct {
	rows    []float32
	cols    int
	limit   int
	order   []int32
	columns []uint16 // candidates of the current node in front, constants behind
}

func (g *grower) begin(rows []float32, cols, psi int) {
	g.rows, g.cols, g.limit = rows, cols, heightLimit(psi)
	if cap(g.columns) < cols {
		g.columns = make([]uint16, cols)
	}
	g.columns = g.columns[:cols]
	for i := range g.columns {
		g.columns[i] = uint16(i)
	}
}

// tree appends one tree over the drawn rows to nodes and returns its depth.
func (g *grower) tree(nodes []node, drawn []int32, rng *splitmix.Source) ([]node, int) {
	return g.split(nodes, len(nodes), drawn, 0, g.cols, rng)
}

// split appends the subtree over drawn, permuting it. Of g.columns the first
// `usable` may still vary; a column constant here is constant in all subtrees,
// so the narrowed count is handed down.
func (g *grower) split(nodes []node, root int, drawn []int32, depth, usable int, rng *splitmix.Source) ([]node, int) {
	self := len(nodes) - root
	if len(drawn) <= 1 || depth >= g.limit {
		return append(nodes, leaf(self, depth, len(drawn))), depth
	}
	column, threshold, usable := g.choose(drawn, usable, rng)
	if usable == 0 {
		return append(nodes, leaf(self, depth, len(drawn))), depth
	}
	cut := g.partition(drawn, column, threshold)
	nodes = append(nodes, node{threshold: threshold, feature: uint16(column)})
	nodes, left := g.split(nodes, root, drawn[:cut], depth+1, usable, rng)
	nodes[root+self].right = uint16(len(nodes) - root)
	nodes, right := g.split(nodes, root, drawn[cut:], depth+1, usable, rng)
	return nodes, max(left, right)
}

// choose draws a column uniformly among those that vary over drawn, and a
// threshold uniform in [min, max). It returns how many candidates are left; 0
// when every column is constant.
func (g *grower) choose(drawn []int32, usable int, rng *splitmix.Source) (column int, threshold float32, left int) {
	for usable > 0 {
		k := rng.Intn(usable)
		column = int(g.columns[k])
		lo, hi := g.bounds(drawn, column)
		if lo < hi {
			return column, cutBetween(lo, hi, rng), usable
		}
		usable--
		g.columns[k], g.columns[usable] = g.columns[usable], g.columns[k]
	}
	return 0, 0, 0
}

func (g *grower) bounds(drawn []int32, column int) (lo, hi float32) {
	lo, hi = float32(math.Inf(1)), float32(math.Inf(-1))
	for _, i := range drawn {
		v := g.rows[int(i)*g.cols+column]
		if v < lo {
			lo = v
		}
		if v > hi {
			hi = v
		}
	}
	return lo, hi
}

// cutBetween draws uniformly in float64 and rounds down to float32: for a
// float32 x, x <= t and x <= floor32(t) are the same question, so the narrower
// threshold loses nothing against a reference that keeps float64.
func cutBetween(lo, hi float32, rng *splitmix.Source) float32 {
	a, b := float64(lo), float64(hi)
	return min(max(floor32(a+float64(rng.Float64()*(b-a))), lo), math.Nextafter32(hi, lo))
}

// floor32 is the greatest float32 not above v.
func floor32(v float64) float32 {
	t := float32(v)
	if float64(t) > v {
		t = math.Nextafter32(t, float32(math.Inf(-1)))
	}
	return t
}

// partition reorders drawn so that rows with x <= threshold come first and
// returns their number. Which side a row goes to can't be predicted, so it is
// moved without a branch.
func (g *grower) partition(drawn []int32, column int, threshold float32) int {
	rows, cols := g.rows, g.cols
	cut := 0
	for k, i := range drawn {
		first := drawn[cut]
		there, here, step := first, i, 0
		if rows[int(i)*cols+column] <= threshold {
			there, here, step = i, first, 1
		}
		drawn[cut], drawn[k] = there, here
		cut += step
	}
	return cut
}
