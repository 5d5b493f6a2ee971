package featurizer

// mean is the arithmetic mean of the values.
func mean(v *view) float64 {
	switch {
	case v.count == 0:
		return 0
	case v.min == v.max:
		return v.min
	}
	return min(max(v.sums.mean(), v.min), v.max)
}
