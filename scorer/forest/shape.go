package forest

import "math"

// Shape is what a forest splits on.
type Shape struct {
	Nodes     int       // inner nodes and leaves of all trees
	Depth     float64   // mean depth of the leaves
	Splits    []int     // inner nodes by column
	SplitsAt  []float64 // mean depth of a column's inner nodes, 0 = the roots; 0 for a column without one
	AllSplits int
}

// Shape walks all trees.
func (f *Forest) Shape() Shape {
	s := Shape{Nodes: len(f.nodes), Splits: make([]int, f.cols), SplitsAt: make([]float64, f.cols)}
	leaves := 0
	type place struct {
		node  int
		depth int
	}
	var open []place
	for _, root := range f.roots {
		nodes := f.nodes[root:]
		open = append(open[:0], place{})
		for len(open) > 0 {
			at := open[len(open)-1]
			open = open[:len(open)-1]
			n := nodes[at.node]
			if math.IsNaN(float64(n.threshold)) {
				leaves++
				s.Depth += float64(at.depth)
				continue
			}
			s.AllSplits++
			s.Splits[n.feature]++
			s.SplitsAt[n.feature] += float64(at.depth)
			open = append(open, place{int(n.right), at.depth + 1}, place{at.node + 1, at.depth + 1})
		}
	}
	s.Depth /= float64(max(leaves, 1))
	for i, n := range s.Splits {
		s.SplitsAt[i] /= float64(max(n, 1))
	}
	return s
}
