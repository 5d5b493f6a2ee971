package featurizer

// missingRate is 1 - seen/expected points, within [0, 1]. A half-open span of k
// learned steps holds k points of a regular metric. Expected are those of the
// part of the span that the window covers, for a young metric those since its
// first point. 0 while the step is unknown.
func missingRate(v *view) float64 {
	if v.step == 0 {
		return 0
	}
	from, extra := max(v.start, v.covered), int64(0)
	if v.first > from {
		from, extra = v.first, 1
	}
	expected := (v.end-from)/v.step + extra
	if expected <= int64(v.count) {
		return 0
	}
	return 1 - float64(v.count)/float64(expected)
}
