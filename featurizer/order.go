package featurizer

import "slices"

// order holds values in ascending order. At 512 values a binary search and a
// move of at most 4 KB beat any tree.
type order []float64

func (o order) constant() bool { return len(o) > 0 && o[0] == o[len(o)-1] }

// lower returns how many values are below x. The bisection has a fixed number of
// rounds and no branch on them: values are unpredictable.
func (o order) lower(x float64) int {
	at := 0
	for n := len(o); n > 0; {
		half := (n + 1) / 2
		at += half & -int(b2u(o[at+half-1] < x))
		n -= half
	}
	return at
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

// fill puts the samples' values in order into room.
func fill(room order, live []sample) order {
	for _, s := range live {
		room = append(room, s.value)
	}
	slices.Sort(room)
	return room
}
