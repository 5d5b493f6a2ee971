package featurizer

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// settingsLog has a point a second of two metrics, and after a while settings of
// the first; those of the second come before its first point.
func settingsLog(t *testing.T, s *schemas.MetricSettings, perSecond int64) [][]byte {
	t.Helper()
	var out [][]byte
	add := func(e *schemas.Entry) {
		b, err := e.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	tenant, device, a, b := schemas.ID{1}, schemas.ID{2}, schemas.ID{3}, schemas.ID{4}
	control := func(version uint64, id schemas.ID, s *schemas.MetricSettings) {
		if s != nil {
			s = proto.Clone(s).(*schemas.MetricSettings)
			s.MetricId = id[:]
			add(&schemas.Entry{Kind: &schemas.Entry_Control{Control: &schemas.Control{Version: version, TenantId: tenant[:], Change: &schemas.Control_MetricSettings{MetricSettings: s}}}})
		}
	}
	const start = int64(1_800_000_000)
	control(1, b, s)
	for sec := start; sec < start+900; sec++ {
		add(&schemas.Entry{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: sec}}})
		p := &schemas.Points{TenantId: tenant[:], DeviceId: device[:], ReceivedAt: sec*1e6 + 100_000}
		for _, id := range []schemas.ID{a, b} {
			series := &schemas.Series{MetricId: id[:]}
			last := int64(0)
			for k := range perSecond {
				ts := sec*1e6 + k*1e6/perSecond
				series.Ts, series.Values = append(series.Ts, ts-last), append(series.Values, float64((sec*31+k*7)%97))
				last = ts
			}
			p.Series = append(p.Series, series)
		}
		if sec < start+800 { // then they fall silent
			add(&schemas.Entry{Kind: &schemas.Entry_Points{Points: p}})
		}
		if sec == start+450 && s != nil {
			control(7, a, s)
			control(6, a, &schemas.MetricSettings{WindowUs: 20e6}) // older: ignored
		}
	}
	return out
}

func foldSettings(t *testing.T, log [][]byte, restarts int) (features []*schemas.Features) {
	t.Helper()
	f := NewFold(Config{})
	for i, b := range log {
		if restarts > 0 && i%restarts == 0 {
			again := NewFold(Config{})
			if err := stream.CopyState(again.State(), f.State()); err != nil {
				t.Fatal(err)
			}
			f = again
		}
		var out stream.Outputs
		if err := f.Apply(stream.Input{Root: uint64(i + 1), Bytes: b}, &out); err != nil {
			t.Fatal(err)
		}
		for _, o := range out.Entries() {
			e := &schemas.Entry{}
			if err := e.UnmarshalVT(o); err != nil {
				t.Fatal(err)
			}
			if v := e.GetFeatures(); v != nil {
				features = append(features, v)
			}
		}
	}
	return features
}

func equalFeatures(a, b []*schemas.Features) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !proto.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// Settings that say nothing of window and hop change no byte, and a window that
// is the usual one neither.
func TestDefaultSettingsChangeNothing(t *testing.T) {
	plain := foldSettings(t, settingsLog(t, nil, 1), 0)
	for _, s := range []*schemas.MetricSettings{{Enabled: true, Sensitivity: 2, Timezone: "Asia/Kathmandu"}, {WindowUs: 300e6, HopUs: 1e6}} {
		if !equalFeatures(plain, foldSettings(t, settingsLog(t, s, 1), 0)) {
			t.Errorf("%v changes features", s)
		}
	}
}

