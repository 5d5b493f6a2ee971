package app

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// Erasure is the report of a tenant's deletion.
type Erasure struct {
	Tenant      string           `json:"tenant_id"`
	Name        string           `json:"name"`
	DryRun      bool             `json:"dry_run,omitempty"`
	BeganAt     time.Time        `json:"began_at"`
	EndedAt     time.Time        `json:"ended_at"`
	KeysRevoked int64            `json:"keys_revoked"`
	Metrics     int              `json:"metrics"`
	Rows        map[string]int64 `json:"rows"` // deleted, by table
	Models      int              `json:"model_artefacts"`
	// Webhooks were planned or waited for their next attempt; they are given up.
	Webhooks int64  `json:"webhooks_pending"`
	Archive  string `json:"archive"`
	// Controls are the roots at which the folds drop the tenant, by partition.
	Controls map[int]uint64 `json:"controls,omitempty"`
	Follows  []Following    `json:"follows"`
}

// Following is what is not gone yet, and when it will be.
type Following struct {
	What string    `json:"what"`
	By   time.Time `json:"by"`
	How  string    `json:"how"`
}

// Eraser deletes tenants: for the command line, with the owner's role.
type Eraser struct {
	Config  *Config
	Store   *store.Store
	Broker  *stream.Broker
	Archive stream.Blobs // nil = there are no artefacts to delete
	Say     func(format string, args ...any)
	Wait    time.Duration // for the stages to pass the deletion
}

// namedAtOnce bounds the metrics of one control entry.
const namedAtOnce = 1000

// snapshotsWithin is how long snapshots that were taken before the deletion stay:
// two bases of 32 snapshots each, one every SnapshotEvery, and something for load.
func (c *Config) snapshotsWithin() time.Duration {
	return max(10*time.Minute, 2*64*c.Runner.SnapshotEvery)
}

// Erase deletes a tenant. Interrupted, it goes on where it was when it is called again.
func (e Eraser) Erase(ctx context.Context, tenant store.Tenant, dryRun bool) (out Erasure, err error) {
	out = Erasure{Tenant: tenant.ID.String(), Name: tenant.Name, DryRun: dryRun, BeganAt: time.Now().UTC(), Controls: map[int]uint64{}}
	metrics, err := e.Store.TenantMetrics(ctx, tenant.ID)
	if err != nil {
		return out, err
	}
	models, err := e.Store.OnlyModels(ctx, tenant.ID)
	if err != nil {
		return out, err
	}
	out.Metrics, out.Models = len(metrics), len(models)
	if out.Webhooks, err = e.Store.PendingWebhooks(ctx, tenant.ID); err != nil {
		return out, err
	}
	if dryRun {
		out.Archive = "the data key would be destroyed"
		out.Rows, err = e.Store.TenantRows(ctx, tenant.ID)
		e.follow(&out)
		return out, err
	}
	if out.KeysRevoked, err = e.Store.BeginErasure(ctx, tenant.ID); err != nil {
		return out, err
	}
	out.Archive = "the data key is destroyed: what was sealed with it can't be read by anybody"
	e.Say("keys are refused and the data key is destroyed; waiting %s for gateways that still know a key", e.keysKnown())
	if err := sleep(ctx, e.keysKnown()); err != nil {
		return out, err
	}
	// Nothing of the tenant comes any more; now the folds may forget it.
	if metrics, err = e.Store.TenantMetrics(ctx, tenant.ID); err != nil {
		return out, err
	}
	for p := range e.Broker.Partitions() {
		if out.Controls[p], err = e.control(ctx, p, tenant.ID, metrics); err != nil {
			return out, err
		}
	}
	e.Say("the stages are told; waiting for them and the projections to pass")
	if err := e.passed(ctx, out.Controls); err != nil {
		return out, err
	}
	e.Say("deleting rows")
	if out.Rows, err = e.Store.Erase(ctx, tenant.ID, metrics); err != nil {
		return out, err
	}
	if e.Archive != nil {
		for _, v := range models {
			if err := e.Archive.Delete(ctx, ArtefactName(v)); err != nil {
				return out, fmt.Errorf("delete model: %w", err)
			}
		}
	}
	if err := e.Store.Forget(ctx, tenant.ID); err != nil {
		return out, fmt.Errorf("%w; run it again", err)
	}
	out.EndedAt = time.Now().UTC()
	e.follow(&out)
	return out, nil
}

