package store

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// Reads for charts. They touch the rows of points and scores, and stand alone
// here so that another layout of those rows changes this file only.

const (
	// maxChartAnomalies bounds the anomalies that come with a series.
	maxChartAnomalies = 500
	// bandAge is how long an evaluation's band is shown beside the points after it.
	bandAge = 5 * time.Minute
)

// Series cuts a metric's range into at most buckets steps; where the range holds
// no more points than that, they come as they are.
func (s *Store) Series(ctx context.Context, tenant schemas.ID, metricID string, r api.Range, buckets int) (api.Series, error) {
	out := api.Series{MetricID: metricID, From: utc(r.From), To: utc(r.To), Points: []api.SeriesPoint{}, Anomalies: []api.Score{}}
	metric, err := parseID(metricID)
	if err != nil {
		return out, fmt.Errorf("read series: %w", err)
	}
	out.StepSeconds = max(r.To.Sub(r.From).Seconds()/float64(buckets), 1e-6)
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		if err := requireMetric(ctx, tx, tenant, metric); err != nil {
			return err
		}
		c := chart{tx, tenant, metric, r}
		if err := c.points(ctx, buckets, &out); err != nil {
			return err
		}
		return c.anomalies(ctx, &out)
	})
	if err != nil {
		return api.Series{}, fmt.Errorf("read series: %w", err)
	}
	return out, nil
}

// chart reads one range of one metric.
type chart struct {
	tx             pgx.Tx
	tenant, metric schemas.ID
	r              api.Range
}

func (c chart) args() []any { return []any{uuidOf(c.tenant), uuidOf(c.metric), c.r.From, c.r.To} }

func (c chart) points(ctx context.Context, buckets int, out *api.Series) error {
	raw, err := c.raw(ctx, buckets+1)
	if err != nil {
		return err
	}
	if len(raw) <= buckets {
		out.Raw, out.Points = true, raw
		return c.band(ctx, out.Points)
	}
	out.Points, err = c.buckets(ctx, out.StepSeconds)
	return err
}

func (c chart) raw(ctx context.Context, limit int) ([]api.SeriesPoint, error) {
	rows, err := c.tx.Query(ctx, `SELECT DISTINCT ON (ts) ts, value FROM datapoint_rows
		WHERE tenant_id = $1 AND metric_id = $2 AND ts >= $3 AND ts < $4 ORDER BY ts, root LIMIT $5`, append(c.args(), limit)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (api.SeriesPoint, error) {
		var p api.SeriesPoint
		err := r.Scan(&p.TS, &p.Last)
		p.TS, p.Min, p.Max, p.Avg, p.Count = utc(p.TS), p.Last, p.Last, p.Last, 1
		return p, err
	})
}

// band gives each point the evaluation at or last before it.
func (c chart) band(ctx context.Context, points []api.SeriesPoint) error {
	if len(points) == 0 {
		return nil
	}
	rows, err := c.tx.Query(ctx, `SELECT ts, expected, lower, upper, score, alarm_score FROM anomaly_scores
		WHERE tenant_id = $1 AND metric_id = $2 AND ts > $3 AND ts <= $4 AND NOT tick ORDER BY ts, root`,
		uuidOf(c.tenant), uuidOf(c.metric), points[0].TS.Add(-bandAge), points[len(points)-1].TS)
	if err != nil {
		return err
	}
	next := 0
	var at time.Time
	var s api.SeriesPoint
	give := func(until time.Time) { // the evaluation in hand, to the points before until
		for ; next < len(points) && (until.IsZero() || points[next].TS.Before(until)); next++ {
			if p := &points[next]; !at.IsZero() && p.TS.Sub(at) < bandAge {
				p.Expected, p.Lower, p.Upper, p.Score, p.AlarmScore = s.Expected, s.Lower, s.Upper, s.Score, s.AlarmScore
			}
		}
	}
	for rows.Next() {
		var ts time.Time
		var n api.SeriesPoint
		if err := rows.Scan(&ts, &n.Expected, &n.Lower, &n.Upper, &n.Score, &n.AlarmScore); err != nil {
			rows.Close()
			return err
		}
		give(ts)
		at, s = ts, n
		finiteBand(&s)
	}
	give(time.Time{})
	return rows.Err()
}

func finiteBand(p *api.SeriesPoint) {
	for _, f := range []**float64{&p.Expected, &p.Lower, &p.Upper, &p.Score, &p.AlarmScore} {
		*f = finite(*f)
	}
}

