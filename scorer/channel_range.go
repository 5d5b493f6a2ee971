package scorer

// rangeChannel is the range of the last hour: bursts of noise above, values that
// have gone flat below.
func rangeChannel(m *Model, r *row) float64 {
	return m.values.width(window(rangeRows, 3, r.dt))
}
