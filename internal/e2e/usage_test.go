//go:build unix

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/edgepulse/edgepulse/featurizer"
	"github.com/edgepulse/edgepulse/internal/app"
	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// usageIsExact compares what the service would bill with what the archive holds:
// points by the payloads alone, evaluations by folding them once more, deliveries
// by the facts.
func (w *world) usageIsExact(t *testing.T, ctx context.Context) {
	t.Helper()
	w.archived(t, ctx)
	want, err := w.usageOfArchive(ctx)
	check(t, w, err)
	var got map[string]api.Used
	within, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err = poll(within, "usage is what the archive holds", func() (bool, error) {
		days, err := w.store.Usage(ctx, w.tenant, time.Unix(0, 0), time.Unix(1<<33, 0))
		got = map[string]api.Used{}
		for _, d := range days {
			got[d.Day] = d.Used
		}
		return maps.Equal(got, want), err
	})
	if err != nil {
		t.Fatalf("usage %+v\nthe archive holds %+v", got, want)
	}
	var sum api.Used
	for _, u := range got {
		sum.Add(u)
	}
	if sum.Points == 0 || sum.Evaluations == 0 {
		t.Fatalf("nothing is shown: %+v", sum)
	}
	t.Logf("usage of %d days equals an independent count over the archive: %+v", len(got), sum)
}

// usageOfArchive counts by day from the segments.
func (w *world) usageOfArchive(ctx context.Context) (map[string]api.Used, error) {
	blobs, err := archive.NewFolder(filepath.Join(w.dir, "archive"))
	if err != nil {
		return nil, err
	}
	out := map[string]api.Used{}
	count := func(us int64, u api.Used) {
		day := time.UnixMicro(us).UTC().Format(time.DateOnly)
		sum := out[day]
		sum.Add(u)
		out[day] = sum
	}
	for p := range partitions {
		known := map[identity]bool{}
		fold := app.NewPipeline(featurizer.Config{Window: 300 * time.Second, Hop: time.Second})
		fold.Each = func(log stream.LogName, _ uint64, entry []byte) error {
			e := &schemas.Entry{}
			if err := proto.Unmarshal(entry, e); err != nil {
				return err
			}
			if s := e.GetScore(); s != nil && log == stream.Scores {
				count(s.ReceivedAt, api.Used{Evaluations: 1})
			}
			return nil
		}
		err := eachArchived(ctx, blobs, w.keys, stream.Ingest, p, func(root uint64, data []byte) error {
			g := &schemas.Group{}
			if err := proto.Unmarshal(data, g); err != nil {
				return err
			}
			for _, raw := range g.Entries {
				e := &schemas.Entry{}
				if err := proto.Unmarshal(raw, e); err != nil {
					return err
				}
				if b := e.GetBatch(); b != nil {
					used, err := usedBy(b, known)
					if err != nil {
						return err
					}
					count(b.ReceivedAt, used)
				}
			}
			return fold.Root(p, root, g.Entries)
		})
		if err != nil {
			return nil, err
		}
		err = eachArchived(ctx, blobs, w.keys, stream.Deliveries, p, func(_ uint64, data []byte) error {
			c := &schemas.Commit{}
			if err := proto.Unmarshal(data, c); err != nil {
				return err
			}
			for _, raw := range c.Facts {
				e := &schemas.Entry{}
				if err := proto.Unmarshal(raw, e); err != nil {
					return err
				}
				d := e.GetDelivery()
				if d.GetKind() != schemas.DeliveryKind_DELIVERY_KIND_ATTEMPTED {
					continue
				}
				used := api.Used{WebhookAttempts: 1}
				if d.Outcome == schemas.DeliveryOutcome_DELIVERY_OUTCOME_DELIVERED {
					used.WebhooksDelivered = 1
				}
				count(d.At, used)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// usedBy is what one part of a request has used: a point counts when nothing of
// its metric and instant was there before.
func usedBy(b *schemas.Batch, known map[identity]bool) (u api.Used, err error) {
	if b.Part == 0 {
		u.Requests = 1
	}
	for _, s := range b.Slices {
		u.Bytes += int64(len(s.Json))
		var d wireDevice
		if err := json.Unmarshal(s.Json, &d); err != nil {
			return u, err
		}
		refused := map[uint32]bool{}
		for _, r := range s.Rejected {
			refused[r.Index] = true
		}
		for i, m := range d.Metrics {
			id := identity{metricOf(uuid.UUID(b.TenantId), d.Device, m.Name), m.TS.UnixMicro()}
			if !refused[uint32(i)] && !known[id] {
				known[id] = true
				u.Points++
			}
		}
	}
	return u, nil
}

// eachArchived reads every message of a log's partition once, by root.
func eachArchived(ctx context.Context, blobs stream.Blobs, keys archive.Keys, log stream.LogName, p int, each func(root uint64, data []byte) error) error {
	segments, err := archive.Segments(ctx, blobs, log, p)
	if err != nil {
		return err
	}
	next := uint64(1)
	for _, s := range segments {
		r, err := archive.OpenSegment(ctx, blobs, s.Name)
		if err != nil {
			return err
		}
		if s.First > next {
			return fmt.Errorf("%s: nothing between root %d and %d", s.Name, next, s.First)
		}
		for ; next <= s.Last; next++ { // segments of two archivers may overlap
			m, err := r.Unseal(keys).Read(ctx, next)
			if err != nil {
				return err
			}
			if err := each(next, m.Payload); err != nil {
				return fmt.Errorf("root %d of %s: %w", next, s.Name, err)
			}
		}
		r.Close()
	}
	return nil
}
