package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// Usage is counted by the projectors, in the transactions that move their
// positions: an entry of a log counts once, whatever crashes or is replayed.

const usedColumns = `requests, points, bytes, evaluations, webhook_attempts, webhooks_delivered`

func usedTargets(u *api.Used) []any {
	return []any{&u.Requests, &u.Points, &u.Bytes, &u.Evaluations, &u.WebhookAttempts, &u.WebhooksDelivered}
}

// Usage answers a tenant's days from first to last, both included; days without
// anything are left out.
func (s *Store) Usage(ctx context.Context, tenant schemas.ID, first, last time.Time) (out []api.UsageDay, err error) {
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT day, `+usedColumns+` FROM usage_days WHERE tenant_id = $1 AND day BETWEEN $2 AND $3 ORDER BY day`,
			uuidOf(tenant), first, last)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (d api.UsageDay, err error) {
			var day time.Time
			err = r.Scan(append([]any{&day}, usedTargets(&d.Used)...)...)
			d.Day = day.Format(time.DateOnly)
			return d, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read usage: %w", err)
	}
	return out, nil
}

// UsageOfAll answers the days of all tenants, by tenant's name; for the owner.
func (s *Store) UsageOfAll(ctx context.Context, first, last time.Time) (out []api.UsageDay, err error) {
	err = within(ctx, s.owner, "begin read only", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT u.tenant_id, coalesce(t.name, ''), day, `+usedColumns+` FROM usage_days u LEFT JOIN tenants t ON t.id = u.tenant_id
			WHERE day BETWEEN $1 AND $2 ORDER BY 2, 1, 3`, first, last)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (d api.UsageDay, err error) {
			var id pgtype.UUID
			var day time.Time
			err = r.Scan(append([]any{&id, &d.Tenant, &day}, usedTargets(&d.Used)...)...)
			d.TenantID, d.Day = uuidText(id), day.Format(time.DateOnly)
			return d, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read usage of all tenants: %w", err)
	}
	return out, nil
}

// MonthPoints answers the points that a tenant's usage has from a first day on for
// one month, and through which root of each partition they are counted.
func (s *Store) MonthPoints(ctx context.Context, tenant schemas.ID, first time.Time, partitions int) (points int64, through []uint64, err error) {
	var roots []int64
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		// One statement has one view of both.
		return tx.QueryRow(ctx, `SELECT
			(SELECT coalesce(sum(points), 0)::bigint FROM usage WHERE tenant_id = $1 AND day >= $2::date AND day < $2::date + interval '1 month'),
			ARRAY(SELECT projected_root($3, p) FROM generate_series(0, $4::int - 1) p ORDER BY p)`,
			uuidOf(tenant), first, string(stream.Points), partitions).Scan(&points, &roots)
	})
	if err != nil {
		return 0, nil, fmt.Errorf("read usage of the month: %w", err)
	}
	for _, r := range roots {
		through = append(through, uint64(r))
	}
	return points, through, nil
}

// ActiveMetrics lists the metrics of a tenant that have a point since then, or were
// seen first since then.
func (s *Store) ActiveMetrics(ctx context.Context, tenant schemas.ID, since time.Time) (out []schemas.ID, err error) {
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT m.metric_id FROM metrics m WHERE m.tenant_id = $1
			AND (m.first_seen >= $2 OR EXISTS (SELECT FROM last_point(m.metric_id) p WHERE p.ts >= $2))`, uuidOf(tenant), since)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (schemas.ID, error) {
			var id pgtype.UUID
			err := r.Scan(&id)
			return id.Bytes, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list active metrics: %w", err)
	}
	return out, nil
}

// TenantsForOwner lists all tenants with what they have and used since first, the oldest first.
func (s *Store) TenantsForOwner(ctx context.Context, first, now time.Time) (out []api.OwnerTenant, err error) {
	err = within(ctx, s.owner, "begin read only", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT t.id, t.name, t.plan, t.created_at, t.disabled_at, t.deleted_at,
			coalesce(u.requests, 0), coalesce(u.points, 0), coalesce(u.bytes, 0), coalesce(u.evaluations, 0), coalesce(u.attempts, 0), coalesce(u.delivered, 0),
			coalesce(u.last::text, ''),
			(SELECT count(*) FROM devices d WHERE d.tenant_id = t.id), (SELECT count(*) FROM metrics m WHERE m.tenant_id = t.id),
			(SELECT count(*) FROM dead_letters d WHERE d.tenant_id = t.id),
			(SELECT coalesce(sum(rejected), 0)::bigint FROM ingest_minutes m WHERE m.tenant_id = t.id AND m.minute > $2::timestamptz - interval '24 hours')
			FROM tenants t LEFT JOIN (SELECT tenant_id, sum(requests)::bigint AS requests, sum(points)::bigint AS points, sum(bytes)::bigint AS bytes,
				sum(evaluations)::bigint AS evaluations, sum(webhook_attempts)::bigint AS attempts, sum(webhooks_delivered)::bigint AS delivered,
				max(day) AS last FROM usage_days WHERE day >= $1 GROUP BY 1) u ON u.tenant_id = t.id
			ORDER BY t.created_at, t.id`, first, now)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (t api.OwnerTenant, err error) {
			var id pgtype.UUID
			t.Month = &api.Used{}
			to := append([]any{&id, &t.Name, &t.Plan, &t.CreatedAt, &t.DisabledAt, &t.DeletedAt}, usedTargets(t.Month)...)
			err = r.Scan(append(to, &t.LastDay, &t.Devices, &t.Metrics, &t.Errors, &t.Rejected)...)
			t.ID, t.CreatedAt, t.DisabledAt, t.DeletedAt = uuidText(id), utcPtr(t.CreatedAt), utcPtr(t.DisabledAt), utcPtr(t.DeletedAt)
			return t, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list tenants with their usage: %w", err)
	}
	return out, nil
}

// OutboxLength is how many changes of configuration wait for the relay.
func (s *Store) OutboxLength(ctx context.Context) (n int64, err error) {
	if s.owner == nil {
		return 0, fmt.Errorf("count outbox: %w", ErrNoRole)
	}
	if err = s.owner.QueryRow(ctx, `SELECT count(*) FROM control_outbox WHERE published_at IS NULL`).Scan(&n); err != nil {
		return 0, fmt.Errorf("count outbox: %w", err)
	}
	return n, nil
}
