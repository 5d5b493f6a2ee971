package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// UpdateMetricSettings replaces the settings of a metric and puts them on their
// way into the logs. ifVersion must be their version (0 = nothing was set yet),
// else ErrConflict; nil = any.
func (s *Store) UpdateMetricSettings(ctx context.Context, tenant, metric schemas.ID, v api.MetricSettings, ifVersion *uint64) (api.MetricSettings, error) {
	err := s.write(ctx, tenant, func(tx pgx.Tx) error {
		if err := requireMetric(ctx, tx, tenant, metric); err != nil {
			return err
		}
		// The metric's row belongs to its projection; the lock keeps versions in the order of commits.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('metric_settings ' || $1::text, 0))`, metric.String()); err != nil {
			return err
		}
		now, err := settingsOf(ctx, tx, tenant, metric)
		if err != nil {
			return err
		}
		if ifVersion != nil && *ifVersion != now.Version {
			return ErrConflict
		}
		return audited(ctx, tx, deed{tenant, "api", "metric.settings", "metric", metric.String()}, func() error {
			if v.Version, err = nextVersion(ctx, tx); err != nil {
				return err
			}
			control, err := settingsControl(tenant, metric, v)
			if err != nil {
				return err
			}
			c := control.GetMetricSettings()
			_, err = tx.Exec(ctx, `INSERT INTO metric_settings (metric_id, tenant_id, display_unit, expected_interval_us, direction, min_abs_deviation, enabled,
				  timezone, window_us, hop_us, sensitivity, tags, version)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
				ON CONFLICT (metric_id) DO UPDATE SET display_unit = excluded.display_unit, expected_interval_us = excluded.expected_interval_us,
				  direction = excluded.direction, min_abs_deviation = excluded.min_abs_deviation, enabled = excluded.enabled, timezone = excluded.timezone,
				  window_us = excluded.window_us, hop_us = excluded.hop_us, sensitivity = excluded.sensitivity, tags = excluded.tags,
				  version = excluded.version, updated_at = now()`,
				uuidOf(metric), uuidOf(tenant), v.DisplayUnit, c.ExpectedIntervalUs, v.Direction, v.MinAbsDeviation, v.Enabled,
				c.Timezone, c.WindowUs, c.HopUs, v.Sensitivity, tagsOrNone(v.Tags), int64(v.Version))
			if err != nil {
				return err
			}
			return putControl(ctx, tx, tenant, control)
		})
	})
	if err != nil {
		return api.MetricSettings{}, fmt.Errorf("update metric settings: %w", err)
	}
	return v, nil
}

// settingsOf reads the settings of a metric, or what holds without any.
func settingsOf(ctx context.Context, tx pgx.Tx, tenant, metric schemas.ID) (api.MetricSettings, error) {
	var v api.MetricSettings
	var id, of pgtype.UUID
	err := scanSettings(tx.QueryRow(ctx, settingsColumns+` WHERE tenant_id = $1 AND metric_id = $2`, uuidOf(tenant), uuidOf(metric)), &of, &id, &v)
	if errors.Is(err, pgx.ErrNoRows) {
		return api.DefaultMetricSettings(), nil
	}
	return v, err
}

const settingsColumns = `SELECT tenant_id, metric_id, display_unit, expected_interval_us, direction, min_abs_deviation, enabled,
	timezone, window_us, hop_us, sensitivity, tags, version FROM metric_settings`

func scanSettings(r pgx.Row, tenant, metric *pgtype.UUID, v *api.MetricSettings) error {
	var interval, window, hop, version int64
	err := r.Scan(tenant, metric, &v.DisplayUnit, &interval, &v.Direction, &v.MinAbsDeviation, &v.Enabled,
		&v.Timezone, &window, &hop, &v.Sensitivity, &v.Tags, &version)
	v.ExpectedInterval, v.Window, v.Hop, v.Version = float64(interval)/1e6, float64(window)/1e6, float64(hop)/1e6, uint64(version)
	v.Timezone = cmp.Or(v.Timezone, "UTC")
	return err
}

// settingsControl is a metric's settings as the logs carry them.
func settingsControl(tenant, metric schemas.ID, v api.MetricSettings) (*schemas.Control, error) {
	direction, err := enumNumber(schemas.Direction_value, "DIRECTION_", "direction", v.Direction)
	if err != nil {
		return nil, err
	}
	out := &schemas.MetricSettings{MetricId: metric[:], Direction: schemas.Direction(direction), MinAbsDeviation: v.MinAbsDeviation, Enabled: v.Enabled,
		Tags: sortedTags(v.Tags)}
	for _, d := range []struct {
		name    string
		seconds float64
		into    *int64
	}{
		{"expected_interval_seconds", v.ExpectedInterval, &out.ExpectedIntervalUs},
		{"window_seconds", v.Window, &out.WindowUs}, {"hop_seconds", v.Hop, &out.HopUs},
	} {
		us := math.Round(d.seconds * 1e6)
		if !(us >= 0 && us < 1e15) {
			return nil, fmt.Errorf("%w: %s is out of range", ErrInvalid, d.name)
		}
		*d.into = int64(us)
	}
	// What is the default is not written: the entry of a metric that has nothing of
	// these is the one that it always had.
	if v.Timezone != "UTC" {
		out.Timezone = v.Timezone
	}
	if v.Sensitivity != 1 {
		out.Sensitivity = v.Sensitivity
	}
	return &schemas.Control{Version: v.Version, TenantId: tenant[:], Change: &schemas.Control_MetricSettings{MetricSettings: out}}, nil
}

// settingsControls is the settings part of a checkpoint.
func settingsControls(ctx context.Context, tx pgx.Tx) ([]*schemas.Control, error) {
	rows, err := tx.Query(ctx, settingsColumns+` ORDER BY version`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (*schemas.Control, error) {
		var tenant, metric pgtype.UUID
		var v api.MetricSettings
		if err := scanSettings(r, &tenant, &metric, &v); err != nil {
			return nil, err
		}
		return settingsControl(tenant.Bytes, metric.Bytes, v)
	})
}
