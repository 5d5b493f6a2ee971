// Package normaliser turns raw batches into samples per metric.
//
// What comes in: the entries of INGEST_<p>: batches with verbatim payload bytes,
// ticks, controls. What goes out: Points (accepted samples by metric, each
// (metric, ts) once), MetricDeclared when a metric is new or changes its unit or
// tags, a Receipt per batch part, and ticks and controls verbatim. Order: that of
// the log; samples of a batch in payload order. State: per metric the accepted
// timestamps and newest values, the Idempotency-Keys of 24 hours, the partition's
// clock. On failure: an item that only this stage can refuse is named in the
// receipt; a batch that does not decode at all becomes a dead letter.
package normaliser

import (
	"crypto/sha256"
	"strings"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/payload"
	"github.com/edgepulse/edgepulse/stream"
)

// Bounds of the state. They are part of the fold: another value is another fold version.
const (
	keyLifetime  = 24 * 3600 * 1e6     // µs an Idempotency-Key is remembered
	keysPerTask  = 100_000             // Idempotency-Keys per tenant and partition
	idleLifetime = 8 * 24 * 3600 * 1e6 // µs after which a silent metric is forgotten; beyond the accepted past
	metricsCap   = 250_000             // metrics per tenant and partition
	maxListed    = 100                 // rejections listed in a receipt
)

// Codes that only this stage can give.
const (
	CodeMetricQuota = "metric_quota"
	CodeKeyReused   = "idempotency_key_reused"
)

// Fold is the normaliser's core.
type Fold struct {
	state   *stream.State
	metrics *stream.Table[*metric]
	keys    *stream.Table[*batchKey]
	clocks  *stream.Table[*clock]

	decoder *payload.Decoder
	devices []payload.Device // of the batch in work
	group   deviceGroup
	ids     idCache
	tenants map[schemas.ID]*tenantCount // derived
	idle    expiry                      // derived: metrics by the time they are forgotten
	expired expiry                      // derived: keys by the time they are forgotten

	entry schemas.Entry
}

var theClock = schemas.ID{15: 1}

// New returns an empty fold.
func New() stream.Fold {
	s := stream.NewState()
	f := &Fold{
		state:   s,
		metrics: stream.NewTable(s, "metrics", func() *metric { return &metric{} }),
		keys:    stream.NewTable(s, "keys", func() *batchKey { return &batchKey{} }),
		clocks:  stream.NewTable(s, "clock", func() *clock { return &clock{} }),
		decoder: payload.NewDecoder(),
		group:   deviceGroup{index: map[schemas.ID]int{}},
		ids:     newIDCache(),
		tenants: map[schemas.ID]*tenantCount{},
	}
	s.OnRestore(f.rebuild)
	return f
}

// State implements stream.Fold.
func (f *Fold) State() *stream.State { return f.state }

// rebuild derives counts and deadlines from the restored records.
func (f *Fold) rebuild() {
	clear(f.tenants)
	f.idle, f.expired = expiry{}, expiry{}
	for _, id := range f.metrics.Keys() {
		m, _ := f.metrics.Get(id)
		f.tenant(m.tenant).metrics++
		f.idle.push(m.heard+idleLifetime, id)
	}
	for _, id := range f.keys.Keys() {
		k, _ := f.keys.Get(id)
		f.tenant(k.tenant).keys++
		f.expired.push(k.at+keyLifetime, id)
	}
}

func (f *Fold) tenant(id schemas.ID) *tenantCount {
	t, ok := f.tenants[id]
	if !ok {
		t = &tenantCount{}
		f.tenants[id] = t
	}
	return t
}

