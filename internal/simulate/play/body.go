package play

import (
	"strconv"
	"time"

	"github.com/edgepulse/edgepulse/internal/simulate"
)

// maxPoints is how many points one request carries; the service takes 5,000.
const maxPoints = 4000

// body gathers points of any devices into one ingest payload of the form
// {"batches":[{"device_external_id":..,"metrics":[..]}]}. Devices keep the order
// in which they came first, points of a device their own order.
type body struct {
	devices []string
	items   map[string][]byte
	points  int
	last    int64 // newest timestamp
}

func (b *body) add(p simulate.Point) {
	if b.items == nil {
		b.items = map[string][]byte{}
	}
	items, ok := b.items[p.Device]
	if !ok {
		b.devices = append(b.devices, p.Device)
	}
	if len(items) > 0 {
		items = append(items, ',')
	}
	// Names, units and devices of a fleet are plain ASCII: Go's quoting is JSON's.
	items = append(strconv.AppendQuote(append(items, `{"name":`...), p.Metric), `,"ts":"`...)
	items = time.UnixMicro(p.TS).UTC().AppendFormat(items, "2006-01-02T15:04:05.999999Z")
	items = strconv.AppendFloat(append(items, `","value":`...), p.Value, 'g', -1, 64)
	if p.Unit != "" {
		items = strconv.AppendQuote(append(items, `,"unit":`...), p.Unit)
	}
	b.items[p.Device] = append(items, '}')
	b.points++
	b.last = max(b.last, p.TS)
}

// json renders the payload.
func (b *body) json(backfill bool) []byte {
	out := []byte(`{"batches":[`)
	if backfill {
		out = []byte(`{"backfill":true,"batches":[`)
	}
	for i, d := range b.devices {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, b.object(d)...)
	}
	return append(out, "]}"...)
}

func (b *body) object(device string) []byte {
	out := strconv.AppendQuote([]byte(`{"device_external_id":`), device)
	out = append(append(out, `,"metrics":[`...), b.items[device]...)
	return append(out, "]}"...)
}

// Slices renders points as single device objects, one per device, for those who
// write the log without a gateway.
func Slices(points []simulate.Point) [][]byte {
	b := &body{}
	for _, p := range points {
		b.add(p)
	}
	out := make([][]byte, len(b.devices))
	for i, d := range b.devices {
		out[i] = b.object(d)
	}
	return out
}
