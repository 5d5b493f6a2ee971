package featurizer

// maximum is the largest value.
func maximum(v *view) float64 { return v.max }
