package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
)

// Silence keeps alerts from being sent while it lasts; they are recorded all the same.
type Silence struct {
	ID            schemas.ID
	DevicePattern string     // glob; empty = any
	MetricPattern string     // glob; empty = any
	RuleID        schemas.ID // Nil = any
	StartsAt      time.Time  // event time
	EndsAt        time.Time
	Comment       string
	Version       uint64
}

// CreateSilence stores a silence and puts it on its way into the logs.
func (s *Store) CreateSilence(ctx context.Context, tenant schemas.ID, v Silence) (Silence, error) {
	if !v.StartsAt.Before(v.EndsAt) {
		return Silence{}, fmt.Errorf("create silence: %w: it ends before it starts", ErrInvalid)
	}
	v.ID = schemas.NewID()
	err := s.write(ctx, tenant, func(tx pgx.Tx) error {
		return audited(ctx, tx, deed{tenant, "api", "silence.create", "silence", v.ID.String()}, func() error {
			var err error
			if v.Version, err = nextVersion(ctx, tx); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `INSERT INTO silences (silence_id, tenant_id, device_pattern, metric_pattern, rule_id, starts_at, ends_at, comment, version)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
				uuidOf(v.ID), uuidOf(tenant), v.DevicePattern, v.MetricPattern,
				pgtype.UUID{Bytes: v.RuleID, Valid: v.RuleID != schemas.Nil}, v.StartsAt, v.EndsAt, v.Comment, int64(v.Version))
			if err != nil {
				return err
			}
			return putControl(ctx, tx, tenant, silenceControl(tenant, v))
		})
	})
	if err != nil {
		return Silence{}, fmt.Errorf("create silence: %w", err)
	}
	return v, nil
}

// DeleteSilence ends a silence.
func (s *Store) DeleteSilence(ctx context.Context, tenant, silence schemas.ID) error {
	err := s.write(ctx, tenant, func(tx pgx.Tx) error {
		var id pgtype.UUID
		err := tx.QueryRow(ctx, `SELECT silence_id FROM silences WHERE tenant_id = $1 AND silence_id = $2 AND deleted_at IS NULL FOR UPDATE`,
			uuidOf(tenant), uuidOf(silence)).Scan(&id)
		if err != nil {
			return orNotFound(err)
		}
		return audited(ctx, tx, deed{tenant, "api", "silence.delete", "silence", silence.String()}, func() error {
			version, err := nextVersion(ctx, tx)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `UPDATE silences SET deleted_at = now(), version = $2 WHERE silence_id = $1`, id, int64(version)); err != nil {
				return err
			}
			return putControl(ctx, tx, tenant, silenceDeletedControl(tenant, silence, version))
		})
	})
	if err != nil {
		return fmt.Errorf("delete silence: %w", err)
	}
	return nil
}

func silenceControl(tenant schemas.ID, v Silence) *schemas.Control {
	out := &schemas.Silence{
		SilenceId: v.ID[:], DevicePattern: v.DevicePattern, MetricPattern: v.MetricPattern,
		StartsAt: v.StartsAt.UnixMicro(), EndsAt: v.EndsAt.UnixMicro(),
	}
	if v.RuleID != schemas.Nil {
		out.RuleId = v.RuleID[:]
	}
	return &schemas.Control{Version: v.Version, TenantId: tenant[:], Change: &schemas.Control_Silence{Silence: out}}
}

func silenceDeletedControl(tenant, silence schemas.ID, version uint64) *schemas.Control {
	return &schemas.Control{Version: version, TenantId: tenant[:],
		Change: &schemas.Control_SilenceDeleted{SilenceDeleted: &schemas.SilenceDeleted{SilenceId: silence[:]}}}
}