// Window and hop hold from the next point on, whatever was held before, for slow
// and fast metrics, over a restart anywhere; and go back with the settings.
func TestWindowAndHopOfOneMetric(t *testing.T) {
	const start, change = int64(1_800_000_000), int64(1_800_000_450)
	for _, c := range []struct{ perSecond, window, hop int64 }{{1, 60, 0}, {1, 900, 0}, {1, 60, 10}, {4, 900, 5}, {4, 30, 1}, {1, 0, 7}} {
		log := settingsLog(t, &schemas.MetricSettings{Enabled: true, WindowUs: c.window * 1e6, HopUs: c.hop * 1e6}, c.perSecond)
		got := foldSettings(t, log, 0)
		var instants, before []int64
		for _, v := range got {
			if v.Tick {
				continue
			}
			window := int64(300)
			if c.window > 0 && (v.MetricId[0] == 4 || v.Ts >= (change+1)*1e6) {
				window = c.window
			}
			// Sub-buckets round the beginning down by one of theirs.
			if width := (v.WindowEnd - v.WindowStart); width < window*1e6 || width > window*1e6*129/128+1e6 {
				t.Fatalf("%+v: metric %d at %d has a window of %d µs", c, v.MetricId[0], v.Ts/1e6-start, width)
			}
			// What the window holds is counted; one that has just grown knows what it lacks.
			held := min(v.Ts/1e6-start+1, window) * c.perSecond
			if v.MetricId[0] == 4 && c.perSecond == 1 && int64(v.Count) != held {
				t.Fatalf("%+v: %d points at %d, want %d", c, v.Count, v.Ts/1e6-start, held)
			}
			if v.MissingRate > .02 {
				t.Fatalf("%+v: metric %d at %d misses %v", c, v.MetricId[0], v.Ts/1e6-start, v.MissingRate)
			}
			if v.MetricId[0] != 3 {
				continue
			}
			if v.Ts >= (change+1)*1e6 {
				instants = append(instants, v.Ts)
			} else {
				before = append(before, v.Ts)
			}
		}
		hop := max(c.hop, 1)
		if want := 349 / hop; int64(len(instants)) < want-1 || int64(len(instants)) > want+1 || len(before) < 450 {
			t.Errorf("%+v: %d evaluations before the change, %d after it, want about %d", c, len(before), len(instants), want)
		}
		for _, every := range []int{13, 907} {
			if !equalFeatures(got, foldSettings(t, log, every)) {
				t.Errorf("%+v: a restart every %d entries changes features", c, every)
			}
		}
	}
}

// Settings outlive a metric that was forgotten, and go with their tenant.
func TestSettingsOutliveTheMetric(t *testing.T) {
	f := NewFold(Config{})
	apply := func(e *schemas.Entry) {
		b, err := e.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Apply(stream.Input{Root: 1, Bytes: b}, &stream.Outputs{}); err != nil {
			t.Fatal(err)
		}
	}
	tenant, device, id := schemas.ID{1}, schemas.ID{2}, schemas.ID{3}
	point := func(sec int64) {
		apply(&schemas.Entry{Kind: &schemas.Entry_Points{Points: &schemas.Points{TenantId: tenant[:], DeviceId: device[:], ReceivedAt: sec * 1e6,
			Series: []*schemas.Series{{MetricId: id[:], Ts: []int64{sec * 1e6}, Values: []float64{1}}}}}})
	}
	const start = int64(1_800_000_000)
	point(start)
	apply(&schemas.Entry{Kind: &schemas.Entry_Control{Control: &schemas.Control{Version: 1, TenantId: tenant[:], Change: &schemas.Control_MetricSettings{
		MetricSettings: &schemas.MetricSettings{MetricId: id[:], WindowUs: 60e6, ExpectedIntervalUs: 5e6}}}}})
	f.metrics.Delete(id) // as a tick does after eight days
	point(start + 9*86400)
	if m, ok := f.metrics.Get(id); !ok || m.window.width != 60e6 || m.settings.expected != 5e6 {
		t.Errorf("after its return: %+v", m.settings)
	}
	apply(&schemas.Entry{Kind: &schemas.Entry_Control{Control: &schemas.Control{TenantId: tenant[:], Change: &schemas.Control_TenantDeleted{TenantDeleted: &schemas.TenantDeleted{MetricIds: [][]byte{id[:]}}}}}})
	if f.settings.Len() != 0 || f.metrics.Len() != 0 {
		t.Error("something is left of a deleted tenant")
	}
}

// A metric without window and hop of its own is stored as it was before there were any.
func TestMetricsOfOldStayReadable(t *testing.T) {
	for _, s := range []settings{{version: 3, expected: 5e6}, {version: 3, window: 60e6}, {version: 3, window: 900e6}, {version: 3, hop: 7e6}, {window: 60e6, hop: 10e6, expected: 1}} {
		m := &metric{window: NewWindow(Config{})}
		for i := range int64(2000) { // too many for samples: in sub-buckets
			m.window.Add(i*250_000, float64(i%7))
		}
		m.set(s, Config{}.withDefaults()) // and no point behind it
		b := m.AppendState(nil)
		if own := s.window != 0 || s.hop != 0; (b[0] == ownWindow) != own {
			t.Errorf("%+v is stored as version %d", s, b[0])
		}
		got := &metric{window: NewWindow(Config{})}
		if err := got.DecodeState(b); err != nil || got.settings != s || string(got.AppendState(nil)) != string(b) {
			t.Errorf("%+v becomes %+v, %v", s, got.settings, err)
		}
		for n := range len(b) {
			_ = (&metric{window: NewWindow(Config{})}).DecodeState(b[:n]) // must not panic
		}
	}
}
