package featurizer

import "slices"

// order holds values in ascending order. At 512 values a binary search and a
// move of at most 4 KB beat any tree.
type order []float64

func (o order) constant() bool { return len(o) > 0 && o[0] == o[len(o)-1] }

// lower returns how many values are below x.
func (o order) lower(x float64) int {
	lo, hi := 0, len(o)
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); o[mid] < x {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

func (o *order) insert(x float64) {
	i := o.lower(x)
	*o = append(*o, x)
	copy((*o)[i+1:], (*o)[i:])
	(*o)[i] = x
}

// remove takes one value equal to x out; x must be inside.
func (o *order) remove(x float64) {
	i := o.lower(x)
	*o = (*o)[:i+copy((*o)[i:], (*o)[i+1:])]
}

// fill replaces the content by the samples' values.
func (o *order) fill(live []sample) {
	*o = (*o)[:0]
	for _, s := range live {
		*o = append(*o, s.value)
	}
	slices.Sort(*o)
}
