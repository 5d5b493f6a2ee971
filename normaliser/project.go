package normaliser

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

var _ stream.PointsProjection = Projection{}

// Projection writes POINTS to Postgres: datapoints, devices, metrics, receipts.
type Projection struct{}

var (
	devicesTable = &stream.TableSpec{Name: "devices",
		Columns: []string{"device_id", "tenant_id", "device_external_id", "first_seen", "root", "partition"}, Key: []string{"device_id"}}
	metricsTable = &stream.TableSpec{Name: "metrics",
		Columns: []string{"metric_id", "tenant_id", "device_id", "name", "unit", "tags", "first_seen", "root", "partition"},
		Key:     []string{"metric_id"}, Update: []string{"unit", "tags"}}
	receiptsTable = &stream.TableSpec{Name: "ingest_batches",
		Columns: []string{"tenant_id", "request_id", "part", "parts", "partition", "root", "received_at", "key_id", "source", "idempotency_key",
			"body_sha256", "bytes", "points", "accepted", "duplicate", "conflicting", "late", "rejected", "rejections", "repeat", "backfill"},
		Key: []string{"tenant_id", "request_id", "part"}}
	usageTable = &stream.TableSpec{Name: "usage",
		Columns: []string{"tenant_id", "day", "requests", "points", "bytes"}, Key: []string{"tenant_id", "day"},
		Add: []string{"requests", "points", "bytes"}}
	minutesTable = &stream.TableSpec{Name: "ingest_minutes",
		Columns: []string{"tenant_id", "minute", "requests", "points", "rejected"}, Key: []string{"tenant_id", "minute"},
		Add: []string{"requests", "points", "rejected"}}
)

// Project implements stream.Projection.
func (Projection) Project(at stream.Position, e *schemas.Entry, rows *stream.RowSet) error {
	switch k := e.Kind.(type) {
	case *schemas.Entry_MetricDeclared:
		return projectMetric(at, k.MetricDeclared, rows)
	case *schemas.Entry_Receipt:
		return projectReceipt(at, k.Receipt, rows)
	}
	return nil
}

func projectMetric(at stream.Position, d *schemas.MetricDeclared, rows *stream.RowSet) error {
	tenant, err := schemas.IDFrom(d.TenantId)
	if err != nil {
		return fmt.Errorf("read tenant: %w", err)
	}
	device, err := schemas.IDFrom(d.DeviceId)
	if err != nil {
		return fmt.Errorf("read device: %w", err)
	}
	id, err := schemas.IDFrom(d.MetricId)
	if err != nil {
		return fmt.Errorf("read metric: %w", err)
	}
	tags := map[string]string{}
	for _, t := range d.Tags {
		tags[t.Key] = t.Value
	}
	encoded, err := json.Marshal(tags)
	if err != nil {
		return fmt.Errorf("encode tags: %w", err)
	}
	first := time.UnixMicro(d.FirstSeen).UTC()
	rows.Add(devicesTable, device, tenant, d.DeviceExternalId, first, int64(at.Root), int32(at.Partition))
	rows.Add(metricsTable, id, tenant, device, d.Name, d.Unit, json.RawMessage(encoded), first, int64(at.Root), int32(at.Partition))
	return nil
}

// ProjectPoints implements stream.PointsProjection.
func (Projection) ProjectPoints(at stream.Position, p *schemas.PointsBuffer, rows *stream.RowSet) error {
	for _, s := range p.Series {
		samples := rows.Series(stream.DatapointSeries, stream.SeriesKey{Tenant: p.Tenant, Device: p.Device, Metric: s.Metric})
		for i := s.From; i < s.To; i++ {
			samples.Add(p.TS[i], at.Root, p.Flags[i])
		}
		samples.Reals[0] = append(samples.Reals[0], p.Values[s.From:s.To]...)
	}
	return nil
}

type rejection struct {
	Pointer string `json:"pointer"`
	Code    string `json:"code"`
}

func projectReceipt(at stream.Position, r *schemas.Receipt, rows *stream.RowSet) error {
	tenant, err := schemas.IDFrom(r.TenantId)
	if err != nil {
		return fmt.Errorf("read tenant: %w", err)
	}
	list := make([]rejection, len(r.Rejections))
	for i, x := range r.Rejections {
		list[i] = rejection{Pointer: fmt.Sprintf("/metrics/%d", x.Index), Code: x.Code}
		if r.Several {
			list[i].Pointer = fmt.Sprintf("/batches/%d/metrics/%d", x.DeviceIndex, x.Index)
		}
		if x.Code == CodeKeyReused {
			list[i].Pointer = ""
		}
	}
	var encoded json.RawMessage // NULL in the usual case: nothing was refused
	if len(list) > 0 {
		if encoded, err = json.Marshal(list); err != nil {
			return fmt.Errorf("encode rejections: %w", err)
		}
	}
	received := time.UnixMicro(r.ReceivedAt).UTC()
	rows.Add(receiptsTable, tenant, r.RequestId, int32(r.Part), int32(r.Parts), int32(at.Partition), int64(at.Root), received,
		r.KeyId, r.Source, r.IdempotencyKey, r.BodySha256, int64(r.Bytes), int64(r.Points), int64(r.Accepted), int64(r.Duplicate),
		int64(r.Conflicting), int64(r.Late), int64(r.Rejected), encoded, r.Repeat, r.Backfill)
	requests := int64(0)
	if r.Part == 0 {
		requests = 1
	}
	rows.AddUp(usageTable, tenant, received.Truncate(24*time.Hour), requests, int64(r.Accepted), int64(r.Bytes))
	rows.AddUp(minutesTable, tenant, received.Truncate(time.Minute), requests, int64(r.Accepted), int64(r.Rejected))
	return nil
}
