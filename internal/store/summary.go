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

// silentRepeat is a little more than two of the evaluations that a silent metric
// repeats once a minute: the newest of them says that it still is.
const silentRepeat = 150 * time.Second

// silentMetrics are the metrics that an evaluation of the last minutes calls
// silent, with its root: a point beyond that root has ended the silence. $1 is
// the tenant, $3 the instant from which on.
const silentMetrics = `(SELECT metric_id, root FROM silent_metrics WHERE tenant_id = $1 AND received_at > $3)`

// anomalyRows are a tenant's anomalies since an instant ($1, $2), each with
// whether one begins with it: consecutive evaluations of one metric with one label
// are one anomaly, as long as they follow each other within two repetitions of a
// silent metric, or a fifth of a slow metric's window.
const anomalyRows = `(SELECT metric_id, ts, label, alarm_score,
	CASE severity WHEN 'critical' THEN 3 WHEN 'warning' THEN 2 ELSE 1 END AS severity,
	coalesce(ts - lag(ts) OVER w > greatest(interval '150 seconds', (window_end - window_start) / 5), true) AS begins
	FROM anomaly_rows WHERE tenant_id = $1 AND severity <> 'none' AND ts > $2
	WINDOW w AS (PARTITION BY metric_id, label ORDER BY ts))`

// anomalousMetrics count the anomalies of metrics and rank the worst of them.
const anomalousMetrics = `(SELECT metric_id, count(*) FILTER (WHERE begins) AS n, max(severity) AS worst, max(alarm_score) AS alarm
	FROM ` + anomalyRows + ` r GROUP BY metric_id)`

// since are the arguments $1 to $3 of the tables above.
func since(tenant schemas.ID, now time.Time) []any {
	return []any{uuidOf(tenant), now.Add(-24 * time.Hour), now.Add(-silentRepeat)}
}

// summarise gives metrics their state at a glance, in two queries however many they are.
func summarise(ctx context.Context, tx pgx.Tx, tenant schemas.ID, now time.Time, list []api.Metric) error {
	if len(list) == 0 {
		return nil
	}
	of := map[schemas.ID]*api.Summary{}
	for i := range list {
		id, err := schemas.ParseID(list[i].ID)
		if err != nil {
			return err
		}
		list[i].Summary = &api.Summary{Spark: []*float64{}}
		of[id] = list[i].Summary
	}
	rows, err := tx.Query(ctx, `SELECT m.metric_id, p.ts, p.value, coalesce(s.warm_up, ''), coalesce(z.root >= p.root, false),
		  coalesce(a.worst, 0), coalesce(a.n, 0)
		FROM unnest($4::uuid[]) m(metric_id)
		LEFT JOIN `+lastPoint+` p ON true
		LEFT JOIN LATERAL last_evaluation(m.metric_id) s ON s.tenant_id = $1
		LEFT JOIN `+silentMetrics+` z ON z.metric_id = m.metric_id
		LEFT JOIN `+anomalousMetrics+` a ON a.metric_id = m.metric_id`, append(since(tenant, now), ids(of))...)
	if err != nil {
		return err
	}
	var id pgtype.UUID
	var n api.Summary
	var worst int
	_, err = pgx.ForEachRow(rows, []any{&id, &n.LastTS, &n.LastValue, &n.WarmUp, &n.Silent, &worst, &n.Anomalies}, func() error {
		m := of[id.Bytes]
		*m = n
		m.Spark, m.LastTS, m.LastValue, m.Worst = []*float64{}, utcPtr(n.LastTS), finite(n.LastValue), rank(worst)
		return nil
	})
	if err != nil {
		return err
	}
	return sparks(ctx, tx, tenant, now, of)
}

// rank is the word of a rank of anomalousMetrics.
func rank(n int) string { return []string{"", "info", "warning", "critical"}[n] }

// summariseDevices gives devices their state at a glance.
func summariseDevices(ctx context.Context, tx pgx.Tx, tenant schemas.ID, now time.Time, list []api.Device) error {
	if len(list) == 0 {
		return nil
	}
	of := map[schemas.ID]*api.Device{}
	for i := range list {
		id, err := schemas.ParseID(list[i].ID)
		if err != nil {
			return err
		}
		of[id] = &list[i]
	}
	rows, err := tx.Query(ctx, `SELECT m.device_id, max(p.ts), coalesce(bool_or(z.root >= p.root), false), coalesce(max(a.worst), 0), coalesce(sum(a.n), 0)::bigint
		FROM metrics m
		LEFT JOIN `+lastPoint+` p ON true
		LEFT JOIN `+silentMetrics+` z ON z.metric_id = m.metric_id
		LEFT JOIN `+anomalousMetrics+` a ON a.metric_id = m.metric_id
		WHERE m.tenant_id = $1 AND m.device_id = ANY($4) GROUP BY m.device_id`, append(since(tenant, now), ids(of))...)
	if err != nil {
		return err
	}
	var id pgtype.UUID
	var seen *time.Time
	var silent bool
	var worst, n int
	_, err = pgx.ForEachRow(rows, []any{&id, &seen, &silent, &worst, &n}, func() error {
		d := of[id.Bytes]
		d.LastSeen, d.Silent, d.Worst, d.Anomalies = utcPtr(seen), silent, rank(worst), n
		return nil
	})
	return err
}

// Device finds one device.
func (s *Store) Device(ctx context.Context, tenant schemas.ID, deviceID string, now time.Time) (api.Device, error) {
	id, err := parseID(deviceID)
	if err != nil {
		return api.Device{}, fmt.Errorf("find device: %w", err)
	}
	list := make([]api.Device, 1)
	err = s.readEnds(ctx, tenant, func(tx pgx.Tx) error {
		list[0], err = scanDevice(tx.QueryRow(ctx, deviceColumns+` WHERE d.tenant_id = $1 AND d.device_id = $2`, uuidOf(tenant), uuidOf(id)), &cursor{})
		if err != nil {
			return orNotFound(err)
		}
		return summariseDevices(ctx, tx, tenant, now, list)
	})
	if err != nil {
		return api.Device{}, fmt.Errorf("find device: %w", err)
	}
	return list[0], nil
}