// Apply implements stream.Fold.
func (f *Fold) Apply(in stream.Input, out *stream.Outputs) error {
	if len(in.Bytes) == 0 {
		return nil // erased with its tenant's data key: the place stays, so that those behind it keep theirs
	}
	f.entry.Reset()
	if err := f.entry.UnmarshalVTUnsafe(in.Bytes); err != nil {
		return &stream.RejectError{Reason: "undecodable", Detail: "not an entry of the log"}
	}
	switch k := f.entry.Kind.(type) {
	case *schemas.Entry_Batch:
		return f.batch(k.Batch, out)
	case *schemas.Entry_Tick:
		f.tick(k.Tick, in.Bytes, out)
	case *schemas.Entry_Control:
		f.control(k.Control)
		out.Forward(in.Bytes)
	default:
		return &stream.RejectError{Reason: "unexpected_kind", Detail: "only batches, ticks and controls belong into INGEST"}
	}
	return nil
}

// tick advances the partition's clock. Several gateways may tick: a second that
// has been ticked is not ticked again.
func (f *Fold) tick(t *schemas.Tick, raw []byte, out *stream.Outputs) {
	if c, ok := f.clocks.Get(theClock); ok && t.Second <= c.tick {
		return
	}
	f.clocks.Touch(theClock).tick = t.Second
	f.forget(t.Second * 1e6)
	out.Forward(raw)
}

// forget drops what has not been used for its lifetime.
func (f *Fold) forget(now int64) {
	for {
		id, ok := f.expired.pop(now)
		if !ok {
			break
		}
		if k, ok := f.keys.Get(id); ok && k.at+keyLifetime <= now {
			f.tenant(k.tenant).keys--
			f.keys.Delete(id)
		}
	}
	for {
		id, ok := f.idle.pop(now)
		if !ok {
			break
		}
		m, ok := f.metrics.Get(id)
		switch {
		case !ok:
		case m.heard+idleLifetime > now:
			f.idle.push(m.heard+idleLifetime, id)
		default:
			f.tenant(m.tenant).metrics--
			f.metrics.Delete(id)
		}
	}
}

// keyID places an Idempotency-Key in the table.
func keyID(tenant schemas.ID, key string) schemas.ID {
	h := sha256.New()
	h.Write(tenant[:])
	h.Write([]byte(key))
	return schemas.ID(h.Sum(nil)[:16])
}

// repeats tells whether a batch repeats an Idempotency-Key, and whether with
// another body. A first use is remembered.
func (f *Fold) repeats(tenant schemas.ID, b *schemas.Batch) (repeat, reused bool) {
	if b.IdempotencyKey == "" {
		return false, false
	}
	id := keyID(tenant, b.IdempotencyKey)
	if k, ok := f.keys.Get(id); ok && k.at+keyLifetime > b.ReceivedAt {
		return true, string(k.body[:]) != string(b.BodySha256)
	}
	count := f.tenant(tenant)
	if count.keys >= keysPerTask {
		return false, false // beyond its memory, point identity alone removes copies
	}
	if _, ok := f.keys.Get(id); !ok {
		count.keys++
	}
	k := f.keys.Touch(id)
	k.tenant, k.at = tenant, b.ReceivedAt
	copy(k.body[:], b.BodySha256)
	f.expired.push(b.ReceivedAt+keyLifetime, id)
	return false, false
}

func encodeTags(device, item []payload.Tag) string {
	if len(device) == 0 && len(item) == 0 {
		return ""
	}
	var s strings.Builder
	for _, t := range mergeTags(device, item) {
		s.WriteString(t.Key)
		s.WriteByte(0)
		s.WriteString(t.Value)
		s.WriteByte(0)
	}
	return s.String()
}

// mergeTags lays the tags of an item over those of its device; both are sorted.
func mergeTags(device, item []payload.Tag) []payload.Tag {
	out := make([]payload.Tag, 0, len(device)+len(item))
	for len(device) > 0 || len(item) > 0 {
		switch {
		case len(item) == 0 || (len(device) > 0 && device[0].Key < item[0].Key):
			out, device = append(out, device[0]), device[1:]
		case len(device) > 0 && device[0].Key == item[0].Key:
			device = device[1:]
		default:
			out, item = append(out, item[0]), item[1:]
		}
	}
	return out
}
