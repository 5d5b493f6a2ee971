package alerter

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// world draws a plausible log: two tenants, a few metrics and rules, scores that
// flap, ticks with outages, silences, changes of rules.
type world struct {
	t       *rapid.T
	second  int64
	version uint64
}

var worldTenants = []string{"acme", "other"}

// Metrics and rules belong to the tenant of their first letter.
var (
	worldMetrics = []string{"am1", "am2", "om1"}
	worldRules   = []string{"ar1", "ar2", "or1"}
)

func tenantOf(name string) []byte {
	if name[0] == 'a' {
		return bytesOf("tenant", "acme")
	}
	return bytesOf("tenant", "other")
}

func (w *world) pick(label string, names []string) string {
	return rapid.SampledFrom(names).Draw(w.t, label)
}

func (w *world) span(label string) int64 {
	return rapid.SampledFrom([]int64{0, 0, 1, 3, 10}).Draw(w.t, label) * second
}

func (w *world) control(change func(*schemas.Control)) *schemas.Entry {
	w.version++
	c := &schemas.Control{Version: w.version}
	if rapid.IntRange(0, 9).Draw(w.t, "stale") == 0 {
		c.Version = 1
	}
	change(c)
	return &schemas.Entry{Kind: &schemas.Entry_Control{Control: c}}
}

func (w *world) entry() *schemas.Entry {
	switch rapid.SampledFrom([]string{"score", "score", "score", "score", "score", "tick", "tick", "rule", "unrule", "silence", "unsilence",
		"settings", "device", "declare"}).Draw(w.t, "kind") {
	case "tick":
		w.second += rapid.SampledFrom([]int64{1, 1, 1, 2, 60}).Draw(w.t, "tick")
		return &schemas.Entry{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: w.second}}}
	case "rule":
		return w.rule(w.pick("rule", worldRules))
	case "unrule":
		name := w.pick("rule", worldRules)
		return w.control(func(c *schemas.Control) {
			c.TenantId = tenantOf(name)
			c.Change = &schemas.Control_AlertRuleDeleted{AlertRuleDeleted: &schemas.AlertRuleDeleted{RuleId: bytesOf("rule", name)}}
		})
	case "silence":
		from := (w.second + rapid.Int64Range(-3, 3).Draw(w.t, "from")) * second
		return w.control(func(c *schemas.Control) {
			c.TenantId = bytesOf("tenant", w.pick("tenant", worldTenants))
			c.Change = &schemas.Control_Silence{Silence: &schemas.Silence{SilenceId: bytesOf("silence", w.pick("silence", []string{"s1", "s2"})),
				StartsAt: from, EndsAt: from + rapid.Int64Range(1, 10).Draw(w.t, "to")*second}}
		})
	case "unsilence":
		return w.control(func(c *schemas.Control) {
			c.TenantId = bytesOf("tenant", w.pick("tenant", worldTenants))
			c.Change = &schemas.Control_SilenceDeleted{SilenceDeleted: &schemas.SilenceDeleted{
				SilenceId: bytesOf("silence", w.pick("silence", []string{"s1", "s2"}))}}
		})
	case "settings":
		name := w.pick("metric", worldMetrics)
		return w.control(func(c *schemas.Control) {
			c.TenantId = tenantOf(name)
			c.Change = &schemas.Control_MetricSettings{MetricSettings: &schemas.MetricSettings{MetricId: bytesOf("metric", name),
				Enabled: rapid.IntRange(0, 3).Draw(w.t, "enabled") > 0, Tags: w.tags()}}
		})
	case "device":
		name := w.pick("metric", worldMetrics)
		return w.control(func(c *schemas.Control) {
			c.TenantId = tenantOf(name)
			c.Change = &schemas.Control_DeviceSettings{DeviceSettings: &schemas.DeviceSettings{DeviceId: bytesOf("device", name), Tags: w.tags()}}
		})
	case "declare":
		return declared(w.pick("metric", worldMetrics), rapid.SampledFrom([]string{"a", "b"}).Draw(w.t, "site"))
	default:
		return w.score(w.pick("metric", worldMetrics))
	}
}

