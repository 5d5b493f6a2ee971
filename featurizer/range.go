package featurizer

// valueRange is the largest value minus the smallest.
func valueRange(v *view) float64 { return v.max - v.min }
