package forest

import "math"

// abreast is how many rows walk a tree together, so that their loads overlap;
// four keep their positions in registers.
const abreast = 4

// Score is the anomaly score of one row of Cols values: 2^(-mean h / c(psi)).
// It allocates nothing.
func (f *Forest) Score(row []float32) float64 {
	if len(f.roots) == 0 {
		return .5
	}
	row = row[:f.cols]
	var sum float64
	for t, root := range f.roots {
		nodes := f.nodes[root:]
		i := uint32(0)
		for range f.depth[t] {
			i = next(nodes, row, i)
		}
		sum += nodes[i].pathLength()
	}
	return f.fromPaths(sum)
}

// ScoreBatch scores len(out) rows of the row-major matrix rows into out. The
// sums run in the order of Score: both give the same bits.
func (f *Forest) ScoreBatch(rows []float32, out []float64) {
	n := len(out)
	if len(f.roots) == 0 {
		for i := range out {
			out[i] = .5
		}
		return
	}
	r := 0
	for ; r+abreast <= n; r += abreast {
		f.scoreBlock(rows[r*f.cols:(r+abreast)*f.cols], out[r:r+abreast])
	}
	for ; r < n; r++ {
		out[r] = f.Score(rows[r*f.cols : (r+1)*f.cols])
	}
}

func (f *Forest) scoreBlock(rows []float32, out []float64) {
	var sum [abreast]float64
	c := f.cols
	r0, r1, r2, r3 := rows[:c], rows[c:2*c], rows[2*c:3*c], rows[3*c:4*c]
	for t, root := range f.roots {
		nodes := f.nodes[root:]
		var i0, i1, i2, i3 uint32
		for range f.depth[t] {
			i0, i1 = next(nodes, r0, i0), next(nodes, r1, i1)
			i2, i3 = next(nodes, r2, i2), next(nodes, r3, i3)
		}
		sum[0] += nodes[i0].pathLength()
		sum[1] += nodes[i1].pathLength()
		sum[2] += nodes[i2].pathLength()
		sum[3] += nodes[i3].pathLength()
	}
	for k := range sum {
		out[k] = f.fromPaths(sum[k])
	}
}

// next is the child of node i that the row goes to, i itself at a leaf.
func next(nodes []node, row []float32, i uint32) uint32 {
	n := &nodes[i]
	to := uint32(n.right)
	if row[n.feature] <= n.threshold {
		to = i + 1
	}
	return to
}

// fromPaths turns the sum of path lengths over all trees into a score. A forest
// of single leaves (one row, or constant data) has nothing to say: .5, exactly.
func (f *Forest) fromPaths(sum float64) float64 {
	if len(f.nodes) == len(f.roots) {
		return .5
	}
	norm := averagePath[f.psi] * float64(len(f.roots))
	return math.Exp2(-sum / norm)
}