// keysKnown is how long a gateway may still accept a revoked key.
func (e Eraser) keysKnown() time.Duration { return e.Config.Gateway.KeyTTL + time.Second }

// follow says what goes later by itself.
func (e Eraser) follow(out *Erasure) {
	at := time.Now().UTC()
	snapshots := at.Add(e.Config.snapshotsWithin())
	logs := at.Add(max(e.Config.Janitor.Keep, e.Config.snapshotsWithin()) + 3*e.Config.Janitor.Every)
	out.Follows = []Following{
		{"snapshots of the stages' states", snapshots, "pruned as newer ones follow"},
		{"webhooks that were pending", at.Add(time.Minute), "given up by the deliverer; none is sent"},
		{"entries in the logs", logs, "truncated by the janitor, once no reader needs them"},
	}
}

// control writes the entries that let the folds of a partition drop a tenant, in
// one message: a root of its own.
func (e Eraser) control(ctx context.Context, p int, tenant schemas.ID, metrics []schemas.ID) (root uint64, err error) {
	lists := [][]schemas.ID{}
	for ids := range slices.Chunk(metrics, namedAtOnce) {
		lists = append(lists, ids)
	}
	for _, ids := range append(lists, nil) {
		d := &schemas.TenantDeleted{}
		for _, id := range ids {
			d.MetricIds = append(d.MetricIds, id[:])
		}
		entry := &schemas.Entry{Kind: &schemas.Entry_Control{Control: &schemas.Control{TenantId: tenant[:], Change: &schemas.Control_TenantDeleted{TenantDeleted: d}}}}
		raw, err := entry.MarshalVT()
		if err != nil {
			return 0, fmt.Errorf("encode control: %w", err)
		}
		group, err := (&schemas.Group{Entries: [][]byte{raw}}).MarshalVT()
		if err != nil {
			return 0, fmt.Errorf("encode control: %w", err)
		}
		if root, err = e.Broker.Append(ctx, stream.Ingest, p, group); err != nil {
			return 0, err
		}
	}
	return root, nil
}

// passed waits until every projection is beyond these roots: rows of the tenant
// that were on their way have arrived then, and none follows.
func (e Eraser) passed(ctx context.Context, roots map[int]uint64) error {
	ctx, cancel := context.WithTimeout(ctx, e.Wait)
	defer cancel()
	for {
		behind, err := e.behind(ctx, roots)
		if err == nil && behind == "" {
			return nil
		}
		if sleep(ctx, 100*time.Millisecond) != nil {
			if err == nil {
				err = fmt.Errorf("%s does not pass: is its stage running (`edgepulse status`)? The tenant's keys are refused; run it again to go on", behind)
			}
			return err
		}
	}
}

func (e Eraser) behind(ctx context.Context, roots map[int]uint64) (string, error) {
	at, err := e.Store.Positions(ctx)
	if err != nil {
		return "", err
	}
	for p, root := range roots {
		for _, spec := range stream.Topology {
			done := at[spec.Name][p]
			switch {
			case spec.From == "":
				continue
			case spec.Truth:
				st, err := e.Broker.StatusOf(ctx, spec.Name, p)
				if err != nil {
					return "", err
				}
				if st.Root < root || done < st.LastSeq {
					return stream.StreamName(spec.Name, p), nil
				}
			case done < root:
				return "the projection of " + stream.StreamName(spec.Name, p), nil
			}
		}
	}
	return "", nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// NewEraser opens what a deletion works with.
func NewEraser(ctx context.Context, cfg *Config, b *stream.Broker, s *store.Store) (Eraser, error) {
	e := Eraser{Config: cfg, Store: s, Broker: b, Say: func(string, ...any) {}, Wait: 5 * time.Minute}
	if cfg.Objects.Archive == "" {
		return e, nil
	}
	var err error
	e.Archive, err = archive.Open(ctx, cfg.Objects.Archive, ObjectCredentials())
	return e, err
}
