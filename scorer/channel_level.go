package scorer

// levelChannel is the distance from the slow exponential mean: shifts and
// spikes alike, at no cost.
func levelChannel(m *Model, r *row) float64 {
	return r.x - m.mix.slow.mean
}
