package app

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/internal/replay"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/schemas/payload"
	"github.com/edgepulse/edgepulse/stream"
)

// Tracer follows alert events back to their bytes, for the API and the command line.
type Tracer struct {
	Store   *store.Store
	Broker  *stream.Broker
	Archive stream.Blobs // nil = none: what the log no longer holds is not found
}

// maxTraced bounds the payload that an answer shows.
const maxTraced = 64 << 10

// Event follows a tenant's event. raw is the device object that caused it, whole;
// nil where none did (time did) or its bytes are gone.
func (t *Tracer) Event(ctx context.Context, tenant schemas.ID, event string) (out api.EventTrace, raw []byte, err error) {
	out, received, err := t.Store.TraceEvent(ctx, tenant, event)
	if err != nil {
		return out, nil, err
	}
	e := &out.Event
	group, stored, from, err := t.root(ctx, tenant, e.Partition, e.Root)
	gone := errors.Is(err, stream.ErrNoRoot) || errors.Is(err, stream.ErrBlobNotFound)
	if err != nil && !gone {
		return out, nil, err
	}
	if !gone {
		device, err := schemas.ParseID(e.DeviceID)
		if err != nil {
			return out, nil, fmt.Errorf("trace event: %w", err)
		}
		batch, body, err := causeOf(group, tenant, device, e)
		if err != nil {
			return out, nil, err
		}
		if batch != nil {
			raw = body
			shown := body[:min(len(body), maxTraced)]
			out.Raw = &api.RawPayload{Partition: e.Partition, Root: e.Root, DeviceJSON: strings.ToValidUTF8(string(shown), ""), Truncated: len(shown) < len(body),
				Bytes: len(body), BodySHA256: hex.EncodeToString(batch.BodySha256), Source: from}
			if out.Request, err = t.Store.TraceRequest(ctx, tenant, batch.RequestId); err != nil {
				return out, nil, err
			}
		}
	}
	out.Stages, err = t.stages(ctx, e, received, stored)
	return out, raw, err
}

// stages is the clock of an event. Each instant is of whoever took the step:
// the gateway, the broker, the deliverer.
func (t *Tracer) stages(ctx context.Context, e *api.AlertEvent, received, stored time.Time) ([]api.StageTime, error) {
	var out []api.StageTime
	add := func(stage string, at time.Time) {
		if !at.IsZero() {
			out = append(out, api.StageTime{Stage: stage, At: at.UTC()})
		}
	}
	add("received", received)
	add("stored", stored)
	for _, s := range []struct {
		stage string
		log   stream.LogName
	}{{"scored", stream.Scores}, {"decided", stream.Alerts}} {
		at, ok, err := t.Broker.CommittedAt(ctx, s.log, e.Partition, e.Root)
		if err != nil {
			return nil, fmt.Errorf("trace event: %w", err)
		}
		if ok {
			add(s.stage, at)
		}
	}
	for _, d := range e.Deliveries {
		if d.Outcome == "delivered" {
			add("delivered", d.At)
			break
		}
	}
	return out, nil
}

// root returns the bytes of an INGEST message and when the broker stored it, from
// the log, or from the archive when the log no longer holds it.
func (t *Tracer) root(ctx context.Context, tenant schemas.ID, partition int, root uint64) (raw []byte, at time.Time, from string, err error) {
	raw, at, err = t.Broker.ReadRoot(ctx, partition, root)
	if err == nil {
		return raw, at, "log", nil
	}
	if !errors.Is(err, stream.ErrNoRoot) || t.Archive == nil {
		return nil, time.Time{}, "", err
	}
	keys := ArchiveKeys(t.Store.DataKeysOf(tenant))
	m, err := archive.ReadRoot(ctx, t.Archive, keys, stream.Ingest, partition, root)
	if err != nil {
		return nil, time.Time{}, "", fmt.Errorf("read root %d of %s from the archive: %w", root, stream.StreamName(stream.Ingest, partition), err)
	}
	return m.Payload, m.At, "archive", nil
}

