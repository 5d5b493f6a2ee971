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

const (
	worstMetrics  = 10
	silentListed  = 100
	minutesListed = 60
)

// Overview gathers what a tenant's first page shows. now is the gateway's clock:
// received_at is compared with it.
func (s *Store) Overview(ctx context.Context, tenant schemas.ID, now time.Time, hours int) (api.Overview, error) {
	out := api.Overview{Now: utc(now)}
	err := s.readEnds(ctx, tenant, func(tx pgx.Tx) error {
		for _, part := range []func(context.Context, pgx.Tx, schemas.ID, *api.Overview) error{
			overviewCounts, overviewMinutes, overviewSilent, overviewWorst,
		} {
			if err := part(ctx, tx, tenant, &out); err != nil {
				return err
			}
		}
		return overviewHours(ctx, tx, tenant, hours, &out)
	})
	if err != nil {
		return api.Overview{}, fmt.Errorf("read overview: %w", err)
	}
	return out, nil
}

// rateOver is the time over which the present rate is taken.
const rateOver = 10 * time.Second

func overviewCounts(ctx context.Context, tx pgx.Tx, tenant schemas.ID, out *api.Overview) error {
	var points int64
	err := tx.QueryRow(ctx, `SELECT
		  (SELECT count(*) FROM devices WHERE tenant_id = $1),
		  (SELECT count(*) FROM metrics WHERE tenant_id = $1),
		  (SELECT count(*) FROM alerts WHERE tenant_id = $1 AND state <> 'resolved'),
		  (SELECT coalesce(sum(points), 0)::bigint FROM ingest_minutes WHERE tenant_id = $1 AND minute > $2::timestamptz - interval '24 hours' AND minute <= $2),
		  (SELECT coalesce(sum(accepted), 0)::bigint FROM ingest_batches WHERE tenant_id = $1 AND received_at > $3 AND received_at <= $2)`,
		uuidOf(tenant), out.Now, out.Now.Add(-rateOver)).Scan(&out.Devices, &out.Metrics, &out.OpenAlerts, &out.Points24h, &points)
	out.PointsPerSecond = float64(points) / rateOver.Seconds()
	return err
}

func overviewMinutes(ctx context.Context, tx pgx.Tx, tenant schemas.ID, out *api.Overview) error {
	last := out.Now.Truncate(time.Minute)
	rows, err := tx.Query(ctx, `SELECT g.minute, coalesce(m.points, 0), coalesce(m.requests, 0), coalesce(m.rejected, 0)
		FROM generate_series($2::timestamptz, $3::timestamptz, interval '1 minute') g(minute)
		LEFT JOIN ingest_minutes m ON m.tenant_id = $1 AND m.minute = g.minute ORDER BY g.minute`,
		uuidOf(tenant), last.Add(-(minutesListed-1)*time.Minute), last)
	if err != nil {
		return err
	}
	out.IngestPerMinute, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (api.IngestMinute, error) {
		var m api.IngestMinute
		err := r.Scan(&m.Minute, &m.Points, &m.Requests, &m.Rejected)
		m.Minute = utc(m.Minute)
		return m, err
	})
	return err
}

func overviewSilent(ctx context.Context, tx pgx.Tx, tenant schemas.ID, out *api.Overview) error {
	rows, err := tx.Query(ctx, `SELECT m.metric_id, m.device_id, coalesce(d.device_external_id, ''), m.name, p.ts
		FROM `+silentMetrics+` z
		JOIN metrics m ON m.metric_id = z.metric_id AND m.tenant_id = $1
		LEFT JOIN devices d ON d.device_id = m.device_id AND d.tenant_id = $1
		JOIN `+lastPoint+` p ON p.root <= z.root
		ORDER BY p.ts, m.metric_id LIMIT $2`, uuidOf(tenant), silentListed, out.Now.Add(-silentRepeat))
	if err != nil {
		return err
	}
	out.Silent, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (api.SilentMetric, error) {
		var m api.SilentMetric
		var metric, device pgtype.UUID
		err := r.Scan(&metric, &device, &m.DeviceExternalID, &m.MetricName, &m.LastTS)
		m.MetricID, m.DeviceID, m.LastTS = uuidText(metric), uuidText(device), utc(m.LastTS)
		m.SilentFor = max(0, out.Now.Sub(m.LastTS).Seconds())
		return m, err
	})
	return err
}

func overviewWorst(ctx context.Context, tx pgx.Tx, tenant schemas.ID, out *api.Overview) error {
	rows, err := tx.Query(ctx, metricColumns+` JOIN `+anomalousMetrics+` a ON a.metric_id = m.metric_id
		WHERE m.tenant_id = $1 ORDER BY a.worst DESC, a.n DESC, a.alarm DESC, m.metric_id LIMIT $3`,
		uuidOf(tenant), out.Now.Add(-24*time.Hour), worstMetrics)
	if err != nil {
		return err
	}
	out.Worst, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (api.Metric, error) { return scanMetric(r, &cursor{}) })
	if err != nil {
		return err
	}
	return summarise(ctx, tx, tenant, out.Now, out.Worst)
}

func overviewHours(ctx context.Context, tx pgx.Tx, tenant schemas.ID, hours int, out *api.Overview) error {
	first := out.Now.Truncate(time.Hour).Add(-time.Duration(hours-1) * time.Hour)
	out.AnomaliesPerHour = make([]api.AnomalyHour, hours)
	for i := range out.AnomaliesPerHour {
		out.AnomaliesPerHour[i].Hour = first.Add(time.Duration(i) * time.Hour)
	}
	rows, err := tx.Query(ctx, `SELECT floor(extract(epoch FROM ts - $2) / 3600)::int, label, count(*) FROM `+anomalyRows+` r
		WHERE begins AND ts < $3 GROUP BY 1, 2`, uuidOf(tenant), first, first.Add(time.Duration(hours)*time.Hour))
	if err != nil {
		return err
	}
	var i, n int
	var label string
	_, err = pgx.ForEachRow(rows, []any{&i, &label, &n}, func() error {
		h := &out.AnomaliesPerHour[i]
		switch label {
		case "spike":
			h.Spike = n
		case "drop":
			h.Drop = n
		case "drift":
			h.Drift = n
		case "missingness":
			h.Missingness = n
		case "stuck":
			h.Stuck = n
		}
		return nil
	})
	return err
}

// Identity names a tenant and one of its keys.
func (s *Store) Identity(ctx context.Context, tenant schemas.ID, keyID string) (api.Session, error) {
	out := api.Session{TenantID: tenant.String(), KeyID: keyID}
	err := s.read(ctx, tenant, func(tx pgx.Tx) error {
		return orNotFound(tx.QueryRow(ctx, `SELECT t.name, k.name FROM api_keys k JOIN tenants t ON t.id = k.tenant_id
			WHERE k.tenant_id = $1 AND k.key_id = $2`, uuidOf(tenant), keyID).Scan(&out.TenantName, &out.KeyName))
	})
	if err != nil {
		return out, fmt.Errorf("name key: %w", err)
	}
	return out, nil
}
