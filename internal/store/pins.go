package store

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

var (
	// ErrUnknownModel says that a metric never had a model of that version.
	ErrUnknownModel = errors.New("the metric has no such model")
	// ErrNoEarlierModel says that a metric can't be rolled back.
	ErrNoEarlierModel = errors.New("the metric has no model before the one in use")
)

// FetchArtefact returns a model's artefact whole and checked. Data is empty where
// the object store has it.
type FetchArtefact func(context.Context, Artefact) ([]byte, error)

// MetricModel says which model a metric scores with.
func (s *Store) MetricModel(ctx context.Context, tenant, metric schemas.ID) (api.MetricModel, error) {
	var out api.MetricModel
	err := s.read(ctx, tenant, func(tx pgx.Tx) error {
		if err := requireMetric(ctx, tx, tenant, metric); err != nil {
			return err
		}
		var err error
		out, err = metricModel(ctx, tx, tenant, metric)
		return err
	})
	if err != nil {
		return out, fmt.Errorf("find model of metric: %w", err)
	}
	return out, nil
}

// ModelInUse is the version that a metric scores with; ErrNotFound before its first.
func (s *Store) ModelInUse(ctx context.Context, tenant, metric schemas.ID) ([]byte, error) {
	m, err := s.MetricModel(ctx, tenant, metric)
	if err == nil && m.InUse == "" {
		err = ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return hex.DecodeString(m.InUse)
}

// metricModel is what was asked for: the logs follow within a moment.
func metricModel(ctx context.Context, tx pgx.Tx, tenant, metric schemas.ID) (api.MetricModel, error) {
	out := api.MetricModel{MetricID: metric.String()}
	var newest []byte
	err := tx.QueryRow(ctx, `SELECT version FROM models WHERE tenant_id = $1 AND metric_id = $2 ORDER BY rows DESC, root DESC LIMIT 1`,
		uuidOf(tenant), uuidOf(metric)).Scan(&newest)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return out, err
	}
	out.Newest, out.InUse = hex.EncodeToString(newest), hex.EncodeToString(newest)
	out.Pinned, out.Version, err = pinOf(ctx, tx, tenant, metric)
	if out.Pinned != nil {
		out.InUse = out.Pinned.Version
	}
	return out, err
}

// pinOf is nil of a metric that is not pinned; the version is that of its last control.
func pinOf(ctx context.Context, tx pgx.Tx, tenant, metric schemas.ID) (*api.ModelPin, uint64, error) {
	var p api.ModelPin
	var model []byte
	var version int64
	err := tx.QueryRow(ctx, `SELECT model, pinned_at, pinned_by, version FROM model_pins WHERE tenant_id = $1 AND metric_id = $2`,
		uuidOf(tenant), uuidOf(metric)).Scan(&model, &p.At, &p.By, &version)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, 0, nil
	case err != nil || model == nil:
		return nil, uint64(version), err
	}
	p.Version, p.At = hex.EncodeToString(model), utc(p.At)
	return &p, uint64(version), nil
}

// PinModel makes a metric score with one of its models until it is unpinned.
// ifVersion must be the version of its last pin (0 = there was none), else
// ErrConflict; nil = any. Pinning what is pinned changes nothing.
func (s *Store) PinModel(ctx context.Context, tenant, metric schemas.ID, model []byte, ifVersion *uint64, fetch FetchArtefact) (api.MetricModel, error) {
	out, err := s.changePin(ctx, tenant, metric, ifVersion, func(tx pgx.Tx, now api.MetricModel) error {
		if now.Pinned != nil && now.Pinned.Version == hex.EncodeToString(model) {
			return nil
		}
		return pinTo(ctx, tx, tenant, metric, model, "model.pinned", fetch)
	})
	if err != nil {
		return out, fmt.Errorf("pin model: %w", err)
	}
	return out, nil
}

// UnpinModel lets a metric score with its own model again. It changes nothing of a
// metric that is not pinned.
func (s *Store) UnpinModel(ctx context.Context, tenant, metric schemas.ID, ifVersion *uint64) error {
	_, err := s.changePin(ctx, tenant, metric, ifVersion, func(tx pgx.Tx, now api.MetricModel) error {
		if now.Pinned == nil {
			return nil
		}
		return putPin(ctx, tx, tenant, metric, Artefact{}, "model.unpinned")
	})
	if err != nil {
		return fmt.Errorf("unpin model: %w", err)
	}
	return nil
}

