package featurizer

// mad is the median absolute deviation from the median, unscaled (multiply by
// 1.4826 for the standard deviation of a normal distribution). The deviations
// below the median and those above it are two ascending sequences already, so
// the middle of their union is found by bisection in O(log n).
func mad(o order, median float64) float64 {
	n := len(o)
	if n == 0 {
		return 0
	}
	h := n / 2
	below := func(i int) float64 { return median - o[h-1-i] } // i in [0, h)
	above := func(j int) float64 { return o[h+j] - median }   // j in [0, n-h)
	k := (n - 1) / 2                                          // rank of the lower middle
	lo, hi := max(0, k+1-(n-h)), min(k+1, h)
	for lo < hi { // the k+1 smallest are lo from below and the rest from above
		if mid := int(uint(lo+hi) >> 1); below(mid) < above(k-mid) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	i, j := lo, k+1-lo
	var a float64
	switch {
	case i == 0:
		a = above(j - 1)
	case j == 0:
		a = below(i - 1)
	default:
		a = max(below(i-1), above(j-1))
	}
	if n%2 == 1 {
		return a
	}
	var b float64
	switch {
	case i == h:
		b = above(j)
	case j == n-h:
		b = below(i)
	default:
		b = min(below(i), above(j))
	}
	return midpoint(a, b)
}
