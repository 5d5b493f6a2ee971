package featurizer

// minimum is the smallest value.
func minimum(v *view) float64 { return v.min }
