package featurizer

// Vector is the features of one metric at one evaluation instant, over the
// half-open span (WindowStart, WindowEnd]. Values are in the metric's unit,
// instants in microseconds since 1970, durations in seconds. With Count 0 the
// features that describe values are 0, except Last and StuckRun, which belong
// to the stream.
type Vector struct {
	WindowStart int64 // exclusive
	WindowEnd   int64 // inclusive
	Newest      int64 // event time of the newest point
	Count       uint32
	Bucketed    bool // median, MAD and slope are taken over sub-buckets; see Window

	Mean        float64
	Std         float64
	Median      float64
	MAD         float64
	Min         float64
	Max         float64
	Range       float64
	Slope       float64 // unit per second
	MissingRate float64 // 0 to 1
	StuckRun    uint32
	LowVariance bool
	Last        float64

	Step  float64 // learned sampling step, 0 while unknown
	Scale float64 // usual Std of this metric's window, 0 while unknown
}

// Feature is one column of a vector.
type Feature struct {
	Name string
	Of   func(*Vector) float64
}

// Features lists the columns in their fixed order: the registry of what a model
// may read. Adding one = its file, its line here and its line in compute.
var Features = [...]Feature{
	{"mean", func(v *Vector) float64 { return v.Mean }},
	{"std", func(v *Vector) float64 { return v.Std }},
	{"median", func(v *Vector) float64 { return v.Median }},
	{"mad", func(v *Vector) float64 { return v.MAD }},
	{"min", func(v *Vector) float64 { return v.Min }},
	{"max", func(v *Vector) float64 { return v.Max }},
	{"range", func(v *Vector) float64 { return v.Range }},
	{"slope", func(v *Vector) float64 { return v.Slope }},
	{"missing_rate", func(v *Vector) float64 { return v.MissingRate }},
	{"stuck_run", func(v *Vector) float64 { return float64(v.StuckRun) }},
	{"low_variance", func(v *Vector) float64 { return float64(b2u(v.LowVariance)) }},
	{"last", func(v *Vector) float64 { return v.Last }},
}

// compute fills the features from a view.
func compute(v *view, out *Vector) {
	out.Mean = mean(v)
	out.Std = std(v)
	out.Median = median(v.order)
	out.MAD = mad(v.order, out.Median)
	out.Min = minimum(v)
	out.Max = maximum(v)
	out.Range = valueRange(v)
	out.Slope = slope(v)
	out.MissingRate = missingRate(v)
	out.StuckRun = v.run
	out.LowVariance = lowVariance(v, out.Std)
	out.Last = v.last
}
