package forest

import "math"

// node is one inner node or leaf, eight bytes. Trees lie in pre-order: the left
// child of an inner node is the next node, the right one is at index right,
// relative to the tree's root.
//
// A leaf points right to itself and its threshold is a NaN, so that the walk
// "x <= threshold ? next : right" rests there without asking whether it has
// arrived. The NaN's payload carries what the path length needs: depth (6 bits)
// above leaf size (13 bits).
type node struct {
	threshold float32
	right     uint16
	feature   uint16
}

const (
	nodeBytes   = 8
	quietNaN    = 0x7fc00000
	payloadMask = 0x003fffff
	sizeBits    = 13 // MaxSample fits; a tree over psi rows has at most 2 psi - 1 nodes
)

func leaf(self, depth, size int) node {
	payload := uint32(depth)<<sizeBits | uint32(size)
	return node{threshold: math.Float32frombits(quietNaN | payload), right: uint16(self)}
}

// pathLength is h of section 2 of the paper: edges to the leaf plus the expected
// further depth of the rows it holds together.
func (n *node) pathLength() float64 {
	payload := math.Float32bits(n.threshold) & payloadMask
	return float64(payload>>sizeBits) + averagePath[payload&(1<<sizeBits-1)]
}

// averagePath[n] is AveragePath(n), tabulated for the sizes a leaf may have.
var averagePath = func() (t [MaxSample + 1]float64) {
	for n := range t {
		t[n] = AveragePath(n)
	}
	return t
}()

// eulerGamma to the precision of a float64.
const eulerGamma = 0.57721566490153286060651209008240243

// AveragePath is c(n), the mean depth of an unsuccessful search in a binary
// search tree of n keys (equation 1 of the paper): 0 for n <= 1, 1 for n = 2,
// 2(ln(n-1)+gamma) - 2(n-1)/n above.
func AveragePath(n int) float64 {
	switch {
	case n <= 1:
		return 0
	case n == 2:
		return 1
	}
	m := float64(n - 1)
	return float64(2*(math.Log(m)+eulerGamma)) - 2*m/float64(n)
}

// heightLimit is ceil(log2(max(psi, 2))), the mean depth of a tree.
func heightLimit(psi int) int {
	h := 1
	for 1<<h < psi {
		h++
	}
	return h
}
