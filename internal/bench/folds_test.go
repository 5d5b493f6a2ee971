package bench

import (
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/alerter"
	"github.com/edgepulse/edgepulse/featurizer"
	"github.com/edgepulse/edgepulse/normaliser"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/payload"
	"github.com/edgepulse/edgepulse/scorer"
	"github.com/edgepulse/edgepulse/stream"
)

// BenchmarkFolds is what one point costs in each stage without logs and runner:
// requests of 100 points over 2,000 metrics, with 50 points per metric and second
// and with timestamps a second apart, where nearly every point is evaluated.
func BenchmarkFolds(b *testing.B) {
	for _, c := range []struct {
		name string
		step time.Duration
	}{{"50-per-second", 20 * time.Millisecond}, {"1-per-second", time.Second}} {
		b.Run(c.name, func(b *testing.B) { benchFolds(b, c.step) })
	}
}

func benchFolds(b *testing.B, step time.Duration) {
	s := Scenarios["a"]
	s.Step = step
	l := newLoad("", "", s)
	l.start = time.Unix(1795423500, 0)
	clients := make([]struct {
		sent []int64
		next int
	}, s.Clients)
	per := s.Metrics / s.Clients
	for i := range clients {
		clients[i].sent = make([]int64, per)
	}
	names := []string{"normaliser", "featurizer", "scorer", "alerter"}
	folds := []stream.Fold{normaliser.New(), featurizer.New(), scorer.New(), alerter.New()}
	outs := make([]stream.Outputs, len(folds))
	spent := make([]time.Duration, len(folds))
	bytes := make([]int, len(folds))
	d := payload.NewDecoder()
	var body []byte
	requests, tick := 0, int64(0)
	one := func() {
		n := requests % s.Clients
		c := &clients[n]
		body = l.body(body[:0], n, per, c.sent, &c.next)
		received := l.start.UnixMicro() + int64(requests)*int64(s.Points)*step.Microseconds()/int64(s.Metrics)
		requests++
		entries := [][]byte{}
		if received/1e6 > tick {
			tick = received / 1e6
			raw, _ := (&schemas.Entry{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: tick}}}).MarshalVT()
			entries = append(entries, raw)
		}
		entries = append(entries, batchEntry(b, d, body, received))
		for i, f := range folds {
			outs[i].Reset()
			start := time.Now()
			for j, e := range entries {
				if err := f.Apply(stream.Input{Root: uint64(requests), Index: j, Bytes: e}, &outs[i]); err != nil {
					b.Fatal(err)
				}
			}
			spent[i] += time.Since(start)
			entries = outs[i].Entries()
			for _, e := range entries {
				bytes[i] += len(e)
			}
		}
	}
	for range 400 * s.Metrics / s.Points { // until windows are full
		one()
	}
	clear(spent)
	clear(bytes)
	before := requests
	b.ResetTimer()
	for b.Loop() {
		one()
	}
	points := float64((requests - before) * s.Points)
	for i, name := range names {
		b.ReportMetric(float64(spent[i].Nanoseconds())/points, name+"-ns/point")
		b.ReportMetric(float64(bytes[i])/points, name+"-B/point")
	}
}

// batchEntry is the entry that the gateway writes for a body.
func batchEntry(b *testing.B, d *payload.Decoder, body []byte, received int64) []byte {
	got, fault := d.DecodeBody(body, payload.Options{ReceivedAt: received})
	if fault != nil {
		b.Fatal(fault)
	}
	tenant := schemas.ID{1}
	batch := &schemas.Batch{TenantId: tenant[:], KeyId: "k", RequestId: "00000000-0000-0000-0000-000000000000", BodySha256: make([]byte, 32),
		ReceivedAt: received, Source: "http", Parts: 1}
	for _, dev := range got.Devices {
		batch.Slices = append(batch.Slices, &schemas.DeviceSlice{Index: uint32(dev.Index), Offset: uint64(dev.Offset), Json: dev.JSON})
	}
	raw, err := (&schemas.Entry{Kind: &schemas.Entry_Batch{Batch: batch}}).MarshalVT()
	if err != nil {
		b.Fatal(err)
	}
	return raw
}