func (c chart) buckets(ctx context.Context, step float64) ([]api.SeriesPoint, error) {
	rows, err := c.tx.Query(ctx, `SELECT floor(extract(epoch FROM ts - $3) / $5)::int AS i, min(value), max(value), avg(value),
		  (max(ARRAY[extract(epoch FROM ts)::float8, value]))[2], count(*)
		FROM (SELECT DISTINCT ON (ts) ts, value FROM datapoint_rows
		      WHERE tenant_id = $1 AND metric_id = $2 AND ts >= $3 AND ts < $4 ORDER BY ts, root) p
		GROUP BY i ORDER BY i`, append(c.args(), step)...)
	if err != nil {
		return nil, err
	}
	places := map[int]int{}
	points, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (api.SeriesPoint, error) {
		var i int
		var p api.SeriesPoint
		err := r.Scan(&i, &p.Min, &p.Max, &p.Avg, &p.Last, &p.Count)
		p.TS = c.at(i, step)
		places[i] = len(places)
		return p, err
	})
	if err != nil {
		return nil, err
	}
	rows, err = c.tx.Query(ctx, `SELECT floor(extract(epoch FROM ts - $3) / $5)::int AS i,
		  avg(expected) FILTER (WHERE NOT tick), avg(lower) FILTER (WHERE NOT tick), avg(upper) FILTER (WHERE NOT tick), max(score), max(alarm_score)
		FROM anomaly_scores WHERE tenant_id = $1 AND metric_id = $2 AND ts >= $3 AND ts < $4 GROUP BY i`, append(c.args(), step)...)
	if err != nil {
		return nil, err
	}
	var i int
	var s api.SeriesPoint
	_, err = pgx.ForEachRow(rows, []any{&i, &s.Expected, &s.Lower, &s.Upper, &s.Score, &s.AlarmScore}, func() error {
		if at, ok := places[i]; ok {
			p := &points[at]
			p.Expected, p.Lower, p.Upper, p.Score, p.AlarmScore = s.Expected, s.Lower, s.Upper, s.Score, s.AlarmScore
			finiteBand(p)
		}
		return nil
	})
	return points, err
}

func (c chart) at(i int, step float64) time.Time {
	return utc(c.r.From.Add(time.Duration(float64(i) * step * float64(time.Second))))
}

func (c chart) anomalies(ctx context.Context, out *api.Series) error {
	var q query
	q.add(scoreColumns+` AND s.metric_id = ? AND s.severity <> 'none' AND s.ts >= ? AND s.ts < ?
		ORDER BY s.ts DESC, s.root DESC, s.tick DESC`, c.args()...)
	page, err := collect(ctx, c.tx, &q, page{limit: maxChartAnomalies}, scanScore(""))
	if err != nil {
		return err
	}
	out.Anomalies, out.AnomaliesCut = page.Data, page.HasMore
	sort.SliceStable(out.Anomalies, func(i, j int) bool { return out.Anomalies[i].TS.Before(out.Anomalies[j].TS) })
	return nil
}

// lastPoint is the newest point of metric m: a lateral table with ts, value and
// root; empty where there is none. $1 is the tenant.
const lastPoint = `LATERAL (SELECT ts, value, root FROM datapoint_rows r
	WHERE r.tenant_id = $1 AND r.metric_id = m.metric_id ORDER BY ts DESC, root LIMIT 1)`

// sparkSteps is how many numbers a sparkline has.
const sparkSteps = 48

// sparks fills the sparklines of metrics: the last value in each of 48 steps of
// the 24 h before now, or of the time since the first point in them.
func sparks(ctx context.Context, tx pgx.Tx, tenant schemas.ID, now time.Time, metrics map[schemas.ID]*api.Summary) error {
	day := now.Add(-24 * time.Hour)
	rows, err := tx.Query(ctx, `SELECT m.metric_id, f.ts, b.i, p.value
		FROM unnest($2::uuid[]) m(metric_id)
		CROSS JOIN LATERAL (SELECT ts, ($4 - ts) / $5::int AS step FROM datapoint_rows r
			WHERE r.tenant_id = $1 AND r.metric_id = m.metric_id AND ts >= $3 AND ts < $4 ORDER BY ts LIMIT 1) f
		CROSS JOIN generate_series(0, $5::int - 1) b(i)
		CROSS JOIN LATERAL (SELECT value FROM datapoint_rows r
			WHERE r.tenant_id = $1 AND r.metric_id = m.metric_id AND ts >= f.ts + b.i * f.step AND ts < f.ts + (b.i + 1) * f.step
			ORDER BY ts DESC, root LIMIT 1) p`,
		uuidOf(tenant), ids(metrics), day, now, sparkSteps)
	if err != nil {
		return err
	}
	var id pgtype.UUID
	var from time.Time
	var i int
	var value float64
	_, err = pgx.ForEachRow(rows, []any{&id, &from, &i, &value}, func() error {
		m := metrics[id.Bytes]
		if m.SparkFrom == nil {
			begin, end := utc(from), utc(now)
			m.SparkFrom, m.SparkTo = &begin, &end
			m.Spark = make([]*float64, sparkSteps)
		}
		v := value
		m.Spark[i] = finite(&v)
		return nil
	})
	return err
}

func ids[T any](of map[schemas.ID]T) []pgtype.UUID {
	out := make([]pgtype.UUID, 0, len(of))
	for id := range of {
		out = append(out, uuidOf(id))
	}
	return out
}
