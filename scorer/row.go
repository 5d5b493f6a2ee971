package scorer

// row is what the channels see of one observation. Values are anchored: the
// metric's first value is subtracted, so that float32 histories keep their
// digits on metrics far from zero.
type row struct {
	ts       int64
	dt       float64 // sampling step, seconds
	x        float64 // anchored value
	extreme  float64 // anchored extreme
	expected float64 // the mixture's forecast of x
	residual float64 // x - expected
	seasonal float64 // x - the usual value of this time of day
	shift    float64 // of the raw alarm, by the sensitivity
	linear   float64 // x - the autoregression's forecast
	features []float64
}
