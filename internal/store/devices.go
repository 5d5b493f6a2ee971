package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// DeviceFilter narrows ListDevices; empty fields do not.
type DeviceFilter struct {
	ExternalID string
	Search     string            // part of the name, whatever its case
	Tags       map[string]string // of one of its metrics, all
	Now        time.Time         // the service's clock
}

// MetricFilter narrows ListMetrics; empty fields do not.
type MetricFilter struct {
	DeviceID         string
	DeviceExternalID string
	Name             string
	Search           string            // part of the name of metric or device, whatever its case
	Tags             map[string]string // all
	Summary          bool
	Now              time.Time // the service's clock; with Summary
}

// ListDevices lists devices, the newest first.
func (s *Store) ListDevices(ctx context.Context, tenant schemas.ID, pr api.PageRequest, f DeviceFilter) (api.Page[api.Device], error) {
	var out api.Page[api.Device]
	p, err := readPage("devices", pr, maxLimit)
	if err != nil {
		return out, err
	}
	var q query
	q.add(deviceColumns+` WHERE d.tenant_id = ?`, uuidOf(tenant))
	if f.ExternalID != "" {
		q.add(" AND d.device_external_id = ?", f.ExternalID)
	}
	if f.Search != "" {
		q.add(" AND d.device_external_id ILIKE ?", containing(f.Search))
	}
	q.addTags("d.device_id IN (SELECT device_id", f.Tags, tenant)
	if p.after != nil {
		q.add(" AND (d.first_seen, d.device_id) < (?, ?)", p.after.time(), uuidOf(p.id))
	}
	q.add(" ORDER BY d.first_seen DESC, d.device_id DESC")
	err = s.readEnds(ctx, tenant, func(tx pgx.Tx) error {
		if out, err = collect(ctx, tx, &q, p, scanDevice); err != nil {
			return err
		}
		return summariseDevices(ctx, tx, tenant, f.Now, out.Data)
	})
	if err != nil {
		return out, fmt.Errorf("list devices: %w", err)
	}
	return out, nil
}

// ListMetrics lists metrics, the newest first.
func (s *Store) ListMetrics(ctx context.Context, tenant schemas.ID, pr api.PageRequest, f MetricFilter) (api.Page[api.Metric], error) {
	var out api.Page[api.Metric]
	p, err := readPage("metrics", pr, maxLimit)
	if err != nil {
		return out, err
	}
	var q query
	q.add(metricColumns+` WHERE m.tenant_id = ?`, uuidOf(tenant))
	if f.DeviceID != "" {
		id, err := parseID(f.DeviceID)
		if err != nil {
			return api.Page[api.Metric]{Data: []api.Metric{}}, nil
		}
		q.add(" AND m.device_id = ?", uuidOf(id))
	}
	if f.DeviceExternalID != "" {
		q.add(" AND d.device_external_id = ?", f.DeviceExternalID)
	}
	if f.Name != "" {
		q.add(" AND m.name = ?", f.Name)
	}
	if f.Search != "" {
		q.add(" AND (m.name ILIKE ? OR d.device_external_id ILIKE ?)", containing(f.Search), containing(f.Search))
	}
	if len(f.Tags) > 0 {
		q.add(" AND t.tags @> ?", f.Tags)
	}
	if p.after != nil {
		q.add(" AND (m.first_seen, m.metric_id) < (?, ?)", p.after.time(), uuidOf(p.id))
	}
	q.add(" ORDER BY m.first_seen DESC, m.metric_id DESC")
	err = s.readEnds(ctx, tenant, func(tx pgx.Tx) error {
		if out, err = collect(ctx, tx, &q, p, scanMetric); err != nil || !f.Summary {
			return err
		}
		return summarise(ctx, tx, tenant, f.Now, out.Data)
	})
	if err != nil {
		return out, fmt.Errorf("list metrics: %w", err)
	}
	return out, nil
}

