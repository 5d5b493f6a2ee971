package scorer

// meanChannel is the plain mean of the last eight hours: slow shifts that stay
// within the noise of single rows.
func meanChannel(m *Model, r *row) float64 {
	return m.values.mean(window(meanRows, 6, r.dt))
}
