package normaliser

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// Projection writes POINTS to Postgres: datapoints, devices, metrics, receipts.
type Projection struct{}

var (
	devicesTable = &stream.TableSpec{Name: "devices",
		Columns: []string{"device_id", "tenant_id", "external_id", "first_seen"}, Key: []string{"device_id"}}
	metricsTable = &stream.TableSpec{Name: "metrics",
		Columns: []string{"metric_id", "tenant_id", "device_id", "name", "unit", "tags", "first_seen"},
		Key:     []string{"metric_id"}, Update: []string{"unit", "tags"}}
	datapointsTable = &stream.TableSpec{Name: "datapoint_rows",
		Columns: []string{"partition", "root", "tenant_id", "metric_id", "ts", "value", "flags"}}
	receiptsTable = &stream.TableSpec{Name: "ingest_batches",
		Columns: []string{"batch_id", "part", "parts", "partition", "root", "tenant_id", "key_id", "source", "idempotency_key",
			"received_at", "points", "accepted", "duplicate", "conflicting", "late", "rejected", "rejections", "repeat", "backfill", "bytes", "body_sha256"},
		Key: []string{"batch_id", "part", "partition"}}
)

// Project implements stream.Projection.
func (Projection) Project(at stream.Position, e *schemas.Entry, rows *stream.RowSet) error {
	switch k := e.Kind.(type) {
	case *schemas.Entry_MetricDeclared:
		return projectMetric(k.MetricDeclared, rows)
	case *schemas.Entry_Points:
		return projectPoints(at, k.Points, rows)
	case *schemas.Entry_Receipt:
		return projectReceipt(at, k.Receipt, rows)
	}
	return nil
}

func projectMetric(d *schemas.MetricDeclared, rows *stream.RowSet) error {
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
	rows.Add(devicesTable, device, tenant, d.DeviceExternalId, first)
	rows.Add(metricsTable, id, tenant, device, d.Name, d.Unit, json.RawMessage(encoded), first)
	return nil
}

func projectPoints(at stream.Position, p *schemas.Points, rows *stream.RowSet) error {
	tenant, err := schemas.IDFrom(p.TenantId)
	if err != nil {
		return fmt.Errorf("read tenant: %w", err)
	}
	for _, s := range p.Series {
		metric, err := schemas.IDFrom(s.MetricId)
		if err != nil {
			return fmt.Errorf("read metric: %w", err)
		}
		if len(s.Values) != len(s.Ts) || (len(s.Flags) != 0 && len(s.Flags) != len(s.Ts)) {
			return fmt.Errorf("series has %d timestamps, %d values and %d flags", len(s.Ts), len(s.Values), len(s.Flags))
		}
		ts := int64(0)
		for i, d := range s.Ts {
			ts += d
			flags := int32(0)
			if len(s.Flags) > 0 {
				flags = int32(s.Flags[i])
			}
			rows.Add(datapointsTable, int32(at.Partition), int64(at.Root), tenant, metric, time.UnixMicro(ts).UTC(), s.Values[i], flags)
		}
	}
	return nil
}

type rejection struct {
	Device uint32 `json:"device"`
	Index  uint32 `json:"index"`
	Code   string `json:"code"`
}

func projectReceipt(at stream.Position, r *schemas.Receipt, rows *stream.RowSet) error {
	tenant, err := schemas.IDFrom(r.TenantId)
	if err != nil {
		return fmt.Errorf("read tenant: %w", err)
	}
	id, err := schemas.ParseID(r.RequestId)
	if err != nil {
		return fmt.Errorf("read batch id: %w", err)
	}
	list := make([]rejection, len(r.Rejections))
	for i, x := range r.Rejections {
		list[i] = rejection{x.DeviceIndex, x.Index, x.Code}
	}
	encoded, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("encode rejections: %w", err)
	}
	rows.Add(receiptsTable, id, int32(r.Part), int32(r.Parts), int32(at.Partition), int64(at.Root), tenant, r.KeyId, r.Source, r.IdempotencyKey,
		time.UnixMicro(r.ReceivedAt).UTC(), int32(r.Points), int32(r.Accepted), int32(r.Duplicate), int32(r.Conflicting), int32(r.Late),
		int32(r.Rejected), json.RawMessage(encoded), r.Repeat, r.Backfill, int64(r.Bytes), append([]byte(nil), r.BodySha256...))
	return nil
}