// Metric finds one metric and its state.
func (s *Store) Metric(ctx context.Context, tenant schemas.ID, metricID string, now time.Time) (api.Metric, error) {
	id, err := parseID(metricID)
	if err != nil {
		return api.Metric{}, fmt.Errorf("find metric: %w", err)
	}
	list := make([]api.Metric, 1)
	err = s.readEnds(ctx, tenant, func(tx pgx.Tx) error {
		row := tx.QueryRow(ctx, metricColumns+` WHERE m.tenant_id = $1 AND m.metric_id = $2`, uuidOf(tenant), uuidOf(id))
		if list[0], err = scanMetric(row, &cursor{}); err != nil {
			return orNotFound(err)
		}
		settings, err := settingsOf(ctx, tx, tenant, id)
		if err != nil {
			return err
		}
		list[0].Settings, list[0].SetTags = &settings, settings.Tags
		if list[0].Pinned, _, err = pinOf(ctx, tx, tenant, id); err != nil {
			return err
		}
		return summarise(ctx, tx, tenant, now, list)
	})
	if err != nil {
		return api.Metric{}, fmt.Errorf("find metric: %w", err)
	}
	return list[0], nil
}

// MetricNames finds how a metric and its device are called.
func (s *Store) MetricNames(ctx context.Context, tenant, metric schemas.ID) (device, name string, err error) {
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		m, err := scanMetric(tx.QueryRow(ctx, metricColumns+` WHERE m.tenant_id = $1 AND m.metric_id = $2`, uuidOf(tenant), uuidOf(metric)), &cursor{})
		device, name = m.DeviceExternalID, m.Name
		return orNotFound(err)
	})
	if err != nil {
		return "", "", fmt.Errorf("name metric: %w", err)
	}
	return device, name, nil
}

// containing is the pattern of texts that hold s.
func containing(s string) string {
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s) + "%"
}

const deviceColumns = `SELECT d.device_id, d.device_external_id, d.first_seen,
	(SELECT count(*) FROM metrics m WHERE m.device_id = d.device_id AND m.tenant_id = d.tenant_id), s.tags, coalesce(s.version, 0)
	FROM devices d LEFT JOIN device_settings s ON s.device_id = d.device_id AND s.tenant_id = d.tenant_id`

func scanDevice(r pgx.Row, c *cursor) (api.Device, error) {
	var d api.Device
	var id pgtype.UUID
	err := r.Scan(&id, &d.ExternalID, &d.FirstSeen, &d.Metrics, &d.Tags, &d.Version)
	d.ID, d.FirstSeen = uuidText(id), utc(d.FirstSeen)
	*c = cursor{List: "devices", TS: d.FirstSeen.UnixMicro(), ID: d.ID}
	return d, err
}

const metricColumns = `SELECT m.metric_id, m.device_id, coalesce(d.device_external_id, ''), m.name, m.unit, m.first_seen, t.tags
	FROM metrics m LEFT JOIN devices d ON d.device_id = m.device_id AND d.tenant_id = m.tenant_id
		JOIN metric_tags t ON t.metric_id = m.metric_id AND t.tenant_id = m.tenant_id`

func scanMetric(r pgx.Row, c *cursor) (api.Metric, error) {
	var m api.Metric
	var id, device pgtype.UUID
	err := r.Scan(&id, &device, &m.DeviceExternalID, &m.Name, &m.Unit, &m.FirstSeen, &m.Tags)
	m.ID, m.DeviceID, m.FirstSeen = uuidText(id), uuidText(device), utc(m.FirstSeen)
	*c = cursor{List: "metrics", TS: m.FirstSeen.UnixMicro(), ID: m.ID}
	return m, err
}

// addTags narrows to the metrics that bear all tags; in is the condition up to
// what is selected of them.
func (q *query) addTags(in string, tags map[string]string, tenant schemas.ID) {
	if len(tags) > 0 {
		q.add(" AND "+in+" FROM metric_tags WHERE tenant_id = ? AND tags @> ?)", uuidOf(tenant), tags)
	}
}

// requireMetric answers ErrNotFound unless the metric is the tenant's.
func requireMetric(ctx context.Context, tx pgx.Tx, tenant, metric schemas.ID) error {
	var one int
	return orNotFound(tx.QueryRow(ctx, `SELECT 1 FROM metrics WHERE tenant_id = $1 AND metric_id = $2`,
		uuidOf(tenant), uuidOf(metric)).Scan(&one))
}

func orNotFound(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNotFound
	}
	return err
}
