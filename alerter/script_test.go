package alerter

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

var rewrite = flag.Bool("rewrite", false, "write the scripts' outputs as they are")

// TestScripts runs testdata/*.txt: cases separated by "====" lines, each made of
// a title, inputs, "----" and the expected events. Times are seconds.
//
//	rule NAME [tenant=T] [version=N] key=value...  | unrule NAME
//	silence NAME from=S to=S [rule=NAME] [device=GLOB] [metric=GLOB] | unsilence NAME
//	settings METRIC [enabled=BOOL] [tags=k:v,...]
//	device NAME [tags=k:v,...]
//	metric METRIC [tenant=T] [device=NAME] [tags=k:v,...]
//	score METRIC TS alarm [severity] [label] [v=VALUE] [exp=VALUE] [warm] [backfill] [tick] [lag=S]
//	tick S [TO]
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		cases := strings.Split(string(raw), "\n====\n")
		for i, c := range cases {
			input, want, _ := strings.Cut(c, "\n----")
			title, body, _ := strings.Cut(input, "\n")
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+title, func(t *testing.T) {
				got := strings.Join(runScript(t, body), "\n")
				if want = strings.TrimSpace(want); got != want && !*rewrite {
					t.Errorf("got:\n%s\nwant:\n%s", got, want)
				}
				cases[i] = input + "\n----\n" + got
			})
		}
		if *rewrite {
			if err := os.WriteFile(file, []byte(strings.Join(cases, "\n====\n")+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// script builds entries with ids made of the names it meets.
type script struct {
	version uint64
	metrics map[string]*schemas.MetricDeclared
}

func idOf(kind, name string) schemas.ID { return schemas.DeviceID(schemas.ID{1}, kind+"/"+name) }

func bytesOf(kind, name string) []byte {
	id := idOf(kind, name)
	return id[:]
}

func runScript(t *testing.T, body string) []string {
	t.Helper()
	f, s := New(), &script{metrics: map[string]*schemas.MetricDeclared{}}
	var lines []string
	for root, line := range strings.Split(body, "\n") {
		for _, e := range s.entries(t, line) {
			raw, err := e.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			var out stream.Outputs
			if err := f.Apply(stream.Input{Root: uint64(root + 1), Bytes: raw}, &out); err != nil {
				lines = append(lines, "refused: "+err.Error())
			}
			for _, b := range out.Entries() {
				lines = append(lines, s.describe(t, b))
			}
		}
	}
	return lines
}

func (s *script) entries(t *testing.T, line string) []*schemas.Entry {
	t.Helper()
	words := strings.Fields(line)
	if len(words) == 0 || strings.HasPrefix(line, "#") {
		return nil
	}
	opts := map[string]string{}
	var plain []string
	for _, w := range words[1:] {
		if k, v, ok := strings.Cut(w, "="); ok {
			opts[k] = v
		} else {
			plain = append(plain, w)
		}
	}
	tenant := "acme"
	if v := opts["tenant"]; v != "" {
		tenant = v
	}
	control := &schemas.Control{TenantId: bytesOf("tenant", tenant)}
	s.version++
	control.Version = s.version
	if v := opts["version"]; v != "" {
		control.Version = uint64(number(t, v))
	}
	wrap := []*schemas.Entry{{Kind: &schemas.Entry_Control{Control: control}}}
	switch words[0] {
	case "rule":
		control.Change = &schemas.Control_AlertRule{AlertRule: rule(t, plain[0], opts)}
	case "unrule":
		control.Change = &schemas.Control_AlertRuleDeleted{AlertRuleDeleted: &schemas.AlertRuleDeleted{RuleId: bytesOf("rule", plain[0])}}
	case "silence":
		silence := &schemas.Silence{SilenceId: bytesOf("silence", plain[0]), DevicePattern: opts["device"], MetricPattern: opts["metric"],
			StartsAt: micros(t, opts["from"]), EndsAt: micros(t, opts["to"])}
		if opts["rule"] != "" {
			silence.RuleId = bytesOf("rule", opts["rule"])
		}
		control.Change = &schemas.Control_Silence{Silence: silence}
	case "unsilence":
		control.Change = &schemas.Control_SilenceDeleted{SilenceDeleted: &schemas.SilenceDeleted{SilenceId: bytesOf("silence", plain[0])}}
	case "settings":
		control.Change = &schemas.Control_MetricSettings{MetricSettings: &schemas.MetricSettings{
			MetricId: bytesOf("metric", plain[0]), Enabled: opts["enabled"] != "false", Tags: tags(opts["tags"])}}
	case "device":
		control.Change = &schemas.Control_DeviceSettings{DeviceSettings: &schemas.DeviceSettings{DeviceId: bytesOf("device", plain[0]), Tags: tags(opts["tags"])}}
	case "metric":
		return []*schemas.Entry{{Kind: &schemas.Entry_MetricDeclared{MetricDeclared: s.declare(plain[0], tenant, opts)}}}
	case "score":
		return []*schemas.Entry{{Kind: &schemas.Entry_Score{Score: s.score(t, plain, opts)}}}
	case "tick":
		return ticks(t, plain)
	default:
		t.Fatalf("unknown line %q", line)
	}
	return wrap
}

func ticks(t *testing.T, plain []string) []*schemas.Entry {
	from := int64(number(t, plain[0]))
	to := from
	if len(plain) > 1 {
		to = int64(number(t, plain[1]))
	}
	var out []*schemas.Entry
	for sec := from; sec <= to; sec++ {
		out = append(out, &schemas.Entry{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: sec}}})
	}
	return out
}

func rule(t *testing.T, name string, opts map[string]string) *schemas.AlertRule {
	r := &schemas.AlertRule{RuleId: bytesOf("rule", name), Name: name, Enabled: opts["enabled"] != "false",
		DevicePattern: opts["device"], MetricPattern: opts["metric"], NotifyBackfill: opts["notify_backfill"] == "true",
		ForUs: micros(t, opts["for"]), ResolveAfterUs: micros(t, opts["resolve_after"]), CooldownUs: micros(t, opts["cooldown"]),
		UpdateEveryUs: micros(t, opts["update_every"]), MinScore: number(t, opts["min_score"]), ResolveScore: number(t, opts["resolve_score"]),
		MinAbsDeviation: number(t, opts["min_abs"]), MinRelDeviation: number(t, opts["min_rel"])}
	var ok bool
	if r.MinSeverity, ok = schemas.ParseSeverity(opts["min_severity"]); !ok {
		t.Fatalf("severity %q", opts["min_severity"])
	}
	if r.Direction, ok = schemas.ParseDirection(opts["direction"]); !ok {
		t.Fatalf("direction %q", opts["direction"])
	}
	for _, l := range list(opts["labels"]) {
		label, _ := schemas.ParseLabel(l)
		r.Labels = append(r.Labels, label)
	}
	for _, m := range list(opts["metrics"]) {
		r.MetricIds = append(r.MetricIds, bytesOf("metric", m))
	}
	for _, d := range list(opts["devices"]) {
		r.DeviceIds = append(r.DeviceIds, bytesOf("device", d))
	}
	r.Tags = tags(opts["tags"])
	return r
}

func (s *script) declare(name, tenant string, opts map[string]string) *schemas.MetricDeclared {
	device := "dev"
	if opts["device"] != "" {
		device = opts["device"]
	}
	d := &schemas.MetricDeclared{TenantId: bytesOf("tenant", tenant), DeviceId: bytesOf("device", device), MetricId: bytesOf("metric", name),
		DeviceExternalId: device, Name: name, Unit: "C", Tags: tags(opts["tags"])}
	s.metrics[name] = d
	return d
}

func (s *script) score(t *testing.T, plain []string, opts map[string]string) *schemas.Score {
	name := plain[0]
	out := &schemas.Score{TenantId: bytesOf("tenant", "acme"), DeviceId: bytesOf("device", "dev"), MetricId: bytesOf("metric", name),
		Ts: micros(t, plain[1]), AlarmScore: number(t, plain[2]), Value: number(t, opts["v"]), Expected: number(t, opts["exp"]),
		WarmUp: schemas.WarmUp_WARM_UP_TRUSTED}
	out.Score = out.AlarmScore
	if d := s.metrics[name]; d != nil {
		out.TenantId, out.DeviceId = d.TenantId, d.DeviceId
	}
	if v := opts["tenant"]; v != "" {
		out.TenantId = bytesOf("tenant", v)
	}
	for _, w := range plain[3:] {
		switch w {
		case "warm":
			out.WarmUp = schemas.WarmUp_WARM_UP_CALIBRATING
		case "backfill":
			out.Backfill = true
		case "tick":
			out.Tick = true
		default:
			if sev, ok := schemas.ParseSeverity(w); ok {
				out.Severity = sev
			} else if label, ok := schemas.ParseLabel(w); ok {
				out.Label = label
				out.Silent = label == schemas.Label_LABEL_MISSINGNESS
			} else {
				t.Fatalf("score word %q", w)
			}
		}
	}
	if out.Severity > 0 {
		out.Explanation = "because"
	}
	out.ReceivedAt = out.Ts + micros(t, opts["lag"])
	return out
}

// describe prints what a case asserts of an event: everything but its ids, which are checked here.
func (s *script) describe(t *testing.T, raw []byte) string {
	t.Helper()
	var entry schemas.Entry
	if err := entry.UnmarshalVT(raw); err != nil {
		t.Fatal(err)
	}
	e := entry.GetAlertEvent()
	if want := schemas.EventID(schemas.ID(e.AlertId), e.Ordinal); string(want[:]) != string(e.EventId) {
		t.Errorf("event id is not derived from alert and ordinal")
	}
	line := fmt.Sprintf("%s %s %s/%s #%d %s %s a=%v", seconds(e.Ts), e.State.Word(), e.RuleName, e.MetricName, e.Ordinal,
		e.Severity.Word(), e.Label.Word(), e.AlarmScore)
	if e.OpenedAt != e.Ts {
		line += " since=" + seconds(e.OpenedAt)
	}
	ordinal := uint32(0)
	for ; ordinal < 9; ordinal++ {
		if id := schemas.AlertID(schemas.ID(e.RuleId), schemas.ID(e.MetricId), e.OpenedAt, ordinal); string(id[:]) == string(e.AlertId) {
			break
		}
	}
	if ordinal > 0 {
		line += fmt.Sprintf(" alert=%d", ordinal)
	}
	if e.Backfill {
		line += " backfill"
	}
	if !e.Notify {
		by := e.SuppressedBy
		if id, ok := strings.CutPrefix(by, "silence:"); ok {
			for _, name := range []string{"s1", "s2"} {
				if idOf("silence", name).String() == id {
					by = "silence:" + name
				}
			}
		}
		line += " held:" + by
	}
	return line + " | " + e.Explanation
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func tags(s string) []*schemas.Tag {
	var out []*schemas.Tag
	for _, kv := range list(s) {
		k, v, _ := strings.Cut(kv, ":")
		out = append(out, &schemas.Tag{Key: k, Value: v})
	}
	return out
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	if s == "" {
		return 0
	}
	if s == "nan" {
		return math.NaN()
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func micros(t *testing.T, s string) int64 { return int64(math.Round(number(t, s) * 1e6)) }

func seconds(us int64) string {
	return strings.TrimSuffix((time.Duration(us) * time.Microsecond).String(), "s")
}
