package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// CreateAlertRule stores a rule and puts it on its way into the logs. A repeat of
// an Idempotency-Key answers what the first one made.
func (s *Store) CreateAlertRule(ctx context.Context, tenant schemas.ID, r api.AlertRule, once api.RequestKey) (api.AlertRule, error) {
	id := schemas.NewID()
	err := s.write(ctx, tenant, func(tx pgx.Tx) error {
		before, repeat, err := createdBefore(ctx, tx, tenant, "alert_rule", once, id)
		if err != nil {
			return err
		}
		if repeat {
			r, err = findRule(ctx, tx, tenant, before)
			return err
		}
		if err := withinPlan(ctx, tx, tenant, "alert rules"); err != nil {
			return err
		}
		return audited(ctx, tx, deed{tenant, "api", "alert_rule.create", "alert_rule", id.String()}, func() error {
			var err error
			r, err = putRule(ctx, tx, tenant, id, r)
			return err
		})
	})
	if err != nil {
		return api.AlertRule{}, fmt.Errorf("create alert rule: %w", err)
	}
	return r, nil
}

// UpdateAlertRule replaces a rule. ifVersion other than 0 must be its version,
// else ErrConflict.
func (s *Store) UpdateAlertRule(ctx context.Context, tenant schemas.ID, ruleID string, r api.AlertRule, ifVersion uint64) (api.AlertRule, error) {
	err := s.changeRule(ctx, tenant, ruleID, ifVersion, "alert_rule.update", func(tx pgx.Tx, id schemas.ID) error {
		var err error
		r, err = putRule(ctx, tx, tenant, id, r)
		return err
	})
	if err != nil {
		return api.AlertRule{}, fmt.Errorf("update alert rule: %w", err)
	}
	return r, nil
}

// DeleteAlertRule ends a rule; its row stays for the alerts that name it.
func (s *Store) DeleteAlertRule(ctx context.Context, tenant schemas.ID, ruleID string, ifVersion uint64) error {
	err := s.changeRule(ctx, tenant, ruleID, ifVersion, "alert_rule.delete", func(tx pgx.Tx, id schemas.ID) error {
		version, err := nextVersion(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE alert_rules SET version = $3, updated_at = now(), deleted_at = now() WHERE tenant_id = $1 AND rule_id = $2`,
			uuidOf(tenant), uuidOf(id), int64(version))
		if err != nil {
			return err
		}
		return putControl(ctx, tx, tenant, ruleDeletedControl(tenant, id, version))
	})
	if err != nil {
		return fmt.Errorf("delete alert rule: %w", err)
	}
	return nil
}

// changeRule locks the rule before fn takes a version: versions of one rule
// rise in the order in which its changes commit.
func (s *Store) changeRule(ctx context.Context, tenant schemas.ID, ruleID string, ifVersion uint64, action string, fn func(pgx.Tx, schemas.ID) error) error {
	id, err := parseID(ruleID)
	if err != nil {
		return err
	}
	return s.write(ctx, tenant, func(tx pgx.Tx) error {
		var version int64
		err := tx.QueryRow(ctx, `SELECT version FROM alert_rules WHERE tenant_id = $1 AND rule_id = $2 AND deleted_at IS NULL FOR UPDATE`,
			uuidOf(tenant), uuidOf(id)).Scan(&version)
		if err != nil {
			return orNotFound(err)
		}
		if ifVersion != 0 && uint64(version) != ifVersion {
			return ErrConflict
		}
		return audited(ctx, tx, deed{tenant, "api", action, "alert_rule", id.String()}, func() error { return fn(tx, id) })
	})
}

func putRule(ctx context.Context, tx pgx.Tx, tenant, id schemas.ID, r api.AlertRule) (api.AlertRule, error) {
	version, err := nextVersion(ctx, tx)
	if err != nil {
		return r, err
	}
	control, err := ruleControl(tenant, id, version, &r)
	if err != nil {
		return r, err
	}
	r.ID, r.Version, r.CreatedAt, r.UpdatedAt = "", 0, nil, nil
	if r.Enabled == nil {
		r.Enabled = new(true)
	}
	definition, err := json.Marshal(r)
	if err != nil {
		return r, fmt.Errorf("encode rule: %w", err)
	}
	var created, updated time.Time
	err = tx.QueryRow(ctx, `INSERT INTO alert_rules (rule_id, tenant_id, name, definition, version) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (rule_id) DO UPDATE SET name = excluded.name, definition = excluded.definition, version = excluded.version, updated_at = now()
		RETURNING created_at, updated_at`,
		uuidOf(id), uuidOf(tenant), r.Name, definition, int64(version)).Scan(&created, &updated)
	if err != nil {
		return r, err
	}
	r.ID, r.Version, r.CreatedAt, r.UpdatedAt = id.String(), version, utcPtr(&created), utcPtr(&updated)
	return r, putControl(ctx, tx, tenant, control)
}

// AlertRule finds one rule.
func (s *Store) AlertRule(ctx context.Context, tenant schemas.ID, ruleID string) (api.AlertRule, error) {
	id, err := parseID(ruleID)
	if err != nil {
		return api.AlertRule{}, fmt.Errorf("find alert rule: %w", err)
	}
	var r api.AlertRule
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		r, err = findRule(ctx, tx, tenant, id)
		return err
	})
	if err != nil {
		return api.AlertRule{}, fmt.Errorf("find alert rule: %w", err)
	}
	return r, nil
}

func findRule(ctx context.Context, tx pgx.Tx, tenant, id schemas.ID) (api.AlertRule, error) {
	r, err := scanRule(tx.QueryRow(ctx, ruleColumns+` WHERE tenant_id = $1 AND rule_id = $2 AND deleted_at IS NULL`,
		uuidOf(tenant), uuidOf(id)), &cursor{})
	return r, orNotFound(err)
}

// ListAlertRules lists rules, the newest first.
func (s *Store) ListAlertRules(ctx context.Context, tenant schemas.ID, pr api.PageRequest) (api.Page[api.AlertRule], error) {
	var out api.Page[api.AlertRule]
	p, err := readPage("rules", pr, maxLimit)
	if err != nil {
		return out, err
	}
	var q query
	q.add(ruleColumns+` WHERE tenant_id = ? AND deleted_at IS NULL`, uuidOf(tenant))
	if p.after != nil {
		q.add(" AND (created_at, rule_id) < (?, ?)", p.after.time(), uuidOf(p.id))
	}
	q.add(" ORDER BY created_at DESC, rule_id DESC")
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		out, err = collect(ctx, tx, &q, p, scanRule)
		return err
	})
	if err != nil {
		return out, fmt.Errorf("list alert rules: %w", err)
	}
	return out, nil
}

const ruleColumns = `SELECT rule_id, definition, version, created_at, updated_at FROM alert_rules`

func scanRule(row pgx.Row, c *cursor) (api.AlertRule, error) {
	var r api.AlertRule
	var id pgtype.UUID
	var definition []byte
	var version int64
	var created, updated time.Time
	if err := row.Scan(&id, &definition, &version, &created, &updated); err != nil {
		return r, err
	}
	if err := json.Unmarshal(definition, &r); err != nil {
		return r, fmt.Errorf("decode rule: %w", err)
	}
	r.ID, r.Version, r.CreatedAt, r.UpdatedAt = uuidText(id), uint64(version), utcPtr(&created), utcPtr(&updated)
	*c = cursor{List: "rules", TS: created.UnixMicro(), ID: r.ID}
	return r, nil
}
