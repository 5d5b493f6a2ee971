package replay

import (
	"fmt"
	"slices"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/payload"
)

// Filter narrows a replay to a tenant or a device; the zero value takes all.
// Ticks and controls always pass: time and configuration belong to everybody.
type Filter struct {
	Tenant schemas.ID // Nil = any
	Device string     // external id; empty = any

	// gone are tenants whose entries the archive does not have any more: what the
	// live logs still hold of them is not compared.
	gone *erased
}

// erased is behind a pointer so that filters can be compared.
type erased struct{ tenants []schemas.ID }

func (e *erased) has(tenant []byte) bool {
	return e != nil && slices.ContainsFunc(e.tenants, func(t schemas.ID) bool { return string(t[:]) == string(tenant) })
}

// without returns the filter of a shadow whose archive lacks these tenants.
func (f Filter) without(tenants []schemas.ID) Filter {
	if len(tenants) > 0 {
		f.gone = &erased{tenants}
	}
	return f
}

// Whole tells whether nothing is filtered out.
func (f Filter) Whole() bool { return f.Tenant == schemas.Nil && f.Device == "" }

// group filters an INGEST message. What is left of it keeps its order; nothing
// left is an empty group. One that can't be split passes whole: the folds made a
// dead letter of it.
func (f Filter) group(raw []byte) ([]byte, error) {
	if f.Whole() {
		return raw, nil
	}
	g := &schemas.Group{}
	if err := g.UnmarshalVT(raw); err != nil {
		return raw, nil
	}
	var kept schemas.Group
	for _, entry := range g.Entries {
		e, err := f.entry(entry)
		if err != nil {
			return nil, err
		}
		if e != nil {
			kept.Entries = append(kept.Entries, e)
		}
	}
	return kept.MarshalVT()
}

// entry filters one entry of INGEST; nil = nothing of it is wanted.
func (f Filter) entry(raw []byte) ([]byte, error) {
	if schemas.KindOf(raw) != schemas.KindBatch {
		return raw, nil
	}
	e := &schemas.Entry{}
	if err := e.UnmarshalVT(raw); err != nil {
		return raw, nil // a dead letter, as it was
	}
	b := e.GetBatch()
	if f.Tenant != schemas.Nil && string(b.TenantId) != string(f.Tenant[:]) {
		return nil, nil
	}
	if f.Device == "" {
		return raw, nil
	}
	var kept []*schemas.DeviceSlice
	for _, s := range b.Slices {
		if deviceOf(s.Json) == f.Device {
			kept = append(kept, s)
		}
	}
	switch len(kept) {
	case 0:
		return nil, nil
	case len(b.Slices):
		return raw, nil
	}
	b.Slices = kept
	out, err := e.MarshalVT()
	if err != nil {
		return nil, fmt.Errorf("encode batch: %w", err)
	}
	return out, nil
}

// deviceOf names the device of a verbatim device object; empty when it does not decode.
func deviceOf(json []byte) string {
	d, fault := payload.NewDecoder().DecodeDevice(json, payload.Options{Backfill: true}, nil)
	if fault != nil {
		return ""
	}
	return d.ExternalID
}

// output tells whether an entry of a derived log belongs to the comparison of a
// filtered shadow. Dead letters count positions within their group, and the
// receipt of a batch counts all its devices: filtered, they differ by design.
func (f Filter) output(raw []byte) (bool, error) {
	if f.Whole() && f.gone == nil {
		return true, nil
	}
	switch schemas.KindOf(raw) {
	case schemas.KindControl:
		tenant, ok := schemas.TenantOf(raw)
		return !ok || !f.gone.has(tenant[:]), nil
	case schemas.KindTick:
		return true, nil
	case schemas.KindDeadLetter:
		return false, nil
	case schemas.KindReceipt:
		if f.Device != "" {
			return false, nil
		}
	}
	e := &schemas.Entry{}
	if err := e.UnmarshalVTUnsafe(raw); err != nil {
		return false, fmt.Errorf("decode entry: %w", err)
	}
	tenant, device := owner(e)
	if f.Tenant != schemas.Nil && string(tenant) != string(f.Tenant[:]) {
		return false, nil
	}
	if f.gone.has(tenant) {
		return false, nil
	}
	if f.Device == "" {
		return true, nil
	}
	id, err := schemas.IDFrom(tenant)
	if err != nil {
		return false, fmt.Errorf("read tenant: %w", err)
	}
	if e.GetModelVersion() != nil {
		return false, nil // it names its metric only: whose device that is can't be told
	}
	want := schemas.DeviceID(id, f.Device)
	return string(device) == string(want[:]), nil
}

// owner names tenant and device of an entry of a derived log.
func owner(e *schemas.Entry) (tenant, device []byte) {
	switch k := e.Kind.(type) {
	case *schemas.Entry_MetricDeclared:
		return k.MetricDeclared.TenantId, k.MetricDeclared.DeviceId
	case *schemas.Entry_Points:
		return k.Points.TenantId, k.Points.DeviceId
	case *schemas.Entry_Receipt:
		return k.Receipt.TenantId, nil
	case *schemas.Entry_Features:
		return k.Features.TenantId, k.Features.DeviceId
	case *schemas.Entry_Score:
		return k.Score.TenantId, k.Score.DeviceId
	case *schemas.Entry_ModelVersion:
		return k.ModelVersion.TenantId, nil
	case *schemas.Entry_AlertEvent:
		return k.AlertEvent.TenantId, k.AlertEvent.DeviceId
	}
	return nil, nil
}
