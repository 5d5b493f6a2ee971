package scorer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/zones"
	"github.com/edgepulse/edgepulse/scorer/internal/splitmix"
	"github.com/edgepulse/edgepulse/stream"
)

// Without settings every bit of every verdict is what it was before there were any,
// but for labels: a value that dwarfs its event, or follows a gap, has had a name
// of its own since (eleven rows of these; nothing but their labels differs).
func TestDefaultsLeaveEveryBit(t *testing.T) {
	const want = "d9b21dae42db5c22fe8cd360d609806eb6f4c1e8255274c3daf4efd1a0bbd41d"
	h := sha256.New()
	for seed := range uint64(12) {
		for _, v := range run(NewModel(seed), synthetic(seed, 3000)) {
			for _, f := range [...]float64{v.Score, v.Alarm, v.RawScore, v.RawAlarm, v.Expected, v.Lower, v.Upper, float64(v.Severity), float64(v.Label), v.Step} {
				_ = binary.Write(h, binary.LittleEndian, math.Float64bits(f))
			}
		}
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("the verdicts' hash is %s, want %s", got, want)
	}
}

// Twice the sensitivity gives about twice the alarms, half of it half: on noise
// with a tail, whatever the rule looks at.
func TestSensitivityCountsAlarms(t *testing.T) {
	count := func(sensitivity float64) (warnings, alarms int) {
		for seed := range uint64(12) {
			rng := splitmix.Source{State: seed}
			m := NewModel(seed)
			for i := range 20_000 {
				x := gauss(&rng)
				if rng.Intn(300) == 0 {
					x *= -3 * math.Log(1-rng.Float64()) // exponential excess
				}
				var v Verdict
				m.Observe(Observation{TS: 1_700_000_000_000_000 + int64(i)*5*minute, Value: x, Extreme: x, Step: 300, Sensitivity: sensitivity}, &v)
				if v.Severity >= Warning {
					warnings++
				}
				if v.Alarm >= publishedAlarm(AlarmThreshold(300), 0) {
					alarms++
				}
			}
		}
		return warnings, alarms
	}
	half, halfAlarms := count(.5)
	one, oneAlarms := count(1)
	two, twoAlarms := count(2)
	none, _ := count(0)
	t.Logf("warnings %d, %d, %d; alarm scores above the threshold %d, %d, %d at sensitivity 0.5, 1, 2", half, one, two, halfAlarms, oneAlarms, twoAlarms)
	if none != one {
		t.Errorf("%d warnings with the setting 1, %d without", one, none)
	}
	for _, c := range []struct {
		what       string
		less, more int
	}{{"warnings from 0.5 to 1", half, one}, {"warnings from 1 to 2", one, two}, {"alarm scores from 0.5 to 1", halfAlarms, oneAlarms}, {"alarm scores from 1 to 2", oneAlarms, twoAlarms}} {
		if ratio := float64(c.more) / float64(c.less); !(ratio > 1.3 && ratio < 4) {
			t.Errorf("%s: %d to %d, %.2f times", c.what, c.less, c.more, ratio)
		}
	}
}

// A plant that works from 8 to 18 by its own clocks is expected to, also on the
// day after they were changed; by UTC it is expected an hour off.
func TestSeasonFollowsLocalTime(t *testing.T) {
	berlin, err := zones.Find("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	missed := func(zone *zones.Zone) (sum float64) {
		m := NewModel(1)
		m.Move(zone)
		rng := splitmix.Source{State: 1}
		from := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		changed := time.Date(2026, 3, 29, 12, 0, 0, 0, time.UTC)
		for at := from; at.Before(changed.Add(36 * time.Hour)); at = at.Add(5 * time.Minute) {
			ts := at.UnixMicro()
			local := (ts + berlin.Offset(ts)) % dayMicros / (3600 * 1e6)
			x := gauss(&rng) * .2
			if local >= 8 && local < 18 {
				x += 10
			}
			usual, hit := m.mix.season.at(ts)
			if at.After(changed) && hit {
				sum += math.Abs(x - (usual + m.anchor))
			}
			var v Verdict
			m.Observe(Observation{TS: ts, Value: x, Extreme: x, Step: 300}, &v)
		}
		return sum
	}
	with, without := missed(berlin), missed(nil)
	t.Logf("deviations from the time of day after the change: %.0f with the zone, %.0f by UTC", with, without)
	if !(with < without/2) {
		t.Errorf("deviations %.0f with the zone, %.0f without", with, without)
	}
}

// What was learned by UTC goes along when the zone is set, and back.
func TestMoveTurnsTheSeason(t *testing.T) {
	for _, name := range []string{"Europe/Berlin", "Asia/Kathmandu", "America/New_York", "Pacific/Apia"} {
		zone, err := zones.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		m := NewModel(3)
		run(m, synthetic(3, 4000))
		before := m.mix.season
		m.Move(zone)
		for i := range 288 {
			ts := m.last + int64(i)*5*minute
			got, hit := m.mix.season.at(ts)
			want, was := before.at(ts)
			if (got != want || hit != was) && name != "Asia/Kathmandu" { // whose quarters of an hour are no whole slots of every table
				t.Fatalf("%s: %d slots on, %v %v is usual, was %v %v", name, i, got, hit, want, was)
			}
		}
		m.Move(nil)
		if m.mix.season != before {
			t.Errorf("%s: there and back is something else", name)
		}
	}
}

