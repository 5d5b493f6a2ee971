package app

import (
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/featurizer"
	"github.com/edgepulse/edgepulse/internal/demo"
	"github.com/edgepulse/edgepulse/internal/simulate"
	"github.com/edgepulse/edgepulse/internal/simulate/play"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// TestDemoShowsEveryLabel plays the demo through the folds: whatever the time of
// day, each of its rounds opens or updates an alert with every label while the
// round's script runs, and history alone opens none that somebody is told of.
func TestDemoShowsEveryLabel(t *testing.T) {
	for _, hour := range []int{2, 15} {
		now := time.Date(2026, 11, 23, hour, 7, 13, 0, time.UTC)
		p := newDemoPlay(t, now)
		p.history(demo.History(now.Add(-14*24*time.Hour)), now)
		if len(p.seen) > 0 {
			t.Errorf("at %d h, before anything happened: %v", hour, p.seen)
		}
		for round := range 3 {
			clear(p.seen)
			cfg, err := demo.Live(p.now, round)
			if err != nil {
				t.Fatal(err)
			}
			p.live(cfg, demo.RoundLength)
			for label := schemas.Label_LABEL_SPIKE; label <= schemas.Label_LABEL_STUCK; label++ {
				if at, ok := p.seen[label]; !ok || at > 160*time.Second {
					t.Errorf("at %d h, round %d: %s after %v, expected within 160 s", hour, round, label.Word(), at)
				}
			}
			t.Logf("at %d h, round %d: %v", hour, round, p.seen)
		}
	}
}

// demoPlay is the service reduced to its folds, with the demo's rules in force.
type demoPlay struct {
	t      *testing.T
	p      *Pipeline
	tenant schemas.ID
	root   uint64
	now    time.Time
	from   time.Time                       // of the round
	seen   map[schemas.Label]time.Duration // notified opened and updated events, since from
}

func newDemoPlay(t *testing.T, now time.Time) *demoPlay {
	d := &demoPlay{t: t, p: NewPipeline(featurizer.Config{}), tenant: schemas.ID{1}, now: now, from: now, seen: map[schemas.Label]time.Duration{}}
	d.p.Each = func(log stream.LogName, _ uint64, raw []byte) error {
		if schemas.KindOf(raw) != schemas.KindAlertEvent {
			return nil
		}
		e := &schemas.Entry{}
		if err := e.UnmarshalVT(raw); err != nil {
			return err
		}
		a := e.GetAlertEvent()
		if _, ok := d.seen[a.Label]; !ok && a.Notify && a.State != schemas.AlertState_ALERT_STATE_RESOLVED {
			d.seen[a.Label] = time.UnixMicro(a.Ts).Sub(d.from)
		}
		return nil
	}
	for i, r := range demo.Rules() {
		rule := &schemas.AlertRule{RuleId: append(make([]byte, 15), byte(i+1)), Name: r.Name, Enabled: true}
		rule.MinSeverity = schemas.Severity(schemas.Severity_value["SEVERITY_"+map[string]string{"info": "INFO", "warning": "WARNING"}[r.MinSeverity]])
		if len(r.Labels) > 0 {
			rule.Labels = []schemas.Label{schemas.Label_LABEL_DRIFT}
		}
		for text, into := range map[string]*int64{r.ResolveAfter: &rule.ResolveAfterUs, r.UpdateEvery: &rule.UpdateEveryUs} {
			if v, err := time.ParseDuration(text); err == nil {
				*into = v.Microseconds()
			}
		}
		d.send(&schemas.Entry{Kind: &schemas.Entry_Control{Control: &schemas.Control{Version: uint64(i + 1), TenantId: d.tenant[:],
			Change: &schemas.Control_AlertRule{AlertRule: rule}}}})
	}
	return d
}

func (d *demoPlay) send(e *schemas.Entry) {
	d.t.Helper()
	b, err := e.MarshalVT()
	if err != nil {
		d.t.Fatal(err)
	}
	d.root++
	if err := d.p.Root(0, d.root, [][]byte{b}); err != nil {
		d.t.Fatal(err)
	}
}

func (d *demoPlay) batch(points []simulate.Point, backfill bool) {
	d.t.Helper()
	for _, js := range play.Slices(points) {
		d.send(&schemas.Entry{Kind: &schemas.Entry_Batch{Batch: &schemas.Batch{TenantId: d.tenant[:], RequestId: "demo", ReceivedAt: d.now.UnixMicro(),
			Source: "test", Parts: 1, Backfill: backfill, Slices: []*schemas.DeviceSlice{{Json: js}}}}})
	}
}

func (d *demoPlay) history(cfg simulate.Config, until time.Time) {
	f, err := simulate.New(cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	var points []simulate.Point
	for p := range f.Until(until) {
		if !demo.Keep(p) {
			continue
		}
		if points = append(points, p); len(points) == 4000 {
			d.batch(points, true)
			points = points[:0]
		}
	}
	d.batch(points, true)
}

// live sends points within 100 ms of their time, and a tick per second.
func (d *demoPlay) live(cfg simulate.Config, length time.Duration) {
	f, err := simulate.New(cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	d.from = d.now
	for end := d.now.Add(length); d.now.Before(end); {
		d.now = d.now.Add(100 * time.Millisecond)
		var points []simulate.Point
		for p := range f.Until(d.now) {
			if demo.Keep(p) {
				points = append(points, p)
			}
		}
		d.batch(points, false)
		if d.now.Nanosecond() == 0 {
			d.send(&schemas.Entry{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: d.now.Unix()}}})
		}
	}
}
