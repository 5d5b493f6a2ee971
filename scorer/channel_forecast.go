package scorer

// forecastChannel is the mixture's residual averaged over an hour: what no
// forecaster explains.
func forecastChannel(m *Model, r *row) float64 {
	m.residuals.add(r.residual)
	return m.residuals.mean(window(forecastRows, 3, r.dt))
}
