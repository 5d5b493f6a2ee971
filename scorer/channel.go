package scorer

// channel is one view of a metric. Its value is compared with its own history
// (calibration.go); a channel judges nothing itself. value may update the
// model's windows but must depend on nothing later than the row.
type channel struct {
	name   string
	words  string  // how an explanation names an unusual value
	weight float64 // factor on its tail score
	value  func(m *Model, r *row) float64
}

// ranked are the channels calibrated by ranks. Adding one is a file and a line
// here; the order is part of the state's layout.
var ranked = [rankedCount]channel{
	{"level", "away from its slow mean", 1, levelChannel},
	{"forecast", "away from its forecast", 1, forecastChannel},
	{"mean", "unusual mean over the last hours", 1, meanChannel},
	{"season", "unusual for this time of day", 1.2, seasonChannel},
	{"range", "unusual range of recent values", 1, rangeChannel},
	{"linear", "does not follow from the values before it", 1, linearChannel},
}

// The channels with a scale of their own follow the ranked ones.
const (
	rankedCount  = 6
	fastIndex    = rankedCount
	patternIndex = fastIndex + 1
	channelCount = patternIndex + 1
)

const (
	fastName, fastWords       = "fast", "a sudden jump"
	patternName, patternWords = "pattern", "unusual combination of features"
)
