package forest

import "math"

// abreast is how many rows walk a tree together: their loads overlap, which is
// worth a factor of three over one row after the other.
const abreast = 8

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
			n := &nodes[i]
			next := uint32(n.right)
			if row[n.feature] <= n.threshold {
				next = i + 1
			}
			i = next
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
	c := uint32(f.cols)
	for t, root := range f.roots {
		nodes := f.nodes[root:]
		var at [abreast]uint32
		for range f.depth[t] {
			for k := range at {
				n := &nodes[at[k]]
				next := uint32(n.right)
				if rows[uint32(k)*c+uint32(n.feature)] <= n.threshold {
					next = at[k] + 1
				}
				at[k] = next
			}
		}
		for k := range at {
			sum[k] += nodes[at[k]].pathLength()
		}
	}
	for k := range sum {
		out[k] = f.fromPaths(sum[k])
	}
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
