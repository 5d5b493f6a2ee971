package featurizer

// std is the population standard deviation, sqrt(Σ(x-mean)²/n).
func std(v *view) float64 {
	return v.sums.std(v.min == v.max)
}
