package scorer

// driftBefore are the numbers of rows before the onset that are tried.
var driftBefore = [...]int{20, eventPast}

const (
	driftLeast       = 24  // rows, before the onset and since
	driftCorrelation = .75 // of value and time
	driftRise        = 4.0 // from the first row to the last, in scales before the onset
	driftOutlier     = 4.0 // largest distance from the line, in its own spread
)

// drifts tells a ramp from a step and from a spike, looking at the rows before
// the onset as well: a drift begins long before it is noticed, how long is
// unknown.
func (e *event) drifts(rows []float64) bool {
	for _, before := range driftBefore {
		if n := int(e.rows) + before; n >= driftLeast && n <= len(rows) && e.ramp(rows[len(rows)-n:]) {
			return true
		}
	}
	return false
}

// ramp says that the rows follow a line, rise by more than the usual scatter, fit
// a line better than the best single step, and none sticks out of it.
func (e *event) ramp(rows []float64) bool {
	n := float64(len(rows))
	sum, middle := 0.0, (n-1)/2
	for _, x := range rows {
		sum += x
	}
	mean := sum / n
	var sxx, stx float64
	for i, x := range rows {
		d := x - mean
		sxx += float64(d * d)
		stx += float64((float64(i) - middle) * d)
	}
	stt := float64(n*(float64(n*n)-1)) / 12
	slope := stx / stt
	explained := float64(slope * stx)
	if abs(float64(slope*(n-1))) < driftRise*e.scale || explained < driftCorrelation*driftCorrelation*sxx {
		return false
	}
	head, step, worst := 0.0, 0.0, 0.0
	for i, x := range rows {
		if i > 0 {
			k := float64(i)
			step = max(step, float64(head*head)*n/float64(k*(n-k)))
		}
		head += x - mean
		worst = max(worst, abs(x-mean-float64(slope*(float64(i)-middle))))
	}
	return explained > step && float64(worst*worst)*n <= driftOutlier*driftOutlier*(sxx-explained)
}