func (w *world) tags() []*schemas.Tag {
	return rapid.SampledFrom([][]*schemas.Tag{nil, {{Key: "site", Value: "a"}}, {{Key: "site", Value: "b"}}}).Draw(w.t, "tags set")
}

func declared(name, site string) *schemas.Entry {
	return &schemas.Entry{Kind: &schemas.Entry_MetricDeclared{MetricDeclared: &schemas.MetricDeclared{TenantId: tenantOf(name),
		DeviceId: bytesOf("device", name), MetricId: bytesOf("metric", name), DeviceExternalId: "dev", Name: name,
		Tags: []*schemas.Tag{{Key: "site", Value: site}}}}}
}

func (w *world) rule(name string) *schemas.Entry {
	r := &schemas.AlertRule{RuleId: bytesOf("rule", name), Name: name, Enabled: rapid.IntRange(0, 9).Draw(w.t, "enabled") > 0,
		MinScore: rapid.SampledFrom([]float64{0, .5, .8}).Draw(w.t, "min"), ResolveScore: rapid.SampledFrom([]float64{0, .3}).Draw(w.t, "resolve"),
		MinSeverity: schemas.Severity(rapid.IntRange(0, 2).Draw(w.t, "severity")), Direction: schemas.Direction(rapid.IntRange(0, 2).Draw(w.t, "direction")),
		ForUs: w.span("for"), ResolveAfterUs: w.span("after"), CooldownUs: w.span("cool"), UpdateEveryUs: w.span("every"),
		NotifyBackfill: rapid.Bool().Draw(w.t, "notify"), MetricPattern: rapid.SampledFrom([]string{"", "*m1", "?m2"}).Draw(w.t, "pattern")}
	if rapid.IntRange(0, 3).Draw(w.t, "tags") == 0 {
		r.Tags = []*schemas.Tag{{Key: "site", Value: "a"}}
	}
	return w.control(func(c *schemas.Control) {
		c.TenantId, c.Change = tenantOf(name), &schemas.Control_AlertRule{AlertRule: r}
	})
}

func (w *world) score(name string) *schemas.Entry {
	at := w.second*second + rapid.Int64Range(-2*second, second).Draw(w.t, "jitter")
	s := &schemas.Score{TenantId: tenantOf(name), DeviceId: bytesOf("device", name), MetricId: bytesOf("metric", name), Ts: at, ReceivedAt: w.second * second,
		AlarmScore: rapid.SampledFrom([]float64{0, .1, .4, .6, .9, 1}).Draw(w.t, "score"), Value: float64(rapid.IntRange(-2, 2).Draw(w.t, "value")),
		Severity: schemas.Severity(rapid.IntRange(0, 3).Draw(w.t, "severity")), Label: schemas.Label(rapid.IntRange(0, 5).Draw(w.t, "label")),
		WarmUp: schemas.WarmUp(rapid.IntRange(1, 3).Draw(w.t, "warm")), Explanation: "because"}
	if rapid.IntRange(0, 5).Draw(w.t, "backfill") == 0 {
		s.Backfill, s.Ts = true, at-1000*second
	}
	if rapid.IntRange(0, 19).Draw(w.t, "foreign") == 0 {
		s.TenantId = bytesOf("tenant", w.pick("tenant", worldTenants)) // now and then a damaged entry
	}
	return &schemas.Entry{Kind: &schemas.Entry_Score{Score: s}}
}

func drawLog(t *rapid.T) [][]byte {
	w := &world{t: t, second: 1000}
	entries := []*schemas.Entry{declared("am1", "a"), declared("om1", "a"), w.rule("ar1"), w.rule("or1")}
	for range rapid.IntRange(1, 120).Draw(t, "length") {
		entries = append(entries, w.entry())
	}
	out := make([][]byte, len(entries))
	for i, e := range entries {
		raw, err := e.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		out[i] = raw
	}
	return out
}

