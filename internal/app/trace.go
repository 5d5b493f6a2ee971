package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/payload"
	"github.com/edgepulse/edgepulse/stream"
)

// Trace is the whole way of an alert event, down to its bytes.
type Trace struct {
	store.Trace
	Payloads []Payload `json:"payloads"`
}

// Payload is a device object as it was received.
type Payload struct {
	Root       uint64    `json:"root"`
	From       string    `json:"from"` // "log" or "archive"
	RequestID  string    `json:"request_id"`
	ReceivedAt time.Time `json:"received_at"`
	SHA256     []byte    `json:"body_sha256"`
	Body       []byte    `json:"body"`
}

// TraceEvent follows an event of any tenant back: an operator's tool.
func TraceEvent(ctx context.Context, cfg *Config, b *stream.Broker, s *store.Store, event string) (Trace, error) {
	tenant, err := s.TenantOfEvent(ctx, event)
	if err != nil {
		return Trace{}, fmt.Errorf("find event %s: %w", event, err)
	}
	st, err := s.TraceEvent(ctx, tenant, event)
	if err != nil {
		return Trace{}, err
	}
	t := Trace{Trace: st}
	device, err := schemas.ParseID(st.Event.DeviceID)
	if err != nil {
		return t, fmt.Errorf("trace event: %w", err)
	}
	raw, from, err := ReadRoot(ctx, cfg, b, st.Event.Partition, st.Event.Root)
	if err != nil {
		return t, err
	}
	t.Payloads, err = payloadsOf(raw, from, st.Event.Root, tenant, device)
	return t, err
}

// ReadRoot returns the bytes of an INGEST message from the log, or from the
// archive when the log no longer holds it.
func ReadRoot(ctx context.Context, cfg *Config, b *stream.Broker, partition int, root uint64) ([]byte, string, error) {
	raw, _, err := b.ReadRoot(ctx, partition, root)
	if err == nil {
		return raw, "log", nil
	}
	if !errors.Is(err, stream.ErrNoRoot) || cfg.Objects.Archive == "" {
		return nil, "", err
	}
	blobs, err := archive.Open(ctx, cfg.Objects.Archive, objectCredentials())
	if err != nil {
		return nil, "", err
	}
	m, err := archive.ReadRoot(ctx, blobs, stream.Ingest, partition, root)
	if err != nil {
		return nil, "", fmt.Errorf("read root %d of %s from the archive: %w", root, stream.StreamName(stream.Ingest, partition), err)
	}
	return m.Payload, "archive", nil
}

// payloadsOf picks the device objects of one device out of a group.
func payloadsOf(raw []byte, from string, root uint64, tenant, device schemas.ID) ([]Payload, error) {
	g := &schemas.Group{}
	if err := g.UnmarshalVT(raw); err != nil {
		return nil, fmt.Errorf("decode root %d: %w", root, err)
	}
	var out []Payload
	for _, entry := range g.Entries {
		if schemas.KindOf(entry) != schemas.KindBatch {
			continue
		}
		e := &schemas.Entry{}
		if err := e.UnmarshalVT(entry); err != nil {
			return nil, fmt.Errorf("decode entry of root %d: %w", root, err)
		}
		batch := e.GetBatch()
		if schemas.ID(batch.TenantId) != tenant {
			continue
		}
		for _, s := range batch.Slices {
			if deviceOf(s.Json, tenant) != device {
				continue
			}
			out = append(out, Payload{Root: root, From: from, RequestID: batch.RequestId, ReceivedAt: time.UnixMicro(batch.ReceivedAt).UTC(),
				SHA256: batch.BodySha256, Body: s.Json})
		}
	}
	return out, nil
}

// Requeue puts the entry of a dead letter into INGEST again: a new root with the same bytes.
func Requeue(ctx context.Context, b *stream.Broker, partition int, root uint64, index int) (uint64, error) {
	raw, _, err := b.ReadRoot(ctx, partition, root)
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
	return archive.Open(ctx, url, objectCredentials())
}

// deviceOf names the device of a verbatim device object; Nil when it does not decode.
func deviceOf(json []byte, tenant schemas.ID) schemas.ID {
	d, fault := payload.NewDecoder().DecodeDevice(json, payload.Options{Backfill: true}, nil)
	if fault != nil {
		return schemas.Nil
	}
	return schemas.DeviceID(tenant, d.ExternalID)
}
