package scorer

// linearChannel is the residual of the autoregression, averaged over a quarter
// of an hour: short breaks of the metric's own dynamics.
func linearChannel(m *Model, r *row) float64 {
	m.linears.add(r.linear)
	return m.linears.mean(window(linearRows, 1, r.dt))
}
