package normaliser

import (
	"cmp"
	"strings"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/payload"
	"github.com/edgepulse/edgepulse/stream"
)

// deviceGroup gathers the accepted samples of one device slice. Its memory is
// used again for the next slice: what is emitted is encoded at once.
type deviceGroup struct {
	id     schemas.ID
	index  map[schemas.ID]int
	series []*schemas.Series // those of this slice; more may wait behind them
	last   []int64           // newest ts written per series, for the differences
	flags  []bool            // a flag is set in the series
}

func (g *deviceGroup) reset(id schemas.ID) {
	clear(g.index)
	g.id, g.series, g.last, g.flags = id, g.series[:0], g.last[:0], g.flags[:0]
}

// batch judges one part of a request. Whatever happens to its points, exactly
// one receipt goes out.
func (f *Fold) batch(b *schemas.Batch, out *stream.Outputs) error {
	tenant, err := schemas.IDFrom(b.TenantId)
	if err != nil {
		return &stream.RejectError{Reason: "bad_tenant", Detail: err.Error()}
	}
	// All slices are decoded before the state changes: a batch is taken or it is a dead letter.
	total, err := f.check(b, tenant)
	if err != nil {
		return err
	}
	c := f.clocks.Touch(theClock)
	c.received = max(c.received, b.ReceivedAt)

	r := &schemas.Receipt{
		TenantId: b.TenantId, RequestId: b.RequestId, Part: b.Part, Parts: b.Parts, ReceivedAt: b.ReceivedAt,
		Source: b.Source, KeyId: b.KeyId, BodySha256: b.BodySha256, Points: uint32(total) + b.RejectedElsewhere,
		Backfill: b.Backfill, IdempotencyKey: b.IdempotencyKey, Rejected: b.RejectedElsewhere,
	}
	for _, s := range b.Slices {
		r.Bytes += uint64(len(s.Json))
		r.Several = r.Several || s.Index > 0 || s.Offset > 0
	}
	repeat, reused := f.repeats(tenant, b)
	switch {
	case reused:
		r.Repeat = true
		r.Rejected = r.Points
		r.Rejections = append(r.Rejections, &schemas.Rejection{Code: CodeKeyReused})
	case repeat:
		r.Repeat = true
		r.Duplicate = r.Points
	default:
		for i, s := range b.Slices {
			f.slice(b, tenant, s, &f.devices[i], r, out)
		}
	}
	out.Emit(&schemas.Entry{Kind: &schemas.Entry_Receipt{Receipt: r}})
	return nil
}

// check decodes every slice into f.devices and counts the points.
func (f *Fold) check(b *schemas.Batch, tenant schemas.ID) (total int, err error) {
	f.decoder.Begin()
	f.devices = f.devices[:0]
	for _, s := range b.Slices {
		d, fault := f.decode(b, s)
		if fault != nil {
			return 0, &stream.RejectError{Reason: "payload_" + fault.Code, Tenant: tenant,
				Detail: "the gateway accepted a device object that does not decode; nothing of the batch was stored"}
		}
		total += d.Points
		f.devices = append(f.devices, *d)
	}
	return total, nil
}

func (f *Fold) decode(b *schemas.Batch, s *schemas.DeviceSlice) (*payload.Device, *payload.Fault) {
	var skip []uint32
	for _, r := range s.Rejected {
		skip = append(skip, r.Index)
	}
	// What the edge took counts as received when it was taken: a request that waited
	// in the spill, and its twin that reached the log after all, are the same points.
	received := cmp.Or(b.AcceptedAt, b.ReceivedAt)
	return f.decoder.DecodeNext(s.Json, payload.Options{ReceivedAt: received, Backfill: b.Backfill}, skip)
}

// slice takes the samples of one device.
func (f *Fold) slice(b *schemas.Batch, tenant schemas.ID, s *schemas.DeviceSlice, d *payload.Device, r *schemas.Receipt, out *stream.Outputs) {
	for _, rej := range s.Rejected {
		r.Rejected++
		list(r, s.Index, rej.Index, rej.Code)
	}
	for _, rej := range d.Rejected {
		if !gatewayRefused(s, uint32(rej.Index)) {
			r.Rejected++
			list(r, s.Index, uint32(rej.Index), rej.Code)
		}
	}
	g := &f.group
	g.reset(schemas.DeviceID(tenant, d.ExternalID))
	for i := range d.Samples {
		f.sample(b, tenant, d, &d.Samples[i], s.Index, g, r, out)
	}
	if len(g.series) == 0 {
		return
	}
	for i, series := range g.series {
		if !g.flags[i] {
			series.Flags = series.Flags[:0] // absent in the entry
		}
	}
	out.Emit(&schemas.Entry{Kind: &schemas.Entry_Points{Points: &schemas.Points{
		TenantId: b.TenantId, DeviceId: g.id[:], ReceivedAt: b.ReceivedAt, Backfill: b.Backfill, Series: g.series,
	}}})
}

