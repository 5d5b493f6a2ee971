package forest

import "github.com/edgepulse/edgepulse/scorer/internal/splitmix"

// sampler draws row indices without replacement by a partial Fisher-Yates
// shuffle. The permutation is left as the last draw made it: a shuffle of any
// permutation is as uniform as one of the identity, so nothing is reset between
// trees.
type sampler struct{ order []int32 }

// newSampler prepares draws from n rows, reusing scratch where it is big enough.
func newSampler(n int, scratch []int32) sampler {
	if cap(scratch) < n {
		scratch = make([]int32, n)
	}
	scratch = scratch[:n]
	for i := range scratch {
		scratch[i] = int32(i)
	}
	return sampler{order: scratch}
}

// draw returns psi distinct row indices, valid until the next draw. The caller
// may permute them.
func (s *sampler) draw(psi int, rng *splitmix.Source) []int32 {
	for i := range psi {
		j := i + rng.Intn(len(s.order)-i)
		s.order[i], s.order[j] = s.order[j], s.order[i]
	}
	return s.order[:psi]
}
