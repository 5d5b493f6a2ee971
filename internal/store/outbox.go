package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// PendingControl is a row of the outbox that has not been published.
type PendingControl struct {
	Version  uint64
	TenantID schemas.ID // Nil: concerns every tenant
	Payload  []byte     // an encoded schemas.Control
}

// relayLock is the key of the advisory lock under which one relay works.
const relayLock = 0x65705f72656c6179 // "ep_relay"

func nextVersion(ctx context.Context, tx pgx.Tx) (uint64, error) {
	var v int64
	if err := tx.QueryRow(ctx, `SELECT nextval('control_outbox_version_seq')`).Scan(&v); err != nil {
		return 0, fmt.Errorf("take version: %w", err)
	}
	return uint64(v), nil
}

func putControl(ctx context.Context, tx pgx.Tx, tenant schemas.ID, c *schemas.Control) error {
	payload, err := c.MarshalVT()
	if err != nil {
		return fmt.Errorf("encode control: %w", err)
	}
	_, err = tx.Exec(ctx, `INSERT INTO control_outbox (version, tenant_id, payload) VALUES ($1, $2, $3)`,
		int64(c.Version), pgtype.UUID{Bytes: tenant, Valid: tenant != schemas.Nil}, payload)
	if err != nil {
		return fmt.Errorf("write outbox: %w", err)
	}
	return nil
}

// RelayControls hands pending controls to publish, in the order of their
// versions, and marks them published when it returns nil. One relay works at a
// time; another one finds nothing to do (0, nil). A crash in between publishes
// again: folds ignore versions they have.
func (s *Store) RelayControls(ctx context.Context, limit int, publish func(context.Context, []PendingControl) error) (int, error) {
	n := 0
	err := within(ctx, s.writer, "begin", func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1)`, int64(relayLock)).Scan(&mine); err != nil || !mine {
			return err
		}
		pending, err := pendingControls(ctx, tx, limit)
		if err != nil || len(pending) == 0 {
			return err
		}
		if err := publish(ctx, pending); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		versions := make([]uint64, len(pending))
		for i, c := range pending {
			versions[i] = c.Version
		}
		n = len(pending)
		return markPublished(ctx, tx, versions)
	})
	if err != nil {
		return 0, fmt.Errorf("relay controls: %w", err)
	}
	return n, nil
}

// PendingControls reads up to limit controls that have not been published, in
// the order of their versions. It locks nothing: for one relay, or to look.
func (s *Store) PendingControls(ctx context.Context, limit int) ([]PendingControl, error) {
	var out []PendingControl
	err := within(ctx, s.writer, "begin read only", func(tx pgx.Tx) error {
		var err error
		out, err = pendingControls(ctx, tx, limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read outbox: %w", err)
	}
	return out, nil
}

func pendingControls(ctx context.Context, tx pgx.Tx, limit int) ([]PendingControl, error) {
	rows, err := tx.Query(ctx, `SELECT version, tenant_id, payload FROM control_outbox WHERE published_at IS NULL ORDER BY version LIMIT $1`, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (PendingControl, error) {
		var c PendingControl
		var version int64
		var tenant pgtype.UUID
		err := r.Scan(&version, &tenant, &c.Payload)
		c.Version, c.TenantID = uint64(version), tenant.Bytes
		return c, err
	})
}

// MarkPublished ends the wait of these versions.
func (s *Store) MarkPublished(ctx context.Context, versions []uint64) error {
	err := within(ctx, s.writer, "begin", func(tx pgx.Tx) error { return markPublished(ctx, tx, versions) })
	if err != nil {
		return fmt.Errorf("mark published: %w", err)
	}
	return nil
}

func markPublished(ctx context.Context, tx pgx.Tx, versions []uint64) error {
	signed := make([]int64, len(versions))
	for i, v := range versions {
		signed[i] = int64(v)
	}
	_, err := tx.Exec(ctx, `UPDATE control_outbox SET published_at = now() WHERE version = ANY($1) AND published_at IS NULL`, signed)
	return err
}

// AllControls is the current configuration of all tenants as control entries,
// with the versions they were written under: a checkpoint for the logs. Deleted
// rules are in it as deletions, so that a fold that missed one learns it.
func (s *Store) AllControls(ctx context.Context) ([]*schemas.Control, error) {
	var out []*schemas.Control
	err := within(ctx, s.writer, "begin isolation level repeatable read read only", func(tx pgx.Tx) error {
		var err error
		if out, err = ruleControls(ctx, tx); err != nil {
			return err
		}
		silences, err := silenceControls(ctx, tx)
		if err != nil {
			return err
		}
		settings, err := settingsControls(ctx, tx)
		if err != nil {
			return err
		}
		devices, err := deviceControls(ctx, tx)
		if err != nil {
			return err
		}
		pins, err := pinControls(ctx, tx)
		out = slices.Concat(out, silences, settings, devices, pins)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return out, nil
}

func ruleControls(ctx context.Context, tx pgx.Tx) ([]*schemas.Control, error) {
	rows, err := tx.Query(ctx, `SELECT tenant_id, rule_id, version, definition, deleted_at IS NOT NULL FROM alert_rules ORDER BY version`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (*schemas.Control, error) {
		var tenant, id pgtype.UUID
		var version int64
		var definition []byte
		var deleted bool
		if err := r.Scan(&tenant, &id, &version, &definition, &deleted); err != nil {
			return nil, err
		}
		if deleted {
			return ruleDeletedControl(tenant.Bytes, id.Bytes, uint64(version)), nil
		}
		var rule api.AlertRule
		if err := json.Unmarshal(definition, &rule); err != nil {
			return nil, fmt.Errorf("decode rule: %w", err)
		}
		return ruleControl(tenant.Bytes, id.Bytes, uint64(version), &rule)
	})
}

func silenceControls(ctx context.Context, tx pgx.Tx) ([]*schemas.Control, error) {
	rows, err := tx.Query(ctx, `SELECT tenant_id, deleted_at IS NOT NULL, `+silenceColumns+` FROM silences ORDER BY version`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (*schemas.Control, error) {
		var tenant pgtype.UUID
		var deleted bool
		v, err := scanSilence(withFirst{r, []any{&tenant, &deleted}}, &cursor{})
		if err != nil {
			return nil, err
		}
		c, err := silenceControl(tenant.Bytes, v)
		if err != nil || !deleted {
			return c, err
		}
		return silenceDeletedControl(tenant.Bytes, schemas.ID(c.GetSilence().SilenceId), v.Version), nil
	})
}
