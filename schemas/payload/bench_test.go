package payload

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

var bench0 = time.Date(2026, 11, 23, 8, 45, 0, 0, time.UTC)

// benchBody is one device with n points of 20 metrics, as a meter sends them.
func benchBody(n int) []byte {
	var b strings.Builder
	b.WriteString(`{"device_external_id":"meter-001","metrics":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"name":"metric_%02d","ts":%q,"value":%.3f,"unit":"V"}`, i%20,
			bench0.Add(time.Duration(i)*time.Millisecond).Format(time.RFC3339Nano), 229.5+float64(i%97)/7)
	}
	b.WriteString(`]}`)
	return []byte(b.String())
}

func BenchmarkDecodeBody(b *testing.B) {
	body := benchBody(1000)
	o := Options{ReceivedAt: bench0.UnixMicro(), Limits: DefaultLimits()}
	d := NewDecoder()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		got, f := d.DecodeBody(body, o)
		if f != nil || got.Accepted != 1000 {
			b.Fatal(got, f)
		}
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "points/s")
}

func BenchmarkDecodeDevice(b *testing.B) {
	body := benchBody(1000)
	o := Options{ReceivedAt: bench0.UnixMicro()}
	d := NewDecoder()
	b.ReportAllocs()
	for b.Loop() {
		if got, f := d.DecodeDevice(body, o, []uint32{3, 500}); f != nil || len(got.Samples) != 998 {
			b.Fatal(f)
		}
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "points/s")
}

// BenchmarkEncodingJSON is what the decoder is compared with.
func BenchmarkEncodingJSON(b *testing.B) {
	body := benchBody(1000)
	for b.Loop() {
		var v stdBody
		if err := json.Unmarshal(body, &v); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "points/s")
}

type stdItem struct {
	Name  string            `json:"name"`
	TS    json.RawMessage   `json:"ts"`
	Value float64           `json:"value"`
	Unit  string            `json:"unit"`
	Tags  map[string]string `json:"tags"`
}

type stdDevice struct {
	ID      string            `json:"device_external_id"`
	Metrics []json.RawMessage `json:"metrics"`
	Tags    map[string]string `json:"tags"`
}

type stdBody struct {
	stdDevice
	Metrics  []stdItem         `json:"metrics"`
	Batches  []json.RawMessage `json:"batches"`
	Backfill bool              `json:"backfill"`
}
