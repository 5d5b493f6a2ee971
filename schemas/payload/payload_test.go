package payload

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var (
	now  = time.Date(2026, 11, 23, 8, 45, 0, 0, time.UTC)
	opts = Options{ReceivedAt: now.UnixMicro(), Limits: DefaultLimits()}
)

// verdict writes down what the decoder made of a body, one line per finding.
func verdict(body string, o Options) string {
	got, f := NewDecoder().DecodeBody([]byte(body), o)
	if f != nil {
		return fmt.Sprintf("refused %s %q", f.Code, f.Pointer)
	}
	var b strings.Builder
	for _, d := range got.Devices {
		if d.Fault != nil {
			fmt.Fprintf(&b, "device %d refused %s %q\n", d.Index, d.Fault.Code, d.Fault.Pointer)
			continue
		}
		fmt.Fprintf(&b, "device %d %q", d.Index, d.ExternalID)
		for _, t := range d.Tags {
			fmt.Fprintf(&b, " %s=%s", t.Key, t.Value)
		}
		b.WriteByte('\n')
		for _, s := range d.Samples {
			ts := "-"
			if s.HasTS {
				ts = time.UnixMicro(s.TS).UTC().Format(time.RFC3339Nano)
			}
			fmt.Fprintf(&b, "  %d %q %s %v %q", s.Index, s.Name, ts, s.Value, s.Unit)
			for _, t := range s.Tags {
				fmt.Fprintf(&b, " %s=%s", t.Key, t.Value)
			}
			b.WriteByte('\n')
		}
		for _, r := range d.Rejected {
			fmt.Fprintf(&b, "  %d rejected %s %q\n", r.Index, r.Code, r.Pointer)
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// item wraps one item of "metrics" in a body.
func item(s string) string { return `{"device_external_id":"d","metrics":[` + s + `]}` }

func TestDecodeBody(t *testing.T) {
	deep := strings.Repeat("[", 9) + strings.Repeat("]", 9)
	for _, c := range []struct{ name, body, want string }{
		{"one device", item(`{"name":"v","ts":"2026-11-23T08:44:00Z","value":1.5,"unit":"V"}`),
			`device 0 "d"` + "\n" + `  0 "v" 2026-11-23T08:44:00Z 1.5 "V"`},
		{"batches, backfill at the end", `{"batches":[{"metrics":[{"value":1,"name":"a","ts":1000}],"device_external_id":"x"},{"device_external_id":"y","metrics":[]}],"backfill":true}`,
			`device 0 "x"` + "\n" + `  0 "a" 1970-01-01T00:00:01Z 1 ""` + "\n" + `device 1 "y"`},
		{"names are normalised", item(`{"name":"  Cafe\u0301  temp ","value":1,"unit":"°C"}`), `device 0 "d"` + "\n" + `  0 "Café_temp" - 1 "degC"`},
		{"tags", `{"tags":{"b":"2","a":"1"},"device_external_id":"d","metrics":[{"name":"v","value":1,"tags":{"k":"v"}}]}`,
			`device 0 "d" a=1 b=2` + "\n" + `  0 "v" - 1 "" k=v`},
		{"offset and fraction", item(`{"name":"v","ts":"2026-11-23T09:44:00.1234567+01:00","value":1}`),
			`device 0 "d"` + "\n" + `  0 "v" 2026-11-23T08:44:00.123456Z 1 ""`},
		{"milliseconds", item(`{"name":"v","ts":1795423440123,"value":1}`), `device 0 "d"` + "\n" + `  0 "v" 2026-11-23T08:44:00.123Z 1 ""`},
		{"second sample without ts", item(`{"name":"v","value":1},{"name":"v","value":2},{"name":"w","value":2}`),
			`device 0 "d"` + "\n" + `  0 "v" - 1 ""` + "\n" + `  2 "w" - 2 ""` + "\n" + `  1 rejected ts_missing "/metrics/1/ts"`},
		{"the same over two objects of one device", `{"batches":[{"device_external_id":"d","metrics":[{"name":"v","value":1}]},{"device_external_id":"d","metrics":[{"name":"v","value":2}]}]}`,
			`device 0 "d"` + "\n" + `  0 "v" - 1 ""` + "\n" + `device 1 "d"` + "\n" + `  0 rejected ts_missing "/metrics/0/ts"`},
		{"partial", item(`{"name":"v","value":"1"},{"name":"v","value":null},{"value":1},{"name":"w","value":2},3,{"name":"","value":1},{"name":"v"},{"name":"v","value":1,"x":{}}`),
			`device 0 "d"` + "\n" + `  3 "w" - 2 ""` + "\n" + `  0 rejected wrong_type "/metrics/0/value"` + "\n" + `  1 rejected wrong_type "/metrics/1/value"` + "\n" +
				`  2 rejected missing_field "/metrics/2/name"` + "\n" + `  4 rejected not_an_object "/metrics/4"` + "\n" + `  5 rejected bad_name "/metrics/5/name"` + "\n" +
				`  6 rejected missing_field "/metrics/6/value"` + "\n" + `  7 rejected unknown_field "/metrics/7/x"`},
		{"bounds", item(`{"name":"v","ts":"2026-11-16T08:44:59.999999Z","value":1},{"name":"v","ts":"2026-11-16T08:45:00Z","value":1},{"name":"v","ts":"2026-11-23T08:55:00Z","value":1},{"name":"v","ts":"2026-11-23T08:55:00.000001Z","value":1},{"name":"v","ts":1795423440,"value":1},{"name":"v","ts":1.5,"value":1},{"name":"v","ts":-1,"value":1},{"name":"v","ts":"yesterday","value":1},{"name":"v","ts":true,"value":1},{"name":"v","ts":1e3,"value":1}`),
			`device 0 "d"` + "\n" + `  1 "v" 2026-11-16T08:45:00Z 1 ""` + "\n" + `  2 "v" 2026-11-23T08:55:00Z 1 ""` + "\n" +
				`  0 rejected ts_too_old "/metrics/0/ts"` + "\n" + `  3 rejected ts_in_future "/metrics/3/ts"` + "\n" + `  4 rejected ts_too_old "/metrics/4/ts"` + "\n" +
				`  5 rejected bad_ts "/metrics/5/ts"` + "\n" + `  6 rejected ts_too_old "/metrics/6/ts"` + "\n" + `  7 rejected bad_ts "/metrics/7/ts"` + "\n" +
				`  8 rejected wrong_type "/metrics/8/ts"` + "\n" + `  9 rejected bad_ts "/metrics/9/ts"`},
		{"not finite", item(`{"name":"v","value":1e999}`), `device 0 "d"` + "\n" + `  0 rejected not_finite "/metrics/0/value"`},
		{"one bad device of several", `{"batches":[7,{"device_external_id":"a\u0000","metrics":[{"name":"v","value":1}]},{"metrics":[]},{"device_external_id":"d"},{"device_external_id":"d","metrics":{}},{"device_external_id":"d","metrics":[],"backfill":true},{"device_external_id":"e","metrics":[],"tags":{"a":1}},{"device_external_id":"f","metrics":[{"name":"v","value":1}]}]}`,
			`device 0 refused wrong_type "/batches/0"` + "\n" + `device 1 refused bad_name "/batches/1/device_external_id"` + "\n" +
				`device 2 refused missing_field "/batches/2/device_external_id"` + "\n" + `device 3 refused missing_field "/batches/3/metrics"` + "\n" +
				`device 4 refused wrong_type "/batches/4/metrics"` + "\n" + `device 5 refused unknown_field "/batches/5/backfill"` + "\n" +
				`device 6 refused bad_tags "/batches/6/tags/a"` + "\n" + `device 7 "f"` + "\n" + `  0 "v" - 1 ""`},
		{"empty", " \n", `refused empty_body ""`},
		{"not an object", `[]`, `refused wrong_type ""`},
		{"cut off", `{"device_external_id":"d","metrics":[{"name":`, `refused malformed_json "/metrics/0/name"`},
		{"trailing", item(`{"name":"v","value":1}`) + "{}", `refused malformed_json ""`},
		{"duplicate key", item(`{"name":"v","value":1,"value":2}`), `refused duplicate_key "/metrics/0/value"`},
		{"duplicate key, escaped", item(`{"name":"v","value":1,"\u0076alue":2}`), `refused duplicate_key "/metrics/0/value"`},
		{"invalid UTF-8", item("{\"name\":\"v\xff\",\"value\":1}"), `refused invalid_utf8 "/metrics/0/name"`},
		{"lone surrogate", item(`{"name":"\ud800","value":1}`), `refused malformed_json "/metrics/0/name"`},
		{"NaN", item(`{"name":"v","value":NaN}`), `refused malformed_json "/metrics/0/value"`},
		{"leading zero", item(`{"name":"v","value":01}`), `refused malformed_json "/metrics/0"`},
		{"comment", `{/**/"metrics":[]}`, `refused malformed_json ""`},
		{"too deep", item(`{"name":"v","value":` + deep + `}`), `refused too_deep "/metrics/0/value"`},
		{"much too deep", item(strings.Repeat("[", 100000)), `refused too_deep`},
		{"mixed", `{"batches":[],"device_external_id":"d"}`, `refused mixed_forms ""`},
		{"unknown outer field", `{"batches":[],"foo":1}`, `refused unknown_field "/foo"`},
		{"backfill is no boolean", `{"batches":[],"backfill":"yes"}`, `refused wrong_type "/backfill"`},
		{"batches is no array", `{"batches":{}}`, `refused wrong_type "/batches"`},
		{"batches within batches", `{"batches":[{"batches":[],"metrics":[],"device_external_id":"d"}]}`, `device 0 refused unknown_field "/batches/0/batches"`},
		{"too many", item(strings.TrimSuffix(strings.Repeat(`1,`, 5001), ",")), `refused too_many_points "/metrics/4999"`},
		{"too many devices", `{"batches":[` + strings.TrimSuffix(strings.Repeat(`{},`, 5001), ",") + `]}`, `refused too_many_points "/batches/4999"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := verdict(c.body, opts)
			if c.name == "much too deep" {
				got = strings.SplitAfter(got, "too_deep")[0]
			}
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestCanonicalUnit(t *testing.T) {
	for in, want := range map[string]string{"°C": "degC", "celsius": "degC", "Celsius": "degC", "degC": "degC", "mW": "mW", "MW": "MW", "KWh": "kWh",
		"\u2126": "Ohm", "µg/m³": "ug/m3", "": "", " ": "", "furlong": "furlong", "Percent": "%"} {
		got, why := CanonicalUnit(in)
		if got != want || why != "" {
			t.Errorf("CanonicalUnit(%q) = %q, %q, want %q", in, got, why, want)
		}
		if again, _ := CanonicalUnit(got); again != got {
			t.Errorf("%q is canonical but becomes %q", got, again)
		}
	}
}

func TestNormaliseName(t *testing.T) {
	for in, want := range map[string]string{" a b ": "a_b", "a \u2003 b": "a_b", "A\u030a": "Å", "a.b*c>": "a.b*c>", strings.Repeat("ä", 128): strings.Repeat("ä", 128)} {
		if got, why := NormaliseName(in); got != want || why != "" {
			t.Errorf("NormaliseName(%q) = %q, %q, want %q", in, got, why, want)
		}
	}
	for _, in := range []string{"", "  ", "a\n", "\x00", "a\u0085b", strings.Repeat("a", 129), strings.Repeat("e\u0301", 2000), "\xff"} {
		if got, why := NormaliseName(in); why == "" {
			t.Errorf("NormaliseName(%q) = %q, want it refused", in, got)
		}
	}
}

// TestMemoryIsUsedAgain: a small body after a large one must see nothing of it.
func TestMemoryIsUsedAgain(t *testing.T) {
	d := NewDecoder()
	if _, f := d.DecodeBody(benchBody(1000), opts); f != nil {
		t.Fatal(f)
	}
	for range 3 {
		got, f := d.DecodeBody([]byte(item(`{"name":"v","value":1}`)), opts)
		if f != nil || got.Accepted != 1 || got.Rejected != 0 || got.Points != 1 || len(got.Devices) != 1 {
			t.Fatalf("%+v %v", got, f)
		}
	}
	if _, f := d.DecodeBody([]byte(`{`), opts); f == nil {
		t.Fatal("accepted half an object")
	}
	if got, f := d.DecodeBody([]byte(item(`{"name":"v","value":1}`)), opts); f != nil || got.Accepted != 1 {
		t.Fatal(got, f)
	}
}