// apply folds one entry and returns its outputs; refused entries have none.
func apply(f *Fold, root int, raw []byte) [][]byte {
	var out stream.Outputs
	buf := bytes.Clone(raw) // valid during the call only: spoiled afterwards
	if err := f.Apply(stream.Input{Root: uint64(root), Bytes: buf}, &out); err != nil {
		return nil
	}
	clear(buf)
	var events [][]byte
	for _, e := range out.Entries() {
		events = append(events, bytes.Clone(e))
	}
	return events
}

// reborn is a fold restored from the encoded records of another.
func reborn(t *rapid.T, f *Fold) *Fold {
	next := New()
	copyTable(t, f.controls, next.controls)
	copyTable(t, f.metrics, next.metrics)
	copyTable(t, f.watches, next.watches)
	copyTable(t, f.clocks, next.clocks)
	next.restored()
	return next
}

func copyTable[V stream.Record](t *rapid.T, from, to *stream.Table[V]) {
	for _, key := range from.Keys() {
		rec, _ := from.Get(key)
		raw := rec.AppendState(nil)
		fresh := to.Touch(key)
		if err := fresh.DecodeState(raw); err != nil {
			t.Fatal(err)
		}
		if again := fresh.AppendState(nil); !bytes.Equal(raw, again) {
			t.Fatalf("a record is not encoded as it was decoded: %x, %x", raw, again)
		}
	}
}

// TestSameAfterRestart: a fold restored after any entry goes on like one that
// never stopped, to the byte of every event and of the state.
func TestSameAfterRestart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := drawLog(t)
		steady, restarted := New(), New()
		for i, raw := range log {
			want, got := apply(steady, i, raw), apply(restarted, i, raw)
			if len(want) != len(got) {
				t.Fatalf("entry %d: %d events, %d after a restart", i, len(want), len(got))
			}
			for j := range want {
				if !bytes.Equal(want[j], got[j]) {
					t.Fatalf("entry %d: event %d differs after a restart", i, j)
				}
			}
			if rapid.IntRange(0, 4).Draw(t, "restart") == 0 {
				restarted = reborn(t, restarted)
			}
		}
		if a, b := dump(steady), dump(restarted); a != b {
			t.Fatalf("states differ:\n%s\n%s", a, b)
		}
	})
}

func dump(f *Fold) string {
	var b strings.Builder
	for _, key := range f.watches.Keys() {
		w, _ := f.watches.Get(key)
		fmt.Fprintf(&b, "%s %x\n", key, w.AppendState(nil))
	}
	return b.String()
}

// TestAlertsAreWellFormed: every alert is opened once, then updated, then
// resolved once, with ordinals in order, time that never goes back, ids as
// derived, events of its own tenant only; who was told of an alert is told of
// its end; at most one alert of a rule and metric is open.
func TestAlertsAreWellFormed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type alert struct {
			next     uint32
			ts       int64
			told     bool
			resolved bool
		}
		alerts, open := map[string]*alert{}, map[string]string{}
		f := New()
		for i, raw := range drawLog(t) {
			for _, out := range apply(f, i, raw) {
				var entry schemas.Entry
				if err := entry.UnmarshalVT(out); err != nil {
					t.Fatal(err)
				}
				e := entry.GetAlertEvent()
				a := alerts[string(e.AlertId)]
				pair := string(e.RuleId) + string(e.MetricId)
				opened := e.State == schemas.AlertState_ALERT_STATE_OPENED
				if opened != (a == nil) || opened != (e.Ordinal == 0) {
					t.Fatalf("entry %d: alert is opened twice or never: %v", i, e)
				}
				if opened {
					if open[pair] != "" {
						t.Fatalf("entry %d: a second alert opens", i)
					}
					a = &alert{ts: e.Ts}
					alerts[string(e.AlertId)], open[pair] = a, string(e.AlertId)
				}
				if a.resolved || e.Ordinal != a.next || e.Ts < a.ts || e.Ts < e.OpenedAt {
					t.Fatalf("entry %d: out of order: %v", i, e)
				}
				if e.Notify != (e.SuppressedBy == "") {
					t.Fatalf("entry %d: held back without a reason, or the reverse", i)
				}
				if id := schemas.EventID(schemas.ID(e.AlertId), e.Ordinal); !bytes.Equal(id[:], e.EventId) {
					t.Fatalf("entry %d: event id is not derived", i)
				}
				if !bytes.Equal(e.TenantId, tenantOf(e.RuleName)) || e.MetricName != "" && !bytes.Equal(e.TenantId, tenantOf(e.MetricName)) {
					t.Fatalf("entry %d: rule %s saw metric %s", i, e.RuleName, e.MetricName)
				}
				if e.State == schemas.AlertState_ALERT_STATE_RESOLVED {
					if e.Notify != a.told {
						t.Fatalf("entry %d: told of the opening %v, of the end %v", i, a.told, e.Notify)
					}
					a.resolved = true
					delete(open, pair)
				}
				a.next, a.ts, a.told = a.next+1, e.Ts, a.told || e.Notify
			}
		}
	})
}

