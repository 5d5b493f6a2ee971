package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
)

// The deletion of a tenant. Begin refuses its keys and destroys its data key;
// Erase takes its rows, in bounded steps, as often as it is called; Forget takes
// the tenant's own row. The row of the destroyed key and the audit log stay.

// eraseStep bounds the rows of one DELETE.
const eraseStep = 5000

// keptOfTenants are tables whose rows outlive their tenant.
var keptOfTenants = []string{"audit_log", "data_keys", "tenants"}

// BeginErasure refuses a tenant's keys from now on, destroys its data key and
// says how many keys were revoked. Calling it again changes nothing.
func (s *Store) BeginErasure(ctx context.Context, tenant schemas.ID) (revoked int64, err error) {
	err = within(ctx, s.owner, "begin", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE tenants SET disabled_at = coalesce(disabled_at, now()), deleted_at = coalesce(deleted_at, now()) WHERE id = $1`, uuidOf(tenant))
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrNotFound
		}
		if tag, err = tx.Exec(ctx, `UPDATE api_keys SET revoked_at = now() WHERE tenant_id = $1 AND revoked_at IS NULL`, uuidOf(tenant)); err != nil {
			return err
		}
		revoked = tag.RowsAffected()
		// Where it never had one, the row keeps a late archiver from making one.
		if _, err := tx.Exec(ctx, `INSERT INTO data_keys (key_id, tenant_id, destroyed_at) VALUES (gen_random_uuid(), $1, now())
			ON CONFLICT (tenant_id) DO UPDATE SET wrapped = NULL, destroyed_at = coalesce(data_keys.destroyed_at, now())`, uuidOf(tenant)); err != nil {
			return err
		}
		return audited(ctx, tx, deed{tenant, "owner", "tenant.delete", "tenant", tenant.String()}, func() error { return nil })
	})
	if err != nil {
		return 0, fmt.Errorf("begin deletion of tenant: %w", err)
	}
	return revoked, nil
}

// TenantMetrics are the metrics that were ever declared for a tenant.
func (s *Store) TenantMetrics(ctx context.Context, tenant schemas.ID) ([]schemas.ID, error) {
	if s.owner == nil {
		return nil, fmt.Errorf("list metrics of tenant: %w", ErrNoRole)
	}
	rows, err := s.owner.Query(ctx, `SELECT metric_id FROM metrics WHERE tenant_id = $1 ORDER BY metric_id`, uuidOf(tenant))
	if err != nil {
		return nil, fmt.Errorf("list metrics of tenant: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[pgtype.UUID])
	if err != nil {
		return nil, fmt.Errorf("list metrics of tenant: %w", err)
	}
	out := make([]schemas.ID, len(list))
	for i, u := range list {
		out[i] = u.Bytes
	}
	return out, nil
}

// tenantTable is a table of rows with a tenant: of a partitioned one the parts.
type tenantTable struct {
	name, parent string
	byMetric     bool // it has a column metric_id, with an index
}

func (s *Store) tenantTables(ctx context.Context) ([]tenantTable, error) {
	if s.owner == nil {
		return nil, ErrNoRole
	}
	rows, err := s.owner.Query(ctx, `SELECT c.relname, coalesce(p.relname, c.relname),
			EXISTS (SELECT FROM pg_attribute m WHERE m.attrelid = c.oid AND m.attname = 'metric_id' AND m.attnotnull AND c.relname ~ '(_recent|_chunks.*|anomaly_rows)$')
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
			LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent
		WHERE n.nspname = 'public' AND c.relkind = 'r' ORDER BY c.relname`)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (tenantTable, error) {
		var t tenantTable
		return t, r.Scan(&t.name, &t.parent, &t.byMetric)
	})
	return slices.DeleteFunc(list, func(t tenantTable) bool { return slices.Contains(keptOfTenants, t.name) }), err
}

// TenantRows counts a tenant's rows by table.
func (s *Store) TenantRows(ctx context.Context, tenant schemas.ID) (map[string]int64, error) {
	tables, err := s.tenantTables(ctx)
	if err != nil {
		return nil, fmt.Errorf("count rows of tenant: %w", err)
	}
	out := map[string]int64{}
	for _, t := range tables {
		var n int64
		if err := s.owner.QueryRow(ctx, "SELECT count(*) FROM "+pgx.Identifier{t.name}.Sanitize()+" WHERE tenant_id = $1", uuidOf(tenant)).Scan(&n); err != nil {
			return nil, fmt.Errorf("count rows of tenant in %s: %w", t.name, err)
		}
		if n > 0 {
			out[t.parent] += n
		}
	}
	return out, nil
}

// Erase deletes a tenant's rows and says how many of which table. metrics are
// those of the tenant: the series are found by them, and what is left by the tenant.
func (s *Store) Erase(ctx context.Context, tenant schemas.ID, metrics []schemas.ID) (map[string]int64, error) {
	tables, err := s.tenantTables(ctx)
	if err != nil {
		return nil, fmt.Errorf("delete rows of tenant: %w", err)
	}
	if err := s.dropAnalysts(ctx, tenant); err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for _, t := range tables {
		ident := pgx.Identifier{t.name}.Sanitize()
		if t.byMetric {
			for ids := range slices.Chunk(metrics, 100) {
				list := make([]pgtype.UUID, len(ids))
				for i, id := range ids {
					list[i] = uuidOf(id)
				}
				n, err := s.eraseSteps(ctx, ident, "metric_id = ANY($2) AND tenant_id = $1", uuidOf(tenant), list)
				if out[t.parent] += n; err != nil {
					return out, err
				}
			}
		}
		n, err := s.eraseSteps(ctx, ident, "tenant_id = $1", uuidOf(tenant))
		if out[t.parent] += n; err != nil {
			return out, err
		}
		if out[t.parent] == 0 {
			delete(out, t.parent)
		}
	}
	return out, nil
}

// eraseSteps deletes what a condition finds, a transaction per step.
func (s *Store) eraseSteps(ctx context.Context, ident, where string, args ...any) (int64, error) {
	total := int64(0)
	for {
		tag, err := s.owner.Exec(ctx, fmt.Sprintf("DELETE FROM %s WHERE ctid = ANY(ARRAY(SELECT ctid FROM %s WHERE %s LIMIT %d))", ident, ident, where, eraseStep), args...)
		if err != nil {
			return total, fmt.Errorf("delete from %s: %w", ident, err)
		}
		total += tag.RowsAffected()
		if tag.RowsAffected() < eraseStep {
			return total, nil
		}
	}
}

// dropAnalysts ends the database logins that may read a tenant's rows.
func (s *Store) dropAnalysts(ctx context.Context, tenant schemas.ID) error {
	rows, err := s.owner.Query(ctx, `SELECT role_name FROM analyst_logins WHERE tenant_id = $1`, uuidOf(tenant))
	if err != nil {
		return fmt.Errorf("list analysts of tenant: %w", err)
	}
	logins, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list analysts of tenant: %w", err)
	}
	for _, login := range logins {
		if _, err := s.owner.Exec(ctx, "DROP ROLE IF EXISTS "+pgx.Identifier{login}.Sanitize()); err != nil {
			return fmt.Errorf("drop analyst %s: %w", login, err)
		}
	}
	return nil
}

// OnlyModels are the artefacts that no other tenant's models refer to.
func (s *Store) OnlyModels(ctx context.Context, tenant schemas.ID) ([][]byte, error) {
	if s.owner == nil {
		return nil, fmt.Errorf("list models of tenant: %w", ErrNoRole)
	}
	rows, err := s.owner.Query(ctx, `SELECT DISTINCT version FROM models m WHERE tenant_id = $1
		AND NOT EXISTS (SELECT FROM models o WHERE o.version = m.version AND o.tenant_id <> $1)`, uuidOf(tenant))
	if err != nil {
		return nil, fmt.Errorf("list models of tenant: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[[]byte])
}

// Forget deletes the tenant itself; ErrConflict while rows of it are left.
func (s *Store) Forget(ctx context.Context, tenant schemas.ID) error {
	err := within(ctx, s.owner, "begin", func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM tenants WHERE id = $1 AND deleted_at IS NOT NULL`, uuidOf(tenant))
		if isCode(err, "23503") { // foreign_key_violation
			return ErrConflict
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete tenant: %w", err)
	}
	return nil
}

