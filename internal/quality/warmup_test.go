package quality

import (
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/simulate"
	"github.com/edgepulse/edgepulse/schemas"
)

// TestWarmUp: a new metric raises no storm. Fleets without anomalies begin live,
// from nothing, at several rhythms; of their rows 60 to 300 at most 2 % may bear
// a warning.
func TestWarmUp(t *testing.T) {
	rows, warned, young := 0, 0, 0
	for _, step := range []time.Duration{time.Second, 10 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour} {
		start := time.Unix(1_790_000_000, 0).UTC().Truncate(day)
		end := start.Add(301 * step)
		cfg := simulate.Config{Seed: *seed, Devices: 8, Start: start, Step: step, ClockSkew: time.Second, Jitter: .1, DropRate: .01}
		p := newPlant(t, cfg, time.Second)
		if err := p.present(start, end); err != nil {
			t.Fatal(err)
		}
		n, w := 0, 0
		labels := map[schemas.Label]int{}
		for _, s := range p.order {
			for i, v := range s.verdicts {
				alarm := v.severity >= schemas.Severity_SEVERITY_WARNING
				switch {
				case i < 60 && alarm:
					young++
				case i >= 60 && i < 300:
					n++
					if alarm {
						w++
						labels[v.label]++
					}
				}
			}
		}
		t.Logf("every %-5s %6d rows, %.4f warned %v", step, n, share(w, n), labels)
		rows, warned = rows+n, warned+w
	}
	t.Logf("in all %.4f of %d rows, floor .02, goal .01; %d warnings before row 60", share(warned, rows), rows, young)
	if share(warned, rows) > .02 {
		t.Errorf("%d of %d rows warned", warned, rows)
	}
}
