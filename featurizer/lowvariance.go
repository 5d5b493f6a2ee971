package featurizer

// lowVariance says that the window spreads less than a tenth of what is usual
// for the metric. It needs 8 samples and 30 updates of the learned scale; a
// metric that never varied is never flagged.
func lowVariance(v *view, std float64) bool {
	return v.count >= scaleCount && std < 0.1*v.scale
}
