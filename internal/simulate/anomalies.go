package simulate

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Label is a kind of anomaly.
type Label uint8

const (
	Spike       Label = iota // 6 to 12 sigma up for 1 to 3 samples
	Drop                     // 6 to 12 sigma down for 1 to 3 samples
	Drift                    // a straight ramp up or down to 6 to 10 sigma over 60 to 240 samples, then back at once
	Missingness              // no samples: 6 to 40 in a row, so a gap of more than 3 steps
	Stuck                    // the value before the onset again and again, 60 to 200 samples (a door: open)
	labels
)

// Labels lists all of them.
var Labels = [labels]Label{Spike, Drop, Drift, Missingness, Stuck}

func (l Label) String() string {
	return [...]string{"spike", "drop", "drift", "missingness", "stuck"}[l]
}

// MarshalText writes the label's name.
func (l Label) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Mix is the relative frequency per label, in the order of Labels.
type Mix [labels]float64

// Injection is one scripted anomaly.
type Injection struct {
	Device    int    // index in the fleet
	Metric    string // of that device
	Label     Label
	At        time.Time     // first sample at or after this
	For       time.Duration // last sample before At+For; at least one sample
	Magnitude float64       // sigmas at the largest; negative: downwards; ignored by missingness and stuck
}

// Anomaly is one entry of the ground truth.
type Anomaly struct {
	Device    string  `json:"device_external_id"`
	Metric    string  `json:"metric"`
	Label     Label   `json:"label"`
	Start     int64   `json:"start"`     // timestamp of the first affected sample, microseconds
	End       int64   `json:"end"`       // of the last one
	Magnitude float64 `json:"magnitude"` // signed, in sigmas of the metric's usual spread; 0 for missingness and stuck
}

// span is an anomaly of one metric in sample numbers, both inclusive.
type span struct {
	metric      int
	label       Label
	first, last int64
	magnitude   float64
	value       float64 // stuck: at which value, once known
	known       bool
}

// samples is the range of an anomaly's length.
func (l Label) samples() (lo, hi int64) {
	switch l {
	case Drift:
		return 60, 240
	case Missingness:
		return 6, 40
	case Stuck:
		return 60, 200
	}
	return 1, 3
}

// magnitude draws the signed size in sigmas.
func (l Label) magnitude(u float64) float64 {
	switch l {
	case Spike:
		return 6 + float64(6*u)
	case Drop:
		return -6 - float64(6*u)
	case Drift:
		if u < .5 {
			return 6 + float64(8*u)
		}
		return -6 - float64(8*(u-.5))
	}
	return 0
}

// periodSamples is the length of a period in samples: at least a day, and long
// enough that the longest anomaly fits a few times.
func (d *device) periodSamples() int64 { return max(day/d.step, 1000) }

// background draws the anomalies of one period: the period is cut into as many
// slots as there are anomalies, each lies within its own slot, so that none
// overlap and none crosses the period's end.
func (d *device) background(period int64) []span {
	size := d.periodSamples()
	key := mix(d.key^saltAnomaly, uint64(period))
	draw := func(i uint64) float64 { return uniform(mix(key, i)) }
	expected := d.cfg.AnomaliesPerDay * float64(size) * float64(d.step) / day
	count := int64(expected)
	if draw(0) < expected-float64(count) {
		count++
	}
	count = min(count, size/300) // room for the longest and a rest
	var out []span
	for i := range count {
		u := func(j uint64) float64 { return draw(1 + uint64(i)*8 + j) }
		s := span{metric: int(u(0) * float64(len(d.metrics)))}
		var ok bool
		if s.label, ok = d.cfg.Mix.pick(u(1), d.metrics[s.metric].spec.labels); !ok {
			continue
		}
		lo, hi := s.label.samples()
		length := lo + int64(u(2)*float64(hi-lo+1))
		from, to := i*size/count, (i+1)*size/count
		s.first = period*size + from + 2 + int64(u(3)*float64(to-from-length-4))
		s.last = s.first + length - 1
		s.magnitude = s.label.magnitude(u(4))
		if !slices.ContainsFunc(d.script, s.near) {
			out = append(out, s)
		}
	}
	return out
}