// causeOf picks the device object of a group that caused an event: of the event's
// device, and the one with the sample of its metric and instant where several are.
func causeOf(raw []byte, tenant, device schemas.ID, e *api.AlertEvent) (*schemas.Batch, []byte, error) {
	g := &schemas.Group{}
	if err := g.UnmarshalVT(raw); err != nil {
		return nil, nil, fmt.Errorf("decode root %d: %w", e.Root, err)
	}
	var found *schemas.Batch
	var body []byte
	for _, entry := range g.Entries {
		if schemas.KindOf(entry) != schemas.KindBatch {
			continue
		}
		x := &schemas.Entry{}
		if err := x.UnmarshalVT(entry); err != nil {
			return nil, nil, fmt.Errorf("decode entry of root %d: %w", e.Root, err)
		}
		batch := x.GetBatch()
		if schemas.ID(batch.TenantId) != tenant {
			continue
		}
		for _, s := range batch.Slices {
			d, fault := payload.NewDecoder().DecodeDevice(s.Json, payload.Options{ReceivedAt: batch.ReceivedAt, Backfill: true}, nil)
			if fault != nil || schemas.DeviceID(tenant, d.ExternalID) != device {
				continue
			}
			for _, sample := range d.Samples {
				if sample.Name == e.MetricName && sample.TS == e.TS.UnixMicro() {
					return batch, s.Json, nil
				}
			}
			if found == nil {
				found, body = batch, s.Json
			}
		}
	}
	return found, body, nil
}

// TraceEvent follows an event of any tenant back: an operator's tool.
func TraceEvent(ctx context.Context, cfg *Config, b *stream.Broker, s *store.Store, event string) (api.EventTrace, []byte, error) {
	tenant, err := s.TenantOfEvent(ctx, event)
	if err != nil {
		return api.EventTrace{}, nil, fmt.Errorf("find event %s: %w", event, err)
	}
	t := &Tracer{Store: s, Broker: b}
	if cfg.Objects.Archive != "" {
		if t.Archive, err = archive.Open(ctx, cfg.Objects.Archive, ObjectCredentials()); err != nil {
			return api.EventTrace{}, nil, err
		}
	}
	return t.Event(ctx, tenant, event)
}

// Requeue puts the entry of a dead letter into INGEST again: a new root with the same bytes.
// The bytes come from the log, or from the archive when the log no longer holds them.
func Requeue(ctx context.Context, d replay.Deps, partition int, root uint64, index int) (uint64, error) {
	b := d.Broker
	raw, _, err := b.ReadRoot(ctx, partition, root)
	if errors.Is(err, stream.ErrNoRoot) && d.Archive != nil {
		var m archive.Message
		m, err = archive.ReadRoot(ctx, d.Archive, d.Keys, stream.Ingest, partition, root)
		raw = m.Payload
	}
	if err != nil {
		return 0, fmt.Errorf("read root %d: %w", root, err)
	}
	g := &schemas.Group{}
	if err := g.UnmarshalVT(raw); err != nil {
		return 0, fmt.Errorf("decode root %d: %w", root, err)
	}
	if index >= len(g.Entries) {
		return 0, fmt.Errorf("root %d has %d entries, no entry %d", root, len(g.Entries), index)
	}
	if schemas.KindOf(g.Entries[index]) != schemas.KindBatch {
		return 0, fmt.Errorf("entry %d of root %d is no batch: only what a sender sent can be taken again", index, root)
	}
	again, err := (&schemas.Group{Entries: g.Entries[index : index+1]}).MarshalVT()
	if err != nil {
		return 0, fmt.Errorf("encode entry: %w", err)
	}
	return b.Append(ctx, stream.Ingest, partition, again)
}

// OpenSnapshots opens the place of the stages' snapshots.
func OpenSnapshots(ctx context.Context, cfg *Config) (stream.Blobs, error) {
	url := first(cfg.Objects.Snapshots, cfg.Objects.Archive)
	if url == "" {
		return nil, errors.New("no place for snapshots: set EDGEPULSE_SNAPSHOT_URL")
	}
	return archive.Open(ctx, url, ObjectCredentials())
}
