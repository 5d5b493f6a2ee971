package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// CreateSilence stores a silence and puts it on its way into the logs. A repeat of
// an Idempotency-Key answers what the first one made.
func (s *Store) CreateSilence(ctx context.Context, tenant schemas.ID, v api.Silence, once api.RequestKey) (api.Silence, error) {
	id := schemas.NewID()
	err := s.write(ctx, tenant, func(tx pgx.Tx) error {
		before, repeat, err := createdBefore(ctx, tx, tenant, "silence", once, id)
		if err != nil {
			return err
		}
		if repeat {
			v, err = findSilence(ctx, tx, tenant, before)
			return err
		}
		return audited(ctx, tx, deed{tenant, "api", "silence.create", "silence", id.String()}, func() error {
			v, err = putSilence(ctx, tx, tenant, id, v)
			return err
		})
	})
	if err != nil {
		return api.Silence{}, fmt.Errorf("create silence: %w", err)
	}
	return v, nil
}

// UpdateSilence replaces a silence. ifVersion other than 0 must be its version, else ErrConflict.
func (s *Store) UpdateSilence(ctx context.Context, tenant, id schemas.ID, v api.Silence, ifVersion uint64) (api.Silence, error) {
	err := s.changeSilence(ctx, tenant, id, ifVersion, "silence.update", func(tx pgx.Tx) error {
		var err error
		v, err = putSilence(ctx, tx, tenant, id, v)
		return err
	})
	if err != nil {
		return api.Silence{}, fmt.Errorf("update silence: %w", err)
	}
	return v, nil
}