// pick draws one of the allowed labels by weight.
func (m *Mix) pick(u float64, allowed []Label) (Label, bool) {
	sum := 0.0
	for _, l := range allowed {
		sum += m[l]
	}
	u *= sum
	for _, l := range allowed {
		if u < m[l] {
			return l, true
		}
		u -= m[l]
	}
	return 0, false
}

// near says that two anomalies of a metric overlap or come within 300 samples.
func (s *span) near(o span) bool {
	return s.metric == o.metric && s.first <= o.last+300 && o.first <= s.last+300
}

// script adds an injection to its device.
func (f *Fleet) script(in Injection) error {
	if in.Device < 0 || in.Device >= len(f.devices) {
		return fmt.Errorf("simulate: Script: no device %d", in.Device)
	}
	if in.Label >= labels {
		return fmt.Errorf("simulate: Script: unknown label %d", in.Label)
	}
	d := &f.devices[in.Device]
	m := slices.IndexFunc(d.metrics, func(m metric) bool { return m.spec.name == in.Metric })
	if m < 0 {
		return fmt.Errorf("simulate: Script: %s has no metric %q", d.id, in.Metric)
	}
	s := span{metric: m, label: in.Label, first: d.firstAt(in.At.UnixMicro()), magnitude: in.Magnitude}
	s.last = max(d.firstAt(in.At.Add(in.For).UnixMicro())-1, s.first)
	if in.Label == Missingness || in.Label == Stuck {
		s.magnitude = 0
	}
	for _, o := range d.script {
		if s.metric == o.metric && s.first <= o.last && o.first <= s.last {
			return fmt.Errorf("simulate: Script: anomalies of %s %s overlap", d.id, in.Metric)
		}
	}
	d.script = append(d.script, s)
	return nil
}

// spans returns all anomalies of a device that touch samples [first, last], by time.
func (d *device) spans(first, last int64) []span {
	size := d.periodSamples()
	var out []span
	for p := floorDiv(first, size); p <= floorDiv(last, size); p++ {
		out = append(out, d.background(p)...)
	}
	out = append(out, d.script...)
	out = slices.DeleteFunc(out, func(s span) bool { return s.last < first || s.first > last })
	slices.SortFunc(out, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.metric, b.metric))
	})
	return out
}

// load hands the metrics the anomalies of the period that holds sample n.
func (d *device) load(n int64) {
	size := d.periodSamples()
	p := floorDiv(n, size)
	if d.loaded && p == d.period {
		return
	}
	d.period, d.loaded = p, true
	for m := range d.metrics {
		d.metrics[m].spans = nil
	}
	for _, s := range d.spans(p*size, (p+1)*size-1) {
		d.metrics[s.metric].spans = append(d.metrics[s.metric].spans, s)
	}
}

// disturb applies an anomaly to metric m's clean value of sample n.
func (d *device) disturb(m int, s *span, n int64) (value float64, absent bool) {
	c := &d.metrics[m]
	switch s.label {
	case Missingness:
		return c.clean, true
	case Stuck:
		if !s.known {
			s.value, s.known = d.stuckAt(m, s.first-1), true
		}
		return s.value, false
	case Drift:
		part := float64(n-s.first+1) / float64(s.last-s.first+1)
		return c.clean + float64(float64(s.magnitude*c.spec.sigma)*part), false
	}
	return c.clean + float64(s.magnitude*c.spec.sigma), false
}

// stuckAt is the clean value of sample n, computed aside; a stuck door is open.
func (d *device) stuckAt(m int, n int64) float64 {
	if d.kind == ColdChain && d.metrics[m].spec.name == "door" {
		return 1
	}
	aside := *d
	aside.metrics = slices.Clone(d.metrics)
	aside.measure(n)
	return aside.metrics[m].clean
}
