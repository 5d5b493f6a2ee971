package featurizer

import (
	"fmt"
	"testing"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// TestSilence: a metric that stops is noticed by a tick within three of its
// intervals, before and after a restore alike.
func TestSilence(t *testing.T) {
	for _, step := range []int64{1, 10, 60} {
		f := NewFold(Config{})
		out := &stream.Outputs{}
		apply := func(e *schemas.Entry) {
			b, err := e.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Apply(stream.Input{Bytes: b}, out); err != nil {
				t.Fatal(err)
			}
		}
		var tenant, device, busy, quiet schemas.ID
		tenant[0], device[0], busy[0], quiet[0] = 1, 2, 3, 4
		const start = int64(1_800_000_000)
		second := start
		run := func(until int64, ids ...schemas.ID) {
			for ; second < until; second++ {
				apply(&schemas.Entry{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: second}}})
				if (second-start)%step != 0 {
					continue
				}
				points := &schemas.Points{TenantId: tenant[:], DeviceId: device[:], ReceivedAt: second*1e6 + 100_000}
				for _, id := range ids {
					points.Series = append(points.Series, &schemas.Series{MetricId: id[:], Ts: []int64{second * 1e6}, Values: []float64{float64(second % 7)}})
				}
				apply(&schemas.Entry{Kind: &schemas.Entry_Points{Points: points}})
			}
		}
		stops := start + 20*step
		run(stops, busy, quiet)
		if step == 10 {
			again := NewFold(Config{})
			if err := stream.CopyState(again.State(), f.State()); err != nil {
				t.Fatal(err)
			}
			f = again
		}
		out.Reset()
		run(stops+4*step+10, busy)
		found := ""
		for _, b := range out.Entries() {
			e := &schemas.Entry{}
			if err := e.UnmarshalVT(b); err != nil {
				t.Fatal(err)
			}
			if s := e.GetFeatures(); s.GetSilent() {
				last := stops - step // of the quiet metric
				found = fmt.Sprintf("%x after %d ", s.MetricId[0], s.ReceivedAt/1e6-last)
				if s.ReceivedAt/1e6-last > 3*step {
					t.Errorf("step %d s: silence noticed after %d s", step, s.ReceivedAt/1e6-last)
				}
				break
			}
		}
		if found == "" {
			t.Errorf("step %d s: a metric that stopped was not noticed", step)
		}
	}
}