// foldLog is a log of features of two metrics with settings in between.
func foldLog(t *testing.T, with *schemas.MetricSettings) [][]byte {
	t.Helper()
	var out [][]byte
	add := func(e *schemas.Entry) {
		b, err := e.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	tenant, device, a, b := schemas.ID{1}, schemas.ID{2}, schemas.ID{3, 8: 5}, schemas.ID{4, 8: 6}
	control := func(version uint64, id schemas.ID, s *schemas.MetricSettings) {
		if s != nil {
			s = proto.Clone(s).(*schemas.MetricSettings)
			s.MetricId = id[:]
			add(&schemas.Entry{Kind: &schemas.Entry_Control{Control: &schemas.Control{Version: version, TenantId: tenant[:], Change: &schemas.Control_MetricSettings{MetricSettings: s}}}})
		}
	}
	control(1, b, with) // before its first row
	for i, o := range synthetic(5, 1500) {
		for _, id := range []schemas.ID{a, b} {
			add(&schemas.Entry{Kind: &schemas.Entry_Features{Features: &schemas.Features{TenantId: tenant[:], DeviceId: device[:], MetricId: id[:], Ts: o.TS, Value: o.Value,
				Extreme: o.Extreme, Mean: o.Features[0], Std: o.Features[1], Median: o.Features[2], Last: o.Value}}})
		}
		if i == 400 && with != nil {
			control(7, a, with)
			control(6, a, &schemas.MetricSettings{Sensitivity: .1}) // older: ignored
		}
	}
	return out
}

func foldAll(t *testing.T, log [][]byte, restarts int) (scores [][]byte) {
	t.Helper()
	f := New().(*Fold)
	for i, b := range log {
		if restarts > 0 && i%restarts == 0 {
			again := New().(*Fold)
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
			if schemas.KindOf(o) == schemas.KindScore {
				scores = append(scores, append([]byte(nil), o...))
			}
		}
	}
	return scores
}

func same(a, b [][]byte) int {
	n := 0
	for i := range a {
		if string(a[i]) == string(b[i]) {
			n++
		}
	}
	return n
}

// Settings that say nothing change no byte; others do, from where they stand in
// the log, and a restart anywhere changes nothing of that.
func TestSettingsInTheFold(t *testing.T) {
	plain := foldAll(t, foldLog(t, nil), 0)
	neutral := foldAll(t, foldLog(t, &schemas.MetricSettings{Enabled: true, Sensitivity: 1, WindowUs: 600e6, HopUs: 5e6}), 0)
	if n := same(plain, neutral); n != len(plain) || len(neutral) != n {
		t.Errorf("settings that concern nothing here change %d of %d scores", len(plain)-n, len(plain))
	}
	if sensitive := foldAll(t, foldLog(t, &schemas.MetricSettings{Enabled: true, Sensitivity: 20}), 0); same(plain, sensitive) == len(plain) {
		t.Error("sensitivity changes nothing")
	}
	log := foldLog(t, &schemas.MetricSettings{Enabled: true, Sensitivity: 4, Timezone: "Asia/Kathmandu"})
	set := foldAll(t, log, 0)
	if n := same(plain, set); n == len(plain) {
		t.Error("settings change nothing")
	}
	early := 0
	for i := 0; i < 800; i += 2 { // of a, before its settings
		if string(plain[i]) != string(set[i]) {
			early++
		}
	}
	if early > 0 {
		t.Errorf("%d scores before the settings are others", early)
	}
	for _, every := range []int{7, 401} {
		if n := same(set, foldAll(t, log, every)); n != len(set) {
			t.Errorf("a restart every %d entries changes %d of %d scores", every, len(set)-n, len(set))
		}
	}
}

// A metric without the later settings is stored as it was before they existed.
func TestRecordsOfOldStayReadable(t *testing.T) {
	old := &metric{settings: 3, direction: schemas.Direction_DIRECTION_UP, minDeviation: 2, model: NewModel(1)}
	b := old.AppendState(nil)
	if b[0] != 1 {
		t.Errorf("the first byte is %d", b[0])
	}
	own := &metric{settings: 4, sensitivity: 2, timezone: "Europe/Berlin", model: NewModel(1)}
	for _, m := range []*metric{old, own} {
		b := m.AppendState(nil)
		var got metric
		if err := got.DecodeState(b); err != nil || string(got.AppendState(nil)) != string(b) || got.timezone != m.timezone || got.sensitivity != m.sensitivity {
			t.Errorf("%+v becomes %+v, %v", m, got, err)
		}
		for n := range len(b) {
			_ = new(metric).DecodeState(b[:n]) // must not panic
		}
	}
	if zone, _ := zones.Find("Europe/Berlin"); own.timezone == "" || zone == nil {
		t.Error("no zone")
	}
}
