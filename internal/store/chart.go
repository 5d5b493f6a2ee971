package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// Reads for charts. They touch the rows of points and scores, and stand alone
// here so that another layout of those rows changes this file only.

const (
	// maxChartAnomalies bounds the anomalies that come with a series.
	maxChartAnomalies = 500
	// bandAge is how long an evaluation's band is shown beside the points after it.
	bandAge = 5 * time.Minute
	// manySamples is from how many sealed points on a chart is made of roll-ups.
	manySamples = 20_000
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
	err = s.readSeries(ctx, tenant, func(tx pgx.Tx) error {
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
	raw, _, err := samples(ctx, c.tx, sampleQuery{spec: stream.DatapointSeries, tenant: c.tenant, metric: c.metric, reach: reachOf(c.r), order: Oldest, limit: buckets + 1})
	if err != nil {
		return err
	}
	if raw.Len() <= buckets {
		out.Raw = true
		for i, ts := range raw.TS {
			v := raw.Reals[0][i]
			out.Points = append(out.Points, api.SeriesPoint{TS: time.UnixMicro(ts).UTC(), Min: v, Max: v, Avg: v, Last: v, Count: 1})
		}
		return c.band(ctx, out.Points)
	}
	g, err := c.grid(ctx, buckets)
	if err != nil {
		return err
	}
	out.StepSeconds = float64(g.step) / 1e6
	out.Points, err = c.buckets(ctx, g)
	return err
}

// grid divides the range into at most so many buckets. Of many points it takes
// whole numbers of cells, so that roll-ups serve: then the first bucket may begin
// before the range, though nothing of that time is in it.
func (c chart) grid(ctx context.Context, buckets int) (grid, error) {
	r := reachOf(c.r)
	g := grid{reach: r, start: r.from, step: max(1, (r.to-r.from+int64(buckets)-1)/int64(buckets))}
	var n int64
	err := c.tx.QueryRow(ctx, `SELECT coalesce((SELECT sum(n) FROM datapoint_chunks
		WHERE tenant_id = $1 AND metric_id = $2 AND first_ts >= chunk_week($3) AND first_ts < $4 AND last_ts >= $3), 0)`, c.args()...).Scan(&n)
	if err != nil || n < manySamples {
		return g, err
	}
	for _, w := range cellWidths {
		if 2*w <= g.step {
			g.width = w
		}
	}
	if g.width > 0 {
		g.start = floorDiv(r.from, g.width) * g.width
		g.step = (r.to - g.start + int64(buckets) - 1) / int64(buckets)
		g.step = (g.step + g.width - 1) / g.width * g.width
	}
	return g, nil
}

// band gives each point the evaluation at or last before it.
func (c chart) band(ctx context.Context, points []api.SeriesPoint) error {
	if len(points) == 0 {
		return nil
	}
	first, last := points[0].TS, points[len(points)-1].TS
	found, err := scorePage(ctx, c.tx, c.tenant, c.metric, reach{first.Add(-bandAge).UnixMicro() + 1, last.UnixMicro() + 1}, Oldest, nil, 0)
	if err != nil {
		return err
	}
	next := 0
	var at time.Time
	var s *api.Score
	give := func(until time.Time) { // the evaluation in hand, to the points before until
		for ; next < len(points) && (until.IsZero() || points[next].TS.Before(until)); next++ {
			if p := &points[next]; s != nil && p.TS.Sub(at) < bandAge {
				p.Expected, p.Lower, p.Upper, p.Score, p.AlarmScore = s.Expected, s.Lower, s.Upper, &s.Score, &s.AlarmScore
			}
		}
	}
	for i := range found {
		if found[i].Tick {
			continue
		}
		give(found[i].TS)
		at, s = found[i].TS, &found[i]
	}
	give(time.Time{})
	return nil
}

// buckets rolls points and evaluations up on one grid.
func (c chart) buckets(ctx context.Context, g grid) ([]api.SeriesPoint, error) {
	points, err := c.rollUp(ctx, stream.DatapointSeries, g, nil)
	if err != nil {
		return nil, err
	}
	scores, err := c.rollUp(ctx, stream.ScoreSeries, g, c.abnormal)
	if err != nil {
		return nil, err
	}
	out := make([]api.SeriesPoint, 0, len(points))
	for _, i := range slices.Sorted(maps.Keys(points)) {
		b := points[i]
		p := api.SeriesPoint{TS: time.UnixMicro(g.start + i*g.step).UTC(), Min: b[pointMin], Max: b[pointMax],
			Avg: b[pointSum] / b[rollCount], Last: b[pointLast], Count: int(b[rollCount])}
		if s := scores[i]; s != nil {
			mean := func(k int) *float64 {
				if s[rollCount] == 0 {
					return nil
				}
				v := s[k] / s[rollCount]
				return finite(&v)
			}
			p.Expected, p.Lower, p.Upper = mean(scoreExpected), mean(scoreExpected+1), mean(scoreUpper)
			p.Score, p.AlarmScore = finite(&s[scoreMax]), finite(&s[scoreAlarm])
		}
		out = append(out, p)
	}
	return out, nil
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
const lastPoint = `LATERAL (SELECT ts, value, root FROM last_point(m.metric_id) l WHERE l.tenant_id = $1)`

// sparkSteps is how many numbers a sparkline has.
const sparkSteps = 48

// sparks fills the sparklines of metrics: the last value in each of 48 steps of
// the 24 h before now, or of the time since the first point in them.
func sparks(ctx context.Context, tx pgx.Tx, tenant schemas.ID, now time.Time, metrics map[schemas.ID]*api.Summary) error {
	day := reach{now.Add(-24 * time.Hour).UnixMicro(), now.UnixMicro()}
	for id, m := range metrics {
		c := chart{tx: tx, tenant: tenant, metric: id}
		first, err := c.first(ctx, day)
		if err != nil {
			return err
		}
		if first == 0 {
			continue
		}
		g := grid{reach: reach{first, day.to}, start: first, step: (day.to - first + sparkSteps - 1) / sparkSteps}
		g.width = g.step // what lies on a border may stand beside it
		values, err := c.rollUp(ctx, stream.DatapointSeries, g, nil)
		if err != nil {
			return err
		}
		begin, end := time.UnixMicro(first).UTC(), utc(now)
		m.SparkFrom, m.SparkTo = &begin, &end
		m.Spark = make([]*float64, sparkSteps)
		for i, v := range values {
			m.Spark[i] = finite(&v[pointLast])
		}
	}
	return nil
}

// first is the instant of the metric's first point in a reach; 0 = it has none.
func (c chart) first(ctx context.Context, r reach) (int64, error) {
	s, _, err := samples(ctx, c.tx, sampleQuery{spec: stream.DatapointSeries, tenant: c.tenant, metric: c.metric, reach: r, order: Oldest, limit: 1})
	if err != nil || s.Len() == 0 {
		return 0, err
	}
	return s.TS[0], nil
}

func ids[T any](of map[schemas.ID]T) []pgtype.UUID {
	out := make([]pgtype.UUID, 0, len(of))
	for id := range of {
		out = append(out, uuidOf(id))
	}
	return out
}
