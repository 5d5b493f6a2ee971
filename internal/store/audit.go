package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// deed is a change for the audit log.
type deed struct {
	tenant schemas.ID // Nil: concerns no one tenant
	actor  string     // where the context names nobody
	action string     // "<kind>.<what>"
	kind   string     // of targets
	target string
}

// targets select what of a kind the audit log takes a hash of. No secret is in
// it; a sealed one stands by its own hash, so that a rotation shows.
var targets = map[string]string{
	"alert_rule": `SELECT jsonb_build_array(name, definition) FROM alert_rules WHERE rule_id = $1::text::uuid AND deleted_at IS NULL`,
	"silence": `SELECT jsonb_build_array(device_pattern, metric_pattern, rule_id, starts_at, ends_at, comment) FROM silences
		WHERE silence_id = $1::text::uuid AND deleted_at IS NULL`,
	"webhook": `SELECT jsonb_build_array(url, description, min_severity, enabled, disabled_reason, encode(sha256(secret), 'hex')) FROM webhooks
		WHERE endpoint_id = $1::text::uuid AND deleted_at IS NULL`,
	"metric": `SELECT jsonb_build_array(display_unit, expected_interval_us, direction, min_abs_deviation, enabled, timezone, window_us, hop_us, sensitivity, tags) FROM metric_settings
		WHERE metric_id = $1::text::uuid`,
	"model_pin": `SELECT jsonb_build_array(encode(model, 'hex')) FROM model_pins WHERE metric_id = $1::text::uuid AND model IS NOT NULL`,
	"device":    `SELECT jsonb_build_array(tags) FROM device_settings WHERE device_id = $1::text::uuid`,
	"key":       `SELECT jsonb_build_array(name, env, scopes, device_pattern, expires_at, revoked_at) FROM api_keys WHERE key_id = $1`,
	"tenant":    `SELECT jsonb_build_array(name, plan, disabled_at) FROM tenants WHERE id = $1::text::uuid`,
	"plan":      `SELECT to_jsonb(p) - 'created_at' FROM plans p WHERE name = $1`,
}

// audited runs change and records it, in the transaction of the change: one is
// not without the other. The target is locked until the end.
func audited(ctx context.Context, tx pgx.Tx, d deed, change func() error) error {
	before, err := targetHash(ctx, tx, d, " FOR UPDATE")
	if err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	after, err := targetHash(ctx, tx, d, "")
	if err != nil {
		return err
	}
	actor := schemas.Actor{Name: d.actor}
	if named, ok := schemas.ActorFrom(ctx); ok {
		actor = named
	}
	_, err = tx.Exec(ctx, `INSERT INTO audit_log (tenant_id, actor, action, subject, request_id, before_hash, after_hash) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		pgtype.UUID{Bytes: d.tenant, Valid: d.tenant != schemas.Nil}, actor.Name, d.action, d.target, actor.RequestID, before, after)
	if err != nil {
		return fmt.Errorf("write audit log: %w", err)
	}
	return nil
}

// targetHash is nil where there is no target.
func targetHash(ctx context.Context, tx pgx.Tx, d deed, lock string) ([]byte, error) {
	var text string
	// jsonb writes its keys in one order.
	err := tx.QueryRow(ctx, `SELECT t.v::text FROM (`+targets[d.kind]+lock+`) t(v)`, d.target).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s for the audit log: %w", d.kind, err)
	}
	sum := sha256.Sum256([]byte(text))
	return sum[:], nil
}

// Audit lists a tenant's audit log, the newest first.
func (s *Store) Audit(ctx context.Context, tenant schemas.ID, pr api.PageRequest) (out api.Page[api.AuditEntry], err error) {
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		out, err = auditPage(ctx, tx, tenant, pr)
		return err
	})
	if err != nil {
		return out, fmt.Errorf("list audit log: %w", err)
	}
	return out, nil
}

// AuditOfAll lists the audit log of all tenants, or of one; for the owner.
func (s *Store) AuditOfAll(ctx context.Context, tenant schemas.ID, pr api.PageRequest) (out api.Page[api.AuditEntry], err error) {
	err = within(ctx, s.owner, "begin read only", func(tx pgx.Tx) error {
		out, err = auditPage(ctx, tx, tenant, pr)
		return err
	})
	if err != nil {
		return out, fmt.Errorf("list audit log: %w", err)
	}
	return out, nil
}

func auditPage(ctx context.Context, tx pgx.Tx, tenant schemas.ID, pr api.PageRequest) (api.Page[api.AuditEntry], error) {
	p, err := readPage("audit", pr, maxLimit)
	if err != nil {
		return api.Page[api.AuditEntry]{}, err
	}
	var q query
	q.add(`SELECT id, at, tenant_id, actor, action, subject, request_id, before_hash, after_hash FROM audit_log WHERE true`)
	if tenant != schemas.Nil {
		q.add(` AND tenant_id = ?`, uuidOf(tenant))
	}
	if p.after != nil {
		q.add(` AND id < ?`, p.after.Root)
	}
	q.add(` ORDER BY id DESC`)
	return collect(ctx, tx, &q, p, func(r pgx.Row, c *cursor) (e api.AuditEntry, err error) {
		var of pgtype.UUID
		var at time.Time
		var before, after []byte
		err = r.Scan(&e.ID, &at, &of, &e.Actor, &e.Action, &e.Target, &e.RequestID, &before, &after)
		e.At, e.TenantID, e.Before, e.After = utc(at), uuidText(of), hex.EncodeToString(before), hex.EncodeToString(after)
		*c = cursor{List: "audit", TS: at.UnixMicro(), Root: e.ID}
		return e, err
	})
}
