package forest

import "math"

// abreast is how many walks go on together (rows of one tree, or one row in
// several trees), so that their loads overlap; four keep their positions in
// registers.
const abreast = 4

// tile is how many rows pass one tree before the next tree is touched: a tree
// (4 KiB) and the rows of a tile (10 KiB at ten columns) stay in the nearest
// cache, the whole forest (400 KiB) would not.
const tile = 256

// Score is the anomaly score of one row of Cols values: 2^(-mean h / c(psi)).
// It allocates nothing.
func (f *Forest) Score(row []float32) float64 {
	if len(f.roots) == 0 {
		return .5
	}
	row = row[:f.cols]
	var sum float64
	t := 0
	for ; t+abreast <= len(f.roots); t += abreast {
		roots, depths := f.roots[t:t+abreast], f.depth[t:t+abreast]
		n0, n1, n2, n3 := f.nodes[roots[0]:], f.nodes[roots[1]:], f.nodes[roots[2]:], f.nodes[roots[3]:]
		var i0, i1, i2, i3 uint32
		// A walk that has arrived rests while a deeper tree goes on.
		for range max(depths[0], depths[1], depths[2], depths[3]) {
			i0, i1 = next(n0, row, i0), next(n1, row, i1)
			i2, i3 = next(n2, row, i2), next(n3, row, i3)
		}
		sum += n0[i0].pathLength()
		sum += n1[i1].pathLength()
		sum += n2[i2].pathLength()
		sum += n3[i3].pathLength()
	}
	for ; t < len(f.roots); t++ {
		nodes := f.nodes[f.roots[t]:]
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
	if len(f.roots) == 0 {
		for i := range out {
			out[i] = .5
		}
		return
	}
	for len(out) > 0 {
		n := min(tile, len(out))
		f.scoreTile(rows[:n*f.cols], out[:n])
		rows, out = rows[n*f.cols:], out[n:]
	}
}

func (f *Forest) scoreTile(rows []float32, out []float64) {
	clear(out)
	whole := len(out) &^ (abreast - 1)
	c := f.cols
	for t, root := range f.roots {
		nodes := f.nodes[root:]
		depth := f.depth[t]
		left := rows
		for r := 0; r < whole; r += abreast {
			r0, r1, r2, r3 := left[:c], left[c:2*c], left[2*c:3*c], left[3*c:4*c]
			left = left[4*c:]
			var i0, i1, i2, i3 uint32
			for range depth {
				i0, i1 = next(nodes, r0, i0), next(nodes, r1, i1)
				i2, i3 = next(nodes, r2, i2), next(nodes, r3, i3)
			}
			sums := out[r : r+abreast : r+abreast]
			sums[0] += nodes[i0].pathLength()
			sums[1] += nodes[i1].pathLength()
			sums[2] += nodes[i2].pathLength()
			sums[3] += nodes[i3].pathLength()
		}
	}
	for r, sum := range out[:whole] {
		out[r] = f.fromPaths(sum)
	}
	for r := whole; r < len(out); r++ {
		out[r] = f.Score(rows[r*c : (r+1)*c])
	}
}

// next is the child of node i that the row goes to, i itself at a leaf. Which
// way a row goes is close to a coin toss, so the choice is arithmetic: as a
// branch it would be mispredicted at every other node.
func next(nodes []node, row []float32, i uint32) uint32 {
	n := &nodes[i]
	var left uint32
	if row[n.feature] <= n.threshold {
		left = 1
	}
	right := uint32(n.right)
	return right ^ (right^(i+1))&-left
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
