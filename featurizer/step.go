package featurizer

// stepMemory is how many differences the step learner remembers: 15 of them may
// be gaps or bursts without moving the median far.
const stepMemory = 31

// stepLearner learns the sampling step as the lower median of the last 31
// positive differences between successive newest timestamps.
type stepLearner struct {
	n      int               // differences known, at most stepMemory
	pos    int               // the oldest one once all are known
	recent [stepMemory]int64 // microseconds, in order of arrival (a ring)
	sorted [stepMemory]int64
}

// step in microseconds, 0 while unknown.
func (l *stepLearner) step() int64 {
	if l.n == 0 {
		return 0
	}
	return l.sorted[(l.n-1)/2]
}

// lateness is by how much a difference exceeds the step at most, as far as the
// differences tell: twice the distance from the median to what an eighth of them
// exceed. Gaps are rarer than that and do not count.
func (l *stepLearner) lateness() int64 {
	if l.n == 0 {
		return 0
	}
	return 2 * (l.sorted[l.n-1-l.n/8] - l.step())
}

func (l *stepLearner) learn(diff int64) {
	diff = min(diff, maxStep)
	if l.n < stepMemory {
		l.recent[l.n] = diff
		l.n++
		l.place(l.n-1, diff)
		return
	}
	old := l.recent[l.pos]
	l.recent[l.pos] = diff
	if l.pos++; l.pos == stepMemory {
		l.pos = 0
	}
	if old == diff {
		return
	}
	i := 0
	for l.sorted[i] != old {
		i++
	}
	l.place(i, diff)
}

// place moves the free slot i to where diff belongs.
func (l *stepLearner) place(i int, diff int64) {
	for ; i > 0 && l.sorted[i-1] > diff; i-- {
		l.sorted[i] = l.sorted[i-1]
	}
	for ; i < l.n-1 && l.sorted[i+1] < diff; i++ {
		l.sorted[i] = l.sorted[i+1]
	}
	l.sorted[i] = diff
}
