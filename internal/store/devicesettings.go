package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// UpdateDeviceSettings replaces what was set on a device and puts it on its way
// into the logs. ifVersion is as with UpdateMetricSettings.
func (s *Store) UpdateDeviceSettings(ctx context.Context, tenant, device schemas.ID, v api.DeviceSettings, ifVersion *uint64) (api.DeviceSettings, error) {
	err := s.write(ctx, tenant, func(tx pgx.Tx) error {
		var one int
		if err := orNotFound(tx.QueryRow(ctx, `SELECT 1 FROM devices WHERE tenant_id = $1 AND device_id = $2`, uuidOf(tenant), uuidOf(device)).Scan(&one)); err != nil {
			return err
		}
		// The device's row belongs to its projection; the lock keeps versions in the order of commits.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('device_settings ' || $1::text, 0))`, device.String()); err != nil {
			return err
		}
		var now int64
		err := tx.QueryRow(ctx, `SELECT version FROM device_settings WHERE tenant_id = $1 AND device_id = $2`, uuidOf(tenant), uuidOf(device)).Scan(&now)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if ifVersion != nil && *ifVersion != uint64(now) {
			return ErrConflict
		}
		return audited(ctx, tx, deed{tenant, "api", "device.settings", "device", device.String()}, func() error {
			if v.Version, err = nextVersion(ctx, tx); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `INSERT INTO device_settings (device_id, tenant_id, tags, version) VALUES ($1, $2, $3, $4)
				ON CONFLICT (device_id) DO UPDATE SET tags = excluded.tags, version = excluded.version, updated_at = now()`,
				uuidOf(device), uuidOf(tenant), tagsOrNone(v.Tags), int64(v.Version))
			if err != nil {
				return err
			}
			return putControl(ctx, tx, tenant, deviceControl(tenant, device, v))
		})
	})
	if err != nil {
		return api.DeviceSettings{}, fmt.Errorf("update device settings: %w", err)
	}
	return v, nil
}

// tagsOrNone is {} for none, never null.
func tagsOrNone(tags map[string]string) map[string]string {
	if tags == nil {
		return map[string]string{}
	}
	return tags
}

// deviceControl is what was set on a device as the logs carry it.
func deviceControl(tenant, device schemas.ID, v api.DeviceSettings) *schemas.Control {
	return &schemas.Control{Version: v.Version, TenantId: tenant[:],
		Change: &schemas.Control_DeviceSettings{DeviceSettings: &schemas.DeviceSettings{DeviceId: device[:], Tags: sortedTags(v.Tags)}}}
}

// deviceControls is the devices' part of a checkpoint.
func deviceControls(ctx context.Context, tx pgx.Tx) ([]*schemas.Control, error) {
	rows, err := tx.Query(ctx, `SELECT tenant_id, device_id, tags, version FROM device_settings ORDER BY version`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (*schemas.Control, error) {
		var tenant, device pgtype.UUID
		var v api.DeviceSettings
		var version int64
		if err := r.Scan(&tenant, &device, &v.Tags, &version); err != nil {
			return nil, err
		}
		v.Version = uint64(version)
		return deviceControl(tenant.Bytes, device.Bytes, v), nil
	})
}
