package featurizer

import (
	"testing"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// silenceRun feeds metrics that fall silent one after the other, ticks in between.
type silenceRun struct {
	t    *testing.T
	fold *Fold
	out  stream.Outputs
	said []string // the ticks' evaluations: metric and second
	now  int64
}

func (r *silenceRun) apply(e *schemas.Entry) {
	b, err := e.MarshalVT()
	if err != nil {
		r.t.Fatal(err)
	}
	r.out.Reset()
	if err := r.fold.Apply(stream.Input{Bytes: b}, &r.out); err != nil {
		r.t.Fatal(err)
	}
	for _, raw := range r.out.Entries() {
		var o schemas.Entry
		if err := o.UnmarshalVT(raw); err != nil {
			r.t.Fatal(err)
		}
		if f := o.GetFeatures(); f.GetTick() {
			r.said = append(r.said, string('a'+rune(f.MetricId[0]))+" "+seconds0(f.ReceivedAt))
		}
	}
}

func seconds0(us int64) string { return schemas.ID{15: byte(us / 1e6)}.String()[34:] }

// second gives the metrics below n a point each, then ticks.
func (r *silenceRun) second(n int) {
	r.now += 1e6
	for i := range n {
		id := schemas.ID{byte(i), 1}
		r.apply(&schemas.Entry{Kind: &schemas.Entry_Points{Points: &schemas.Points{TenantId: id[:], DeviceId: id[:], ReceivedAt: r.now,
			Series: []*schemas.Series{{MetricId: id[:], Ts: []int64{r.now}, Values: []float64{float64(r.now)}}}}}})
	}
	r.apply(&schemas.Entry{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: r.now / 1e6}}})
}

// TestSilenceIsNoticedAtItsDeadline: the deadline comes nearer when the rhythm
// is learned, and a restored fold, which never knew the farther one, agrees.
func TestSilenceIsNoticedAtItsDeadline(t *testing.T) {
	run := func(restoreEvery int64) []string {
		r := &silenceRun{t: t, fold: NewFold(Config{})}
		for n := 3; n >= 0; n-- {
			for range 20 {
				r.second(n)
				if restoreEvery > 0 && r.now/1e6%restoreEvery == 0 {
					next := NewFold(Config{})
					if err := stream.CopyState(next.State(), r.fold.State()); err != nil {
						t.Fatal(err)
					}
					r.fold = next
				}
			}
		}
		return r.said
	}
	live := run(0)
	if len(live) != 3 || live[0] != "c 17" || live[1] != "b 2b" || live[2] != "a 3f" {
		t.Fatalf("silent (metric, second in hex): %q", live)
	}
	for _, every := range []int64{1, 7} {
		if restored := run(every); len(restored) != len(live) || restored[0] != live[0] || restored[1] != live[1] || restored[2] != live[2] {
			t.Fatalf("restored every %d s: %q, live %q", every, restored, live)
		}
	}
}
