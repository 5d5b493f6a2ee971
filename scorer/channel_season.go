package scorer

// seasonChannel is the distance from the usual value of this time of day,
// averaged over two hours and not winsorised.
func seasonChannel(m *Model, r *row) float64 {
	m.seasonals.add(r.seasonal)
	return m.seasonals.mean(window(seasonRows, 2, r.dt))
}
