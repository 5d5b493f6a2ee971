package payload

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var fuzzSeeds = []string{
	item(`{"name":"v","ts":"2026-11-23T08:44:00Z","value":1.5,"unit":"V"},{"name":"v","value":1},{"name":"v","value":2}`),
	item(`{"name":" a\tb","value":1e999},{"name":"\u00e9","ts":1795423440123,"value":-0},7`),
	`{"batches":[{"metrics":[{"value":1,"name":"a","ts":1000}],"device_external_id":"x","tags":{"a":"b"}},{"device_external_id":"x","metrics":[{"name":"a","value":3}]}],"backfill":true}`,
	`{"device_external_id":"\u0064 1","backfill":true,"metrics":[{"name":"a","ts":"1970-01-01T00:00:00.0000019+00:00","value":3,"tags":{"k":"v"}}]}`,
	`{"batches":[[[[[[[[[]]]]]]]]]}`, `{"a":1,"a":2}`, ``, `nul`,
}

// FuzzDecodeBody: never a panic; slices are verbatim; the normaliser's way finds
// the same samples; encoding/json reads the same names and values.
func FuzzDecodeBody(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		before := bytes.Clone(input)
		body, fault := NewDecoder().DecodeBody(input, opts)
		if !bytes.Equal(before, input) {
			t.Fatal("the input was changed")
		}
		if fault != nil {
			if fault.Code == "" || fault.Detail() == "" {
				t.Fatalf("fault without code or words: %+v", fault)
			}
			return
		}
		var std stdBody
		if err := json.Unmarshal(input, &std); err != nil && body.Rejected == 0 {
			t.Fatalf("encoding/json refuses what was accepted whole: %v", err)
		}
		accepted, rejected := 0, 0
		for _, dev := range body.Devices {
			if dev.Fault != nil {
				rejected += max(1, dev.Points)
				continue
			}
			accepted, rejected = accepted+len(dev.Samples), rejected+len(dev.Rejected)
			checkDevice(t, input, body, dev)
		}
		if accepted != body.Accepted || rejected != body.Rejected {
			t.Fatalf("counts %d %d, found %d %d", body.Accepted, body.Rejected, accepted, rejected)
		}
	})
}

func checkDevice(t *testing.T, input []byte, body *Body, dev Device) {
	if !bytes.Equal(dev.JSON, input[dev.Offset:dev.Offset+len(dev.JSON)]) || !json.Valid(dev.JSON) {
		t.Fatalf("slice of device %d is not verbatim", dev.Index)
	}
	if len(dev.Samples)+len(dev.Rejected) != dev.Points {
		t.Fatalf("device %d: %d points, %d accepted, %d rejected", dev.Index, dev.Points, len(dev.Samples), len(dev.Rejected))
	}
	var skip []uint32
	for _, r := range dev.Rejected {
		skip = append(skip, uint32(r.Index))
	}
	if !slices.IsSorted(skip) {
		t.Fatalf("rejected indices not ascending: %v", skip)
	}
	// With and without bounds: what the gateway named is all there is to refuse.
	for _, lim := range []Limits{opts.Limits, {}} {
		again, fault := NewDecoder().DecodeDevice(dev.JSON, Options{ReceivedAt: opts.ReceivedAt, Backfill: body.Backfill, Limits: lim}, skip)
		if fault != nil {
			t.Fatalf("device %d decodes in the body but not alone: %v", dev.Index, fault)
		}
		if len(again.Rejected) != 0 || again.ExternalID != dev.ExternalID || !sameSamples(again.Samples, dev.Samples) || !slices.Equal(again.Tags, dev.Tags) {
			t.Fatalf("device %d alone: %+v\nin the body: %+v", dev.Index, again, dev)
		}
	}
	var std stdDevice
	if err := json.Unmarshal(dev.JSON, &std); err != nil {
		t.Fatalf("encoding/json: %v", err)
	}
	if name, _ := NormaliseName(std.ID); name != dev.ExternalID {
		t.Fatalf("encoding/json reads device %q, we %q", std.ID, dev.ExternalID)
	}
	for _, s := range dev.Samples {
		var m stdItem
		if err := json.Unmarshal(std.Metrics[s.Index], &m); err != nil {
			t.Fatalf("encoding/json: %v", err)
		}
		name, _ := NormaliseName(m.Name)
		unit, _ := CanonicalUnit(m.Unit)
		if name != s.Name || unit != s.Unit || math.Float64bits(m.Value) != math.Float64bits(s.Value) || len(m.Tags) != len(s.Tags) {
			t.Fatalf("encoding/json reads %+v, we %+v", m, s)
		}
		if s.HasTS {
			checkTS(t, m.TS, s.TS)
		}
	}
}

func sameSamples(a, b []Sample) bool {
	return slices.EqualFunc(a, b, func(x, y Sample) bool {
		return x.Index == y.Index && x.Name == y.Name && x.TS == y.TS && x.HasTS == y.HasTS && math.Float64bits(x.Value) == math.Float64bits(y.Value) &&
			x.Unit == y.Unit && slices.Equal(x.Tags, y.Tags)
	})
}

func checkTS(t *testing.T, raw json.RawMessage, got int64) {
	var want int64
	if raw[0] == '"' {
		var at time.Time
		if err := json.Unmarshal(raw, &at); err != nil {
			t.Fatalf("encoding/json refuses the time %s: %v", raw, err)
		}
		want = at.UnixMicro()
	} else if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatalf("encoding/json refuses the integer %s: %v", raw, err)
	} else {
		want *= 1000
	}
	if got != want {
		t.Fatalf("ts %s: %d, want %d", raw, got, want)
	}
}

// FuzzParseRFC3339: what is accepted, the standard library accepts with the same
// value; what the standard library writes is accepted. It reads more than RFC 3339
// has (a comma, an hour of one digit), hence not everything that it reads.
func FuzzParseRFC3339(f *testing.F) {
	for _, s := range []string{"2026-11-23T08:44:00Z", "2024-02-29T23:59:59.999999999-23:59", "2023-02-29T00:00:00Z", "0000-01-01T00:00:00+00:01", "2026-11-23T08:44:00.Z", "9999-12-31T23:59:59Z", "2026-11-23t08:44:00z", "2000-02-29T00:00:00,5Z", "1900-03-01T00:00:00Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseRFC3339([]byte(s))
		var want time.Time
		err := want.UnmarshalText([]byte(s))
		if ok && (err != nil || got != want.UnixMicro()) {
			t.Fatalf("%q: %d, want %d %v", s, got, want.UnixMicro(), err)
		}
		if want = want.UTC(); err != nil || want.Year() < 0 || want.Year() > 9999 {
			return
		}
		written := want.Format(time.RFC3339Nano)
		if got, ok = parseRFC3339([]byte(written)); !ok || got != want.UnixMicro() {
			t.Fatalf("%q: %d %v, want %d", written, got, ok, want.UnixMicro())
		}
	})
}

// FuzzNormaliseName: applying it twice changes nothing.
func FuzzNormaliseName(f *testing.F) {
	for _, s := range []string{" a b ", "e\u0301 \u2000x", "\u0301 a", "\u1100 \u1161", "K\u212a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once, why := NormaliseName(s)
		if why != "" {
			return
		}
		if twice, why := NormaliseName(once); twice != once || why != "" {
			t.Fatalf("%q -> %q -> %q %s", s, once, twice, why)
		}
		if utf8.RuneCountInString(once) > maxNameChars || strings.ContainsAny(once, " \t\n\x00") {
			t.Fatalf("%q -> %q", s, once)
		}
	})
}