// GoneTenants are those of the tenants that were deleted, or are being deleted.
func (s *Store) GoneTenants(ctx context.Context, tenants []schemas.ID) ([]schemas.ID, error) {
	ids := make([]pgtype.UUID, len(tenants))
	for i, t := range tenants {
		ids[i] = uuidOf(t)
	}
	rows, err := s.writer.Query(ctx, `SELECT i FROM unnest($1::uuid[]) i WHERE NOT EXISTS (SELECT FROM tenants t WHERE t.id = i AND t.deleted_at IS NULL)`, ids)
	if err != nil {
		return nil, fmt.Errorf("find deleted tenants: %w", err)
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (schemas.ID, error) {
		var u pgtype.UUID
		err := r.Scan(&u)
		return u.Bytes, err
	})
}

// PendingWebhooks counts the deliveries of a tenant that are planned or wait for
// their next attempt.
func (s *Store) PendingWebhooks(ctx context.Context, tenant schemas.ID) (n int64, err error) {
	if s.owner == nil {
		return 0, fmt.Errorf("count pending webhooks: %w", ErrNoRole)
	}
	err = s.owner.QueryRow(ctx, `SELECT count(*) FROM (SELECT DISTINCT ON (webhook_id) outcome FROM webhook_deliveries
		WHERE tenant_id = $1 AND webhook_id IS NOT NULL AND kind <> 'endpoint_disabled' ORDER BY webhook_id, attempt DESC) last
		WHERE outcome NOT IN ('delivered', 'gave_up')`, uuidOf(tenant)).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count pending webhooks: %w", err)
	}
	return n, nil
}

// EraseLeftovers deletes rows that came for tenants which were deleted before: a
// delivery that was waiting for its next attempt still records that it was given up.
func (s *Store) EraseLeftovers(ctx context.Context, within time.Duration) (int64, error) {
	tag, err := s.writer.Exec(ctx, `DELETE FROM webhook_deliveries d USING data_keys k
		WHERE k.tenant_id = d.tenant_id AND k.destroyed_at > now() - $1::interval`, within)
	if err != nil {
		return 0, fmt.Errorf("delete leftovers of deleted tenants: %w", err)
	}
	return tag.RowsAffected(), nil
}
