package payload

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// fastSeeds are near the border of what the fast way takes.
var fastSeeds = []string{
	item(`{"name":"v","ts":"2026-11-23T08:44:00.123456789+01:00","value":-0.0,"unit":"°C","tags":{"b":"1","a":"2"}}`),
	item(`{"name":"v","ts":1795423440123,"value":123456789012345}, {"name":"v","value":1234567890123456789}`),
	item(`{"name":"v","value":0.1e1},{"name":"w","value":1E-400},{"name":"x","value":00.5}`),
	item(`{"name":"v","value":4.35,"name":"w"}`),
	item(`{"name":"é","value":.5}`), item(`{"name":"\xff","value":1}`), item(`{"name":"a b","value":1.}`), item(``),
	`{"batches":[]}`, `{"batches":[{"device_external_id":"a","metrics":[]},{"device_external_id":"b","metrics":[{"name":"n","value":1}],"tags":{}}],"backfill":true}`,
	` { "device_external_id" : "d" , "backfill" : false , "metrics" : [ { "name" : "n" , "value" : 3 } ] } `,
	`{"device_external_id":"d","metrics":[{"name":"n","value":3}]}x`, `{"device_external_id":"d","metrics":[{"name":"n","value":3},]}`,
	`{"device_external_id":"d","tags":{"a":"b","a":"c"},"metrics":[]}`, `{"tags":{},"batches":[]}`, `{"backfill":truex}`,
}

// FuzzFastWay: both ways give the same answer, be it samples or a fault.
func FuzzFastWay(f *testing.F) {
	for _, s := range append(fastSeeds, fuzzSeeds...) {
		f.Add([]byte(s))
	}
	f.Fuzz(compareWays)
}

func compareWays(t *testing.T, input []byte) {
	fast, careful := NewDecoder(), NewDecoder()
	careful.careful = true
	small := opts
	small.Limits.Points = 2
	for _, o := range []Options{opts, small, {ReceivedAt: opts.ReceivedAt}} {
		got, gotFault := fast.DecodeBody(input, o)
		want, wantFault := careful.DecodeBody(input, o)
		if !reflect.DeepEqual(gotFault, wantFault) || gotFault == nil && !reflect.DeepEqual(even(*got), even(*want)) {
			t.Fatalf("%q\nfast    %+v %v\ncareful %+v %v", input, got, gotFault, want, wantFault)
		}
		one, oneFault := fast.DecodeDevice(input, o, nil)
		other, otherFault := careful.DecodeDevice(input, o, nil)
		if !reflect.DeepEqual(oneFault, otherFault) || oneFault == nil && !reflect.DeepEqual(evenDevice(*one), evenDevice(*other)) {
			t.Fatalf("%q alone\nfast    %+v %v\ncareful %+v %v", input, one, oneFault, other, otherFault)
		}
	}
}

// even makes one of what means the same: no list and an empty one, whose memory
// was used before or not.
func even(b Body) Body {
	b.Devices = slices.Clone(b.Devices)
	for i := range b.Devices {
		b.Devices[i] = evenDevice(b.Devices[i])
	}
	if len(b.Devices) == 0 {
		b.Devices = nil
	}
	return b
}

func evenDevice(d Device) Device {
	if len(d.Samples) == 0 {
		d.Samples = nil
	}
	if len(d.Rejected) == 0 {
		d.Rejected = nil
	}
	if len(d.Tags) == 0 {
		d.Tags = nil
	}
	return d
}

// TestFastWayOnDamagedBodies goes where a fuzzer needs long to come: bodies that
// are right but for a byte.
func TestFastWayOnDamagedBodies(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const damage = "{}[]:,\"\\ 0e.-+\x00\xc3\xa9t"
	for range 20000 {
		input := []byte(fastSeeds[rng.IntN(len(fastSeeds))])
		switch at := rng.IntN(len(input)); rng.IntN(4) {
		case 0:
			input = append(input[:at:at], input[at+1:]...)
		case 1:
			input[at] = damage[rng.IntN(len(damage))]
		case 2:
			input = bytes.Repeat(input, 2)
		case 3:
			word := []string{`"name"`, `"value"`, `{`, `[`, `1`, `null`, `"ts"`, ` `, `,`, `"\u0061"`}[rng.IntN(10)]
			input = []byte(string(input[:at]) + word + string(input[at:]))
		}
		compareWays(t, input)
	}
}

// TestFastWayIsTaken: a decoder that always gave up would pass every comparison.
func TestFastWayIsTaken(t *testing.T) {
	d := NewDecoder()
	for _, body := range []string{string(benchBody(100)),
		`{"batches":[{"device_external_id":"a","tags":{"k":"v"},"metrics":[{"name":"n","ts":1795423440123,"value":-1.5e3,"unit":"°C"}]}],"backfill":true}`} {
		d.reset([]byte(body), opts)
		if !d.fast(false) {
			t.Errorf("the fast way gives up on %s", body[:min(len(body), 200)])
		}
	}
	d.reset([]byte(strings.Replace(string(benchBody(2)), `"V"`, `"\u0056"`, 1)), opts)
	if d.fast(false) {
		t.Error("an escape was taken")
	}
}
