package featurizer

// scaleLearner learns how much the window usually spreads: an exponentially
// weighted mean of its standard deviation (memory 500 updates, the plain mean
// before), each update winsorised at 3 times the value so far.
type scaleLearner struct {
	n     uint32 // updates, at most scaleMemory
	value float64
}

const (
	scaleMemory = 500
	scaleTrust  = 30 // updates before the scale is used
	scaleCount  = 8  // samples a window needs to teach
)

func (l *scaleLearner) learn(std float64, count int) {
	if count < scaleCount {
		return
	}
	if l.n < scaleMemory {
		l.n++
	}
	if l.n > scaleTrust && l.value > 0 {
		std = min(std, float64(3*l.value))
	}
	l.value += (std - l.value) / float64(l.n)
}