// RollBackModel pins the model before the one in use; ErrNoEarlierModel where there
// is none. One RequestKey rolls back once.
func (s *Store) RollBackModel(ctx context.Context, tenant, metric schemas.ID, ifVersion *uint64, once api.RequestKey, fetch FetchArtefact) (api.MetricModel, error) {
	var repeat bool
	out, err := s.changePin(ctx, tenant, metric, ifVersion, func(tx pgx.Tx, now api.MetricModel) error {
		var of schemas.ID
		var err error
		if of, repeat, err = createdBefore(ctx, tx, tenant, "model_rollback", once, metric); err != nil || repeat {
			if err == nil && of != metric {
				return ErrOtherBody
			}
			return err
		}
		var before []byte
		err = tx.QueryRow(ctx, `SELECT o.version FROM models o JOIN models u ON u.tenant_id = o.tenant_id AND u.metric_id = o.metric_id
			WHERE o.tenant_id = $1 AND o.metric_id = $2 AND u.version = decode($3, 'hex') AND o.rows < u.rows ORDER BY o.rows DESC, o.root DESC LIMIT 1`,
			uuidOf(tenant), uuidOf(metric), now.InUse).Scan(&before)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNoEarlierModel
		}
		if err != nil {
			return err
		}
		return pinTo(ctx, tx, tenant, metric, before, "model.rolled_back", fetch)
	})
	if err != nil {
		return out, fmt.Errorf("roll model back: %w", err)
	}
	return out, nil
}

// changePin runs change with what holds now, one change of a metric after the other.
func (s *Store) changePin(ctx context.Context, tenant, metric schemas.ID, ifVersion *uint64, change func(pgx.Tx, api.MetricModel) error) (api.MetricModel, error) {
	var out api.MetricModel
	err := s.write(ctx, tenant, func(tx pgx.Tx) error {
		if err := requireMetric(ctx, tx, tenant, metric); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('model_pins ' || $1::text, 0))`, metric.String()); err != nil {
			return err
		}
		now, err := metricModel(ctx, tx, tenant, metric)
		if err != nil {
			return err
		}
		if ifVersion != nil && *ifVersion != now.Version {
			return ErrConflict
		}
		if err := change(tx, now); err != nil {
			return err
		}
		out, err = metricModel(ctx, tx, tenant, metric)
		return err
	})
	return out, err
}

// pinTo pins one of the metric's models.
func pinTo(ctx context.Context, tx pgx.Tx, tenant, metric schemas.ID, model []byte, action string, fetch FetchArtefact) error {
	a := Artefact{Version: model}
	err := tx.QueryRow(ctx, `SELECT artefact FROM models WHERE tenant_id = $1 AND metric_id = $2 AND version = $3`,
		uuidOf(tenant), uuidOf(metric), model).Scan(&a.Data)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrUnknownModel
	}
	if err == nil {
		a.Data, err = fetch(ctx, a)
	}
	if err != nil {
		return err
	}
	return putPin(ctx, tx, tenant, metric, a, action)
}

// putPin writes a pin, none for an empty artefact, and puts it on its way into the logs.
func putPin(ctx context.Context, tx pgx.Tx, tenant, metric schemas.ID, a Artefact, action string) error {
	d := deed{tenant, "api", action, "model_pin", metric.String()}
	by := d.actor
	if actor, ok := schemas.ActorFrom(ctx); ok {
		by = actor.Name
	}
	return audited(ctx, tx, d, func() error {
		version, err := nextVersion(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO model_pins (metric_id, tenant_id, model, artefact, version, pinned_by) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (metric_id) DO UPDATE SET model = excluded.model, artefact = excluded.artefact, version = excluded.version,
			  pinned_by = excluded.pinned_by, pinned_at = now()`,
			uuidOf(metric), uuidOf(tenant), a.Version, a.Data, int64(version), by)
		if err != nil {
			return err
		}
		return putControl(ctx, tx, tenant, pinControl(tenant, metric, version, a))
	})
}

func pinControl(tenant, metric schemas.ID, version uint64, a Artefact) *schemas.Control {
	return &schemas.Control{Version: version, TenantId: tenant[:], Change: &schemas.Control_ModelPin{ModelPin: &schemas.ModelPin{
		MetricId: metric[:], Version: bytes.Clone(a.Version), Artefact: bytes.Clone(a.Data)}}}
}

// pinControls is the part of a checkpoint about models: also that a metric is no
// longer pinned, for a fold that missed it.
func pinControls(ctx context.Context, tx pgx.Tx) ([]*schemas.Control, error) {
	rows, err := tx.Query(ctx, `SELECT tenant_id, metric_id, version, model, artefact FROM model_pins ORDER BY version`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (*schemas.Control, error) {
		var tenant, metric pgtype.UUID
		var version int64
		var a Artefact
		if err := r.Scan(&tenant, &metric, &version, &a.Version, &a.Data); err != nil {
			return nil, err
		}
		return pinControl(tenant.Bytes, metric.Bytes, uint64(version), a), nil
	})
}
