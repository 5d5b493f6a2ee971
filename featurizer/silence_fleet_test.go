package featurizer

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// fleet are metrics of one step, each with a phase of its own, of which some
// samples are late, early or lost; all stop at an instant of their own.
type fleet struct {
	step, jitter float64 // s; a sample is off by up to jitter steps, evenly
	loss         float64
	metrics      int
	seconds      int
}

// outcome is what was said about a fleet.
type outcome struct {
	samples int
	hasty   int       // silences that a sample ended which was at most the second due
	gaps    int       // silences of two lost samples or more, none of them false
	ends    []float64 // steps from the last sample to the silence of who stopped
}

type arrival struct {
	at     int64 // µs
	metric int
	lost   int // samples before it
}

func (c fleet) run(t *testing.T) outcome {
	rng := rand.New(rand.NewPCG(7, uint64(1e6*c.jitter)))
	const start = int64(1_800_000_000) * 1e6
	var arrivals []arrival
	stopped := make([]int64, c.metrics)
	for m := range c.metrics {
		phase := rng.Float64() * c.step
		end := float64(c.seconds) - rng.Float64()*c.step
		lost := 0
		for k := 0; ; k++ {
			due := phase + float64(k)*c.step
			if due > end {
				break
			}
			at := start + int64(1e6*(due+c.step*c.jitter*(2*rng.Float64()-1)))
			if k > 40 && rng.Float64() < c.loss {
				lost++
				continue
			}
			arrivals = append(arrivals, arrival{at, m, lost})
			stopped[m], lost = at, 0
		}
	}
	slices.SortStableFunc(arrivals, func(a, b arrival) int { return int(a.at - b.at) })
	f := NewFold(Config{})
	out := &stream.Outputs{}
	said := make([]int64, c.metrics) // when the metric was last called silent, and not heard of since
	apply := func(e *schemas.Entry) {
		b, err := e.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		out.Reset()
		if err := f.Apply(stream.Input{Bytes: b}, out); err != nil {
			t.Fatal(err)
		}
		for _, b := range out.Entries() {
			e := &schemas.Entry{}
			if err := e.UnmarshalVT(b); err != nil {
				t.Fatal(err)
			}
			if s := e.GetFeatures(); s.GetSilent() && said[s.MetricId[1]] == 0 {
				said[s.MetricId[1]] = s.ReceivedAt
			}
		}
	}
	r := outcome{samples: len(arrivals)}
	next := 0
	for second := start; second < start+int64(1e6*(float64(c.seconds)+5*c.step)); second += 1e6 {
		for ; next < len(arrivals) && arrivals[next].at <= second; next++ {
			a := arrivals[next]
			switch {
			case said[a.metric] == 0:
			case a.lost < 2:
				r.hasty++
			default:
				r.gaps++
			}
			said[a.metric] = 0
			apply(&schemas.Entry{Kind: &schemas.Entry_Points{Points: &schemas.Points{TenantId: make([]byte, 16), DeviceId: make([]byte, 16), ReceivedAt: a.at,
				Series: []*schemas.Series{{MetricId: append([]byte{1, byte(a.metric)}, make([]byte, 14)...), Ts: []int64{a.at}, Values: []float64{1}}}}}})
		}
		apply(&schemas.Entry{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: second / 1e6}}})
	}
	for m, at := range said {
		if at == 0 {
			t.Errorf("metric %d stopped and was not called silent", m)
			continue
		}
		r.ends = append(r.ends, float64(at-stopped[m])/1e6/c.step)
	}
	slices.Sort(r.ends)
	return r
}

// TestSilenceOfFleets: within three steps, at one second within three and what a
// sample is usually late, and nobody is called silent for one lost sample.
func TestSilenceOfFleets(t *testing.T) {
	for _, c := range []fleet{
		{1, 0, 0, 50, 200}, {1, .01, .01, 50, 500}, {1, .05, .01, 50, 500}, {1, .1, .01, 50, 500}, {1, .2, .01, 50, 500}, {1, .3, .01, 50, 500},
		{1.5, .1, .01, 50, 600}, {2, .1, .01, 50, 800}, {5, .1, .01, 50, 1000}, {30, .1, .01, 50, 3000},
	} {
		r := c.run(t)
		median, most := r.ends[len(r.ends)/2], r.ends[len(r.ends)-1]
		within, _ := slices.BinarySearch(r.ends, 3.0000001)
		t.Logf("step %4.1f s, jitter %2.0f %%, lost %.0f %%: silent after median %.2f max %.2f steps, %3d of %3d within 3; %d samples, %d hasty, %d gaps of two or more",
			c.step, 100*c.jitter, 100*c.loss, median, most, within, len(r.ends), r.samples, r.hasty, r.gaps)
		limit := 3.0
		if c.step < 1.25 {
			limit += min(3*c.jitter, .75) // the second that a tick may take leaves no more than two steps
		}
		if most > limit {
			t.Errorf("step %.1f s, jitter %.2f: called silent after %.2f steps only", c.step, c.jitter, most)
		}
		if r.hasty > 0 && c.jitter <= .2 {
			t.Errorf("step %.1f s, jitter %.2f: %d of %d samples came in time after all", c.step, c.jitter, r.hasty, r.samples)
		}
	}
}
