package featurizer

// median is the middle value, of an even number the mean of the middle two.
func median(o order) float64 {
	n := len(o)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return o[n/2]
	}
	return midpoint(o[n/2-1], o[n/2])
}

func midpoint(a, b float64) float64 { return float64((a + b) * 0.5) }