func gatewayRefused(s *schemas.DeviceSlice, index uint32) bool {
	for _, r := range s.Rejected {
		if r.Index == index {
			return true
		}
	}
	return false
}

func list(r *schemas.Receipt, device, index uint32, code string) {
	if len(r.Rejections) < maxListed {
		r.Rejections = append(r.Rejections, &schemas.Rejection{Index: index, Code: code, DeviceIndex: device})
	}
}

// sample judges one point: identity is (metric, ts).
func (f *Fold) sample(b *schemas.Batch, tenant schemas.ID, d *payload.Device, s *payload.Sample, device uint32, g *deviceGroup, r *schemas.Receipt, out *stream.Outputs) {
	id := f.ids.metric(g.id, s.Name)
	place := f.metrics.Find(id)
	old, known := place.Get()
	if known {
		if at, ok := old.find(s.TS); ok {
			if old.recent[at].hash == hashValue(s.Value) {
				r.Duplicate++
			} else {
				r.Conflicting++
			}
			return
		}
		if s.TS <= old.newest && old.seen.has(s.TS) {
			r.Duplicate++
			return
		}
	} else if f.tenant(tenant).metrics >= metricsCap {
		r.Rejected++
		list(r, device, uint32(s.Index), CodeMetricQuota)
		return
	}
	m, _ := place.Touch()
	f.declare(b, tenant, g.id, id, d, s, m, out)

	flags := schemas.PointFlag_POINT_FLAG_NONE
	if known && s.TS < m.newest {
		flags |= schemas.PointFlag_POINT_FLAG_LATE
		r.Late++
		if b.Backfill {
			flags |= schemas.PointFlag_POINT_FLAG_BEHIND
		}
	}
	if !s.HasTS {
		flags |= schemas.PointFlag_POINT_FLAG_TS_MISSING
	}
	at, _ := m.find(s.TS)
	m.remember(at, s.TS, s.Value)
	m.seen.add(s.TS)
	m.newest = max(m.newest, s.TS)
	m.heard = max(m.heard, b.ReceivedAt)
	r.Accepted++
	g.append(id, s, uint32(flags))
}

// declare introduces a metric that is new here, or whose unit or tags changed.
func (f *Fold) declare(b *schemas.Batch, tenant, device, id schemas.ID, d *payload.Device, s *payload.Sample, m *metric, out *stream.Outputs) {
	tags := encodeTags(d.Tags, s.Tags)
	unit := s.Unit
	if unit == "" && m.declared {
		unit = m.unit
	}
	if m.declared && unit == m.unit && tags == m.tags {
		return
	}
	if !m.declared {
		f.tenant(tenant).metrics++
		f.idle.push(b.ReceivedAt+idleLifetime, id)
		m.tenant, m.newest, m.heard = tenant, s.TS, b.ReceivedAt
	}
	m.declared = true
	// The strings alias the payload: the state keeps its own.
	m.unit, m.tags = strings.Clone(unit), tags
	declared := &schemas.MetricDeclared{
		TenantId: b.TenantId, DeviceId: device[:], MetricId: id[:], DeviceExternalId: d.ExternalID,
		Name: s.Name, Unit: unit, FirstSeen: b.ReceivedAt,
	}
	for _, t := range mergeTags(d.Tags, s.Tags) {
		declared.Tags = append(declared.Tags, &schemas.Tag{Key: t.Key, Value: t.Value})
	}
	out.Emit(&schemas.Entry{Kind: &schemas.Entry_MetricDeclared{MetricDeclared: declared}})
}

// append adds a sample to its series.
func (g *deviceGroup) append(id schemas.ID, s *payload.Sample, flags uint32) {
	i, ok := g.index[id]
	if !ok {
		i = len(g.series)
		g.index[id] = i
		g.begin(id)
	}
	series := g.series[i]
	series.Ts = append(series.Ts, s.TS-g.last[i])
	series.Values = append(series.Values, s.Value)
	series.Flags = append(series.Flags, flags)
	g.last[i] = s.TS
	g.flags[i] = g.flags[i] || flags != 0
}

func (g *deviceGroup) begin(id schemas.ID) {
	if n := len(g.series); n < cap(g.series) && g.series[:n+1][n] != nil {
		g.series = g.series[:n+1]
		old := g.series[n]
		old.MetricId = append(old.MetricId[:0], id[:]...)
		old.Ts, old.Values, old.Flags = old.Ts[:0], old.Values[:0], old.Flags[:0]
	} else {
		g.series = append(g.series, &schemas.Series{MetricId: append([]byte(nil), id[:]...)})
	}
	g.last, g.flags = append(g.last, 0), append(g.flags, false)
}
