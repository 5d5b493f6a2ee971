package stream

import "github.com/edgepulse/edgepulse/schemas"

// SeriesSpec says how the samples of one kind are stored: not a row each, but
// gathered by series into chunks whose columns stand side by side.
type SeriesSpec struct {
	Name  string   // of the kind; the sink knows the tables that go with it
	Longs []string // integer columns; instants stand as µs after the sample's ts
	Reals []string // float columns
	Words bool     // samples carry a text that seldom changes
	// Unique: a series has one sample per instant, the one of the lowest root.
	// Otherwise one per instant, root and kind (SampleTick).
	Unique bool
}

// SampleTick is the flag of a sample that a tick made, not a point.
const SampleTick uint32 = 1

// SeriesKey names a series.
type SeriesKey struct{ Tenant, Device, Metric schemas.ID }

// Samples are what one gather holds of one series, in log order: parallel
// columns of one length. Longs and Reals are in the order of the spec.
type Samples struct {
	Key   SeriesKey
	TS    []int64 // unix µs
	Root  []uint64
	Flags []uint32
	Longs [][]int64
	Reals [][]float64
	Words []string

	total *int
}

// NewSamples makes an empty set of columns.
func NewSamples(spec *SeriesSpec, key SeriesKey) *Samples {
	return &Samples{Key: key, Longs: make([][]int64, len(spec.Longs)), Reals: make([][]float64, len(spec.Reals))}
}

// Add begins a sample; the caller appends its Longs, Reals and Words.
func (s *Samples) Add(ts int64, root uint64, flags uint32) {
	s.TS, s.Root, s.Flags = append(s.TS, ts), append(s.Root, root), append(s.Flags, flags)
	if s.total != nil {
		*s.total++
	}
}

// Long appends the integer columns of the sample begun last.
func (s *Samples) Long(values ...int64) {
	for i, v := range values {
		s.Longs[i] = append(s.Longs[i], v)
	}
}

// Real appends the float columns of the sample begun last.
func (s *Samples) Real(values ...float64) {
	for i, v := range values {
		s.Reals[i] = append(s.Reals[i], v)
	}
}

// Len is the number of samples.
func (s *Samples) Len() int { return len(s.TS) }

func (s *Samples) reset() {
	s.TS, s.Root, s.Flags, s.Words = s.TS[:0], s.Root[:0], s.Flags[:0], s.Words[:0]
	for i := range s.Longs {
		s.Longs[i] = s.Longs[i][:0]
	}
	for i := range s.Reals {
		s.Reals[i] = s.Reals[i][:0]
	}
}

// SeriesRows are the samples of one kind, by series in the order of their first use.
type SeriesRows struct {
	Spec *SeriesSpec
	List []*Samples

	byKey map[SeriesKey]*Samples
	spare []*Samples
	total int
}

// Len is the number of samples of all series.
func (r *SeriesRows) Len() int { return r.total }

// Series returns the samples of one series, to be added to.
func (r *RowSet) Series(spec *SeriesSpec, key SeriesKey) *Samples {
	var rows *SeriesRows
	for _, s := range r.Kinds {
		if s.Spec == spec {
			rows = s
		}
	}
	if rows == nil {
		rows = &SeriesRows{Spec: spec, byKey: map[SeriesKey]*Samples{}}
		r.Kinds = append(r.Kinds, rows)
	}
	if s := rows.byKey[key]; s != nil {
		return s
	}
	var s *Samples
	if n := len(rows.spare); n > 0 {
		s, rows.spare = rows.spare[n-1], rows.spare[:n-1]
		s.Key = key
	} else {
		s = NewSamples(spec, key)
		s.total = &rows.total
	}
	rows.byKey[key] = s
	rows.List = append(rows.List, s)
	return s
}

// reset forgets the samples and keeps the memory for the next gather's series.
func (r *SeriesRows) reset() {
	for _, s := range r.List {
		s.reset()
	}
	r.spare = append(r.spare, r.List...)
	r.List, r.total = r.List[:0], 0
	clear(r.byKey)
}

// The kinds of series. The order of columns is that of the arrays in which they
// are stored: a change needs a migration.
var (
	DatapointSeries = &SeriesSpec{Name: "datapoint", Reals: []string{"value"}, Unique: true}
	FeatureSeries   = &SeriesSpec{Name: "feature",
		Longs: []string{"window_start", "window_end", "last_ts", "received_at", "count", "stuck_run"},
		Reals: []string{"value", "extreme", "last", "mean", "std", "median", "mad", "min", "max", "range", "slope", "missing_rate", "step"}}
	ScoreSeries = &SeriesSpec{Name: "score", Words: true,
		Longs: []string{"window_start", "window_end", "received_at", "warm_up_eta_us"},
		Reals: []string{"value", "score", "alarm_score", "expected", "lower", "upper"}}
)

// Flags of evaluations, beside SampleTick. Those of datapoints are schemas.PointFlag.
// The bits from SampleWordShift on belong to the store: they number the Words.
const (
	SampleBackfill      uint32 = 2
	SampleLowVariance   uint32 = 4
	SampleSilent        uint32 = 8
	SampleLabelShift           = 4 // 4 bits each
	SampleSubLabelShift        = 8
	SampleWarmUpShift          = 12
	SampleWordShift            = 16
)

// SampleFlags are those that all evaluations have.
func SampleFlags(tick, backfill, silent bool) uint32 {
	var f uint32
	for _, b := range []struct {
		set bool
		bit uint32
	}{{tick, SampleTick}, {backfill, SampleBackfill}, {silent, SampleSilent}} {
		if b.set {
			f |= b.bit
		}
	}
	return f
}
