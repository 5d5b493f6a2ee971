package store

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// Artefact is a model on its way to the object store.
type Artefact struct {
	Version []byte // SHA-256 of Data
	Data    []byte
}

// PendingArtefacts returns models whose artefact is still in the database.
func (s *Store) PendingArtefacts(ctx context.Context, limit int) ([]Artefact, error) {
	if s.writer == nil {
		return nil, fmt.Errorf("read artefacts: %w", ErrNoRole)
	}
	rows, err := s.writer.Query(ctx, `SELECT version, artefact FROM models WHERE artefact IS NOT NULL ORDER BY version LIMIT $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("read artefacts: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (Artefact, error) {
		var a Artefact
		err := r.Scan(&a.Version, &a.Data)
		return a, err
	})
	if err != nil {
		return nil, fmt.Errorf("read artefacts: %w", err)
	}
	return out, nil
}

// ArtefactsStored drops the database's copies of artefacts that the object store has.
func (s *Store) ArtefactsStored(ctx context.Context, versions [][]byte) error {
	// Said again although it is implied: the index is of those that wait.
	if _, err := s.writer.Exec(ctx, `UPDATE models SET artefact = NULL WHERE version = ANY($1) AND artefact IS NOT NULL`, versions); err != nil {
		return fmt.Errorf("mark artefacts stored: %w", err)
	}
	return nil
}

// ListModels lists versions of models, the newest first; of one metric where it is not Nil.
func (s *Store) ListModels(ctx context.Context, tenant, metric schemas.ID, pr api.PageRequest) (api.Page[api.Model], error) {
	var out api.Page[api.Model]
	p, err := readPage("models", pr, maxLimit)
	if err != nil {
		return out, err
	}
	var q query
	q.add(modelColumns+` WHERE o.tenant_id = ?`, uuidOf(tenant))
	if metric != schemas.Nil {
		q.add(" AND o.metric_id = ?", uuidOf(metric))
	}
	if p.after != nil {
		version, err := hex.DecodeString(p.after.Dead)
		if err != nil {
			return out, ErrBadCursor
		}
		q.add(" AND (o.ts, o.metric_id, o.version) < (?, ?, ?)", p.after.time(), uuidOf(p.id), version)
	}
	q.add(" ORDER BY o.ts DESC, o.metric_id DESC, o.version DESC")
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		if metric != schemas.Nil {
			if err := requireMetric(ctx, tx, tenant, metric); err != nil {
				return err
			}
		}
		out, err = collect(ctx, tx, &q, p, scanModel)
		return err
	})
	if err != nil {
		return out, fmt.Errorf("list models: %w", err)
	}
	return out, nil
}

// Model finds one version; where several metrics have come to the same, the newest.
func (s *Store) Model(ctx context.Context, tenant schemas.ID, version []byte) (api.Model, error) {
	var out api.Model
	err := s.read(ctx, tenant, func(tx pgx.Tx) error {
		var err error
		out, err = scanModel(tx.QueryRow(ctx, modelColumns+` WHERE o.tenant_id = $1 AND o.version = $2 ORDER BY o.ts DESC, o.metric_id DESC LIMIT 1`,
			uuidOf(tenant), version), &cursor{})
		return orNotFound(err)
	})
	if err != nil {
		return api.Model{}, fmt.Errorf("find model: %w", err)
	}
	return out, nil
}

// ModelArtefact finds a model with its artefact, whose Data is empty where the object
// store has it; the anchor is nil of a model that was announced without.
func (s *Store) ModelArtefact(ctx context.Context, tenant, metric schemas.ID, version []byte) (m api.Model, a Artefact, anchor *float64, err error) {
	a.Version = version
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		key := []any{uuidOf(tenant), uuidOf(metric), version}
		m, err = scanModel(tx.QueryRow(ctx, modelColumns+` WHERE o.tenant_id = $1 AND o.metric_id = $2 AND o.version = $3`, key...), &cursor{})
		if err != nil {
			return orNotFound(err)
		}
		return tx.QueryRow(ctx, `SELECT artefact, anchor FROM models WHERE tenant_id = $1 AND metric_id = $2 AND version = $3`, key...).Scan(&a.Data, &anchor)
	})
	if err != nil {
		return m, a, nil, fmt.Errorf("find model: %w", err)
	}
	return m, a, finite(anchor), nil
}

const modelColumns = `SELECT o.version, o.metric_id, m.device_id, coalesce(d.device_external_id, ''), coalesce(m.name, ''), o.ts, o.rows, o.root, o.partition, o.artefact IS NULL,
	  p.model IS NOT NULL AND p.model = o.version,
	  CASE WHEN p.model IS NULL THEN NOT EXISTS (SELECT FROM models n WHERE n.tenant_id = o.tenant_id AND n.metric_id = o.metric_id AND n.rows > o.rows)
	    ELSE p.model = o.version END
	FROM models o
	LEFT JOIN model_pins p ON p.metric_id = o.metric_id AND p.tenant_id = o.tenant_id
	LEFT JOIN metrics m ON m.metric_id = o.metric_id AND m.tenant_id = o.tenant_id
	LEFT JOIN devices d ON d.device_id = m.device_id AND d.tenant_id = o.tenant_id`

func scanModel(r pgx.Row, c *cursor) (api.Model, error) {
	var v api.Model
	var version []byte
	var metric, device pgtype.UUID
	var root int64
	err := r.Scan(&version, &metric, &device, &v.DeviceExternalID, &v.MetricName, &v.TS, &v.Rows, &root, &v.Partition, &v.Archived, &v.Pinned, &v.InUse)
	v.Version, v.MetricID, v.DeviceID, v.TS, v.Root = hex.EncodeToString(version), uuidText(metric), uuidText(device), utc(v.TS), uint64(root)
	*c = cursor{List: "models", TS: v.TS.UnixMicro(), ID: v.MetricID, Dead: v.Version}
	return v, err
}