// TestBoundedTransitions: what is due at once beyond the bound waits for the next ticks, and nothing is lost.
func TestBoundedTransitions(t *testing.T) {
	f, s := New(), &script{metrics: map[string]*schemas.MetricDeclared{}}
	const metrics = 2*maxTransitions + 50
	root, counts := 0, []int{}
	feed := func(line string) int {
		events := 0
		for _, e := range s.entries(t, line) {
			raw, err := e.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			root++
			events += len(apply(f, root, raw))
		}
		return events
	}
	feed("rule r min_score=0.5")
	feed("tick 9")
	for i := range metrics {
		feed(fmt.Sprintf("metric m%d", i))
		feed(fmt.Sprintf("score m%d 10 0.9 warning spike", i))
	}
	for _, line := range []string{"unrule r", "tick 11", "tick 12", "tick 13"} {
		counts = append(counts, feed(line))
	}
	if want := []int{maxTransitions, maxTransitions, 50, 0}; fmt.Sprint(counts) != fmt.Sprint(want) {
		t.Errorf("resolved %v, want %v", counts, want)
	}
	if f.watches.Len() != 0 {
		t.Errorf("%d watches are left", f.watches.Len())
	}
}

// TestNothingIsLeft: a metric that has calmed down leaves no state behind.
func TestNothingIsLeft(t *testing.T) {
	f, s := New(), &script{metrics: map[string]*schemas.MetricDeclared{}}
	for root, line := range []string{"rule r min_score=0.5 cooldown=5 resolve_after=5", "metric m", "tick 9 10", "score m 10 0.9 warning spike",
		"score m 11 0.1", "tick 11 40"} {
		for _, e := range s.entries(t, line) {
			raw, err := e.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			apply(f, root, raw)
		}
	}
	if f.watches.Len() != 0 || f.due.items.Len() != 0 {
		t.Errorf("%d watches and %d deadlines are left", f.watches.Len(), f.due.items.Len())
	}
}

