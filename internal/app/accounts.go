package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/edgepulse/edgepulse/gateway"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// accounts answers what a tenant may know and change about itself.
type accounts struct{ s *store.Store }

// keyOf is a key as its tenant sees it.
func keyOf(k store.Key) api.Key {
	out := api.Key{ID: k.KeyID, Name: k.Name, Scopes: k.Scopes, DevicePattern: k.DevicePattern, Env: k.Env, State: "active",
		CreatedAt: utcOf(&k.CreatedAt), ExpiresAt: utcOf(k.ExpiresAt), RevokedAt: utcOf(k.RevokedAt), LastUsedAt: utcOf(k.LastUsedAt)}
	switch {
	case k.RevokedAt != nil:
		out.State = "revoked"
	case k.ExpiresAt != nil && !time.Now().Before(*k.ExpiresAt):
		out.State = "expired"
	}
	return out
}

func utcOf(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

func (a accounts) ListKeys(ctx context.Context, t schemas.ID, p api.PageRequest) (api.Page[api.Key], error) {
	list, err := a.s.KeyPage(ctx, t, p)
	out := api.Page[api.Key]{HasMore: list.HasMore, NextCursor: list.NextCursor}
	for _, k := range list.Data {
		out.Data = append(out.Data, keyOf(k))
	}
	return page(out, err)
}

func (a accounts) GetKey(ctx context.Context, t schemas.ID, id string) (api.Key, error) {
	k, err := a.s.FindKey(ctx, t, id)
	return one(keyOf(k), err)
}

func (a accounts) CreateKey(ctx context.Context, t schemas.ID, key api.Key) (api.Key, error) {
	o := store.KeyOptions{Env: key.Env, Name: key.Name, DevicePattern: key.DevicePattern}
	if key.ExpiresAt != nil {
		o.ExpiresAt = *key.ExpiresAt
	}
	plaintext, k, err := a.s.CreateKey(ctx, t, key.Scopes, o)
	out := keyOf(k)
	out.Key = plaintext
	return one(out, err)
}

func (a accounts) RotateKey(ctx context.Context, t schemas.ID, id string, overlap time.Duration) (api.Rotated, error) {
	plaintext, k, old, err := a.s.RotateKey(ctx, t, id, overlap)
	out := api.Rotated{Key: keyOf(k), Replaced: keyOf(old)}
	out.Key.Key = plaintext
	return one(out, err)
}

func (a accounts) RevokeKey(ctx context.Context, t schemas.ID, id string) error {
	return asGateway(a.s.RevokeKey(ctx, t, id))
}

func (a accounts) Usage(ctx context.Context, t schemas.ID, first, last time.Time) (api.Usage, error) {
	plan, err := a.s.TenantPlan(ctx, t)
	if err != nil {
		return api.Usage{}, asGateway(err)
	}
	days, err := a.s.Usage(ctx, t, first, last)
	return one(api.Usage{Plan: &plan, Data: days}, err)
}

func (a accounts) Audit(ctx context.Context, t schemas.ID, p api.PageRequest) (api.Page[api.AuditEntry], error) {
	return page(a.s.Audit(ctx, t, p))
}

// owner answers what concerns all tenants; it needs the role that owns the schema.
type owner struct {
	s *store.Store
	b *stream.Broker
}

func (o owner) Tenants(ctx context.Context, first, now time.Time) ([]api.OwnerTenant, error) {
	return one(o.s.TenantsForOwner(ctx, first, now))
}

func (o owner) CreateTenant(ctx context.Context, name, plan string) (api.OwnerTenant, error) {
	t, err := o.s.CreateTenantOn(ctx, name, plan)
	if errors.Is(err, store.ErrConflict) {
		return api.OwnerTenant{}, fmt.Errorf("%w: %w", gateway.ErrConflict, err)
	}
	return one(tenantOf(t), err)
}

func tenantOf(t store.Tenant) api.OwnerTenant {
	return api.OwnerTenant{ID: t.ID.String(), Name: t.Name, Plan: t.Plan, CreatedAt: utcOf(&t.CreatedAt), DisabledAt: utcOf(t.DisabledAt)}
}

func (o owner) PatchTenant(ctx context.Context, id schemas.ID, patch api.TenantPatch) (api.OwnerTenant, error) {
	t, err := o.s.ChangeTenant(ctx, id, patch.Plan, patch.Disabled)
	return one(tenantOf(t), err)
}

func (o owner) CreateKey(ctx context.Context, t schemas.ID, key api.Key) (api.Key, error) {
	return accounts{o.s}.CreateKey(ctx, t, key)
}

func (o owner) Plans(ctx context.Context) ([]api.Plan, error) { return one(o.s.ListPlans(ctx)) }

func (o owner) PutPlan(ctx context.Context, p api.Plan) error { return asGateway(o.s.PutPlan(ctx, p)) }

func (o owner) Usage(ctx context.Context, first, last time.Time) ([]api.UsageDay, error) {
	return one(o.s.UsageOfAll(ctx, first, last))
}

func (o owner) Audit(ctx context.Context, t schemas.ID, p api.PageRequest) (api.Page[api.AuditEntry], error) {
	return page(o.s.AuditOfAll(ctx, t, p))
}

// newestErrors is how many dead letters the page of lag and errors lists.
const newestErrors = 50

func (o owner) Status(ctx context.Context) (out api.OwnerStatus, err error) {
	logs, err := o.b.Status(ctx)
	if err != nil {
		return out, err
	}
	positions, err := o.s.Positions(ctx)
	if err != nil {
		return out, err
	}
	ends := map[int]uint64{}
	out.Logs = []api.LogStatus{}
	for _, l := range logs {
		if l.Log == stream.Ingest {
			ends[l.Partition] = l.Root
		}
		st := api.LogStatus{Log: string(l.Log), Partition: l.Partition, Root: l.Root, Bytes: l.Bytes, MaxBytes: l.MaxBytes, LastAt: l.LastAt.UTC(), Owner: l.Owner}
		// DELIVERIES has sequences of its own.
		end := l.Root
		if l.Log == stream.Deliveries {
			end = l.LastSeq
		} else {
			st.Lag = ends[l.Partition] - min(l.Root, ends[l.Partition])
		}
		if at, ok := positions[l.Log][l.Partition]; ok {
			st.ProjectionLag = end - min(at, end)
		}
		out.Logs = append(out.Logs, st)
	}
	if out.DeadLetters, err = o.s.AllDeadLetters(ctx, newestErrors); err != nil {
		return out, err
	}
	if out.DeadLetters == nil {
		out.DeadLetters = []api.DeadLetter{}
	}
	out.Outbox, err = o.s.OutboxLength(ctx)
	return out, err
}
