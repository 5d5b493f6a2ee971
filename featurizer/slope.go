package featurizer

// slope is the least-squares slope of value against event time, per second:
// cov(t, x) / var(t); 0 when all values or all times are equal.
func slope(v *view) float64 {
	if v.count < 2 || v.min == v.max {
		return 0
	}
	spread := v.spreadT()
	if !(spread > 0) {
		return 0
	}
	return v.spreadTX() / spread * 1e6
}
