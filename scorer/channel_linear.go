package scorer

// linearChannel is the residual of the autoregression, averaged over a quarter
// of an hour: short breaks of the metric's own dynamics. A step that comes at
// this time every day breaks nothing, so the forecast by time of day may explain
// the row instead, whichever is closer.
func linearChannel(m *Model, r *row) float64 {
	e := r.linear
	if now := r.x - m.mix.forecast[timeOfDayNow]; m.mix.slotHit && abs(now) < abs(e) {
		e = now
	}
	m.linears.add(e)
	return m.linears.mean(window(linearRows, 1, r.dt))
}