func FuzzDecodeState(f *testing.F) {
	w := &watch{open: true, ruleName: "r", last: &schemas.Score{Ts: 1, Explanation: "because"}}
	f.Add(w.AppendState(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		// Damaged bytes give an error or a record; never a panic.
		_ = new(watch).DecodeState(data)
		_ = new(control).DecodeState(data)
		_ = new(metric).DecodeState(data)
		_ = new(clock).DecodeState(data)
	})
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "anything", true}, {"*", "", true}, {"?", "", false}, {"a*b*c", "aXXbYYc", true}, {"a*b*c", "aXXbYY", false},
		{"pump-?", "pump-7", true}, {"pump-?", "pump-ü", true}, {"pump-??", "pump-ü", false}, {"a[b]c", "a[b]c", true},
		{`a\*c`, "a*c", true}, {`a\*c`, "abc", false}, {`a\`, `a\`, true}, {"site/*/temp", "site/1/2/temp", true},
		{"Temp", "temp", false}, {"*\xff", "a\xff", true}, {"\xff", "\xfe", false}, {"\ufffd", "\xff", false}, {"?", "\xff", true},
		{strings.Repeat("a*", 50) + "b", strings.Repeat("a", 5000), false},
	} {
		if got := globMatch(c.pattern, c.name); got != c.want {
			t.Errorf("glob %q on %.20q: %v", c.pattern, c.name, got)
		}
	}
}

func BenchmarkScore(b *testing.B) {
	for _, c := range []struct {
		name, score string
		rules       int
	}{{"quiet, 1 rule", "score m 10 0.1", 1}, {"quiet, 1000 rules", "score m 10 0.1", 1000}, {"open, 1 rule", "score m 10 0.9 warning spike", 1}} {
		b.Run(c.name, func(b *testing.B) {
			f, s, t := New(), &script{metrics: map[string]*schemas.MetricDeclared{}}, &testing.T{}
			lines := []string{"metric m"}
			for i := range c.rules {
				lines = append(lines, fmt.Sprintf("rule r%d min_score=0.5", i))
			}
			var raw []byte
			var out stream.Outputs
			for _, line := range append(lines, c.score) {
				raw, _ = s.entries(t, line)[0].MarshalVT()
				if err := f.Apply(stream.Input{Bytes: raw}, &out); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				out.Reset()
				if err := f.Apply(stream.Input{Bytes: raw}, &out); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestForeignNameStaysHidden: a damaged score, of a metric that nobody has declared
// yet, opens an alert of its tenant. When the owner declares the metric, the alert
// ends without its name.
func TestForeignNameStaysHidden(t *testing.T) {
	f := New()
	w := &schemas.AlertRule{RuleId: bytesOf("rule", "or1"), Name: "or1", Enabled: true}
	log := []*schemas.Entry{
		{Kind: &schemas.Entry_Control{Control: &schemas.Control{Version: 1, TenantId: tenantOf("or1"), Change: &schemas.Control_AlertRule{AlertRule: w}}}},
		{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: 1000}}},
		{Kind: &schemas.Entry_Score{Score: &schemas.Score{TenantId: tenantOf("or1"), DeviceId: bytesOf("device", "am2"), MetricId: bytesOf("metric", "am2"),
			Ts: 1000 * second, ReceivedAt: 1000 * second, AlarmScore: 1, Severity: schemas.Severity_SEVERITY_CRITICAL, Label: schemas.Label_LABEL_SPIKE, WarmUp: schemas.WarmUp(3)}}},
		declared("am2", "a"),
		{Kind: &schemas.Entry_Control{Control: &schemas.Control{Version: 2, TenantId: tenantOf("or1"),
			Change: &schemas.Control_AlertRuleDeleted{AlertRuleDeleted: &schemas.AlertRuleDeleted{RuleId: bytesOf("rule", "or1")}}}}},
		{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: 1001}}},
		{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: 1002}}},
	}
	var states []schemas.AlertState
	for i, entry := range log {
		raw, err := entry.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		for _, out := range apply(f, i, raw) {
			var e schemas.Entry
			if err := e.UnmarshalVT(out); err != nil {
				t.Fatal(err)
			}
			states = append(states, e.GetAlertEvent().State)
			if e.GetAlertEvent().MetricName != "" || e.GetAlertEvent().DeviceExternalId != "" {
				t.Errorf("entry %d tells a stranger of %v", i, e.GetAlertEvent())
			}
		}
	}
	if want := []schemas.AlertState{schemas.AlertState_ALERT_STATE_OPENED, schemas.AlertState_ALERT_STATE_RESOLVED}; fmt.Sprint(states) != fmt.Sprint(want) {
		t.Errorf("states %v, want %v", states, want)
	}
}