// DeleteSilence ends a silence.
func (s *Store) DeleteSilence(ctx context.Context, tenant, id schemas.ID, ifVersion uint64) error {
	err := s.changeSilence(ctx, tenant, id, ifVersion, "silence.delete", func(tx pgx.Tx) error {
		version, err := nextVersion(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE silences SET deleted_at = now(), updated_at = now(), version = $3 WHERE tenant_id = $1 AND silence_id = $2`,
			uuidOf(tenant), uuidOf(id), int64(version))
		if err != nil {
			return err
		}
		return putControl(ctx, tx, tenant, silenceDeletedControl(tenant, id, version))
	})
	if err != nil {
		return fmt.Errorf("delete silence: %w", err)
	}
	return nil
}

// changeSilence locks the silence before fn takes a version, as changeRule does.
func (s *Store) changeSilence(ctx context.Context, tenant, id schemas.ID, ifVersion uint64, action string, fn func(pgx.Tx) error) error {
	return s.write(ctx, tenant, func(tx pgx.Tx) error {
		var version int64
		err := tx.QueryRow(ctx, `SELECT version FROM silences WHERE tenant_id = $1 AND silence_id = $2 AND deleted_at IS NULL FOR UPDATE`,
			uuidOf(tenant), uuidOf(id)).Scan(&version)
		if err != nil {
			return orNotFound(err)
		}
		if ifVersion != 0 && uint64(version) != ifVersion {
			return ErrConflict
		}
		return audited(ctx, tx, deed{tenant, "api", action, "silence", id.String()}, func() error { return fn(tx) })
	})
}

func putSilence(ctx context.Context, tx pgx.Tx, tenant, id schemas.ID, v api.Silence) (api.Silence, error) {
	if !v.StartsAt.Before(v.EndsAt) {
		return v, fmt.Errorf("%w: it ends before it starts", ErrInvalid)
	}
	rule := pgtype.UUID{}
	if v.RuleID != "" {
		r, err := schemas.ParseID(v.RuleID)
		if err != nil {
			return v, fmt.Errorf("%w: rule_id: %q is no identifier", ErrInvalid, v.RuleID)
		}
		rule = uuidOf(r)
	}
	version, err := nextVersion(ctx, tx)
	if err != nil {
		return v, err
	}
	v, err = scanSilence(tx.QueryRow(ctx, `INSERT INTO silences (silence_id, tenant_id, device_pattern, metric_pattern, rule_id, starts_at, ends_at, comment, version)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (silence_id) DO UPDATE SET device_pattern = excluded.device_pattern, metric_pattern = excluded.metric_pattern, rule_id = excluded.rule_id,
		  starts_at = excluded.starts_at, ends_at = excluded.ends_at, comment = excluded.comment, version = excluded.version, updated_at = now()
		RETURNING `+silenceColumns,
		uuidOf(id), uuidOf(tenant), v.DevicePattern, v.MetricPattern, rule, v.StartsAt, v.EndsAt, v.Comment, int64(version)), &cursor{})
	if err != nil {
		return v, err
	}
	control, err := silenceControl(tenant, v)
	if err != nil {
		return v, err
	}
	return v, putControl(ctx, tx, tenant, control)
}

// Silence finds one silence.
func (s *Store) Silence(ctx context.Context, tenant, id schemas.ID) (api.Silence, error) {
	var v api.Silence
	err := s.read(ctx, tenant, func(tx pgx.Tx) error {
		var err error
		v, err = findSilence(ctx, tx, tenant, id)
		return err
	})
	if err != nil {
		return api.Silence{}, fmt.Errorf("find silence: %w", err)
	}
	return v, nil
}

func findSilence(ctx context.Context, tx pgx.Tx, tenant, id schemas.ID) (api.Silence, error) {
	v, err := scanSilence(tx.QueryRow(ctx, `SELECT `+silenceColumns+` FROM silences WHERE tenant_id = $1 AND silence_id = $2 AND deleted_at IS NULL`,
		uuidOf(tenant), uuidOf(id)), &cursor{})
	return v, orNotFound(err)
}

// ListSilences lists silences, the newest first. With activeAt only those that last then.
func (s *Store) ListSilences(ctx context.Context, tenant schemas.ID, pr api.PageRequest, activeAt time.Time) (api.Page[api.Silence], error) {
	var out api.Page[api.Silence]
	p, err := readPage("silences", pr, maxLimit)
	if err != nil {
		return out, err
	}
	var q query
	q.add(`SELECT `+silenceColumns+` FROM silences WHERE tenant_id = ? AND deleted_at IS NULL`, uuidOf(tenant))
	if !activeAt.IsZero() {
		q.add(" AND starts_at <= ? AND ends_at > ?", activeAt, activeAt)
	}
	if p.after != nil {
		q.add(" AND (created_at, silence_id) < (?, ?)", p.after.time(), uuidOf(p.id))
	}
	q.add(" ORDER BY created_at DESC, silence_id DESC")
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		out, err = collect(ctx, tx, &q, p, scanSilence)
		return err
	})
	if err != nil {
		return out, fmt.Errorf("list silences: %w", err)
	}
	return out, nil
}

const silenceColumns = `silence_id, device_pattern, metric_pattern, rule_id, starts_at, ends_at, comment, version, created_at, updated_at`

func scanSilence(r pgx.Row, c *cursor) (api.Silence, error) {
	var v api.Silence
	var id, rule pgtype.UUID
	var version int64
	var created, updated time.Time
	err := r.Scan(&id, &v.DevicePattern, &v.MetricPattern, &rule, &v.StartsAt, &v.EndsAt, &v.Comment, &version, &created, &updated)
	v.ID, v.RuleID, v.Version = uuidText(id), uuidText(rule), uint64(version)
	v.StartsAt, v.EndsAt, v.CreatedAt, v.UpdatedAt = utc(v.StartsAt), utc(v.EndsAt), utcPtr(&created), utcPtr(&updated)
	*c = cursor{List: "silences", TS: created.UnixMicro(), ID: v.ID}
	return v, err
}

// silenceControl is a silence as the logs carry it.
func silenceControl(tenant schemas.ID, v api.Silence) (*schemas.Control, error) {
	id, err := schemas.ParseID(v.ID)
	if err != nil {
		return nil, fmt.Errorf("read id of silence: %w", err)
	}
	out := &schemas.Silence{
		SilenceId: id[:], DevicePattern: v.DevicePattern, MetricPattern: v.MetricPattern,
		StartsAt: v.StartsAt.UnixMicro(), EndsAt: v.EndsAt.UnixMicro(),
	}
	if v.RuleID != "" {
		rule, err := schemas.ParseID(v.RuleID)
		if err != nil {
			return nil, fmt.Errorf("read rule of silence: %w", err)
		}
		out.RuleId = rule[:]
	}
	return &schemas.Control{Version: v.Version, TenantId: tenant[:], Change: &schemas.Control_Silence{Silence: out}}, nil
}

func silenceDeletedControl(tenant, silence schemas.ID, version uint64) *schemas.Control {
	return &schemas.Control{Version: version, TenantId: tenant[:],
		Change: &schemas.Control_SilenceDeleted{SilenceDeleted: &schemas.SilenceDeleted{SilenceId: silence[:]}}}
}
