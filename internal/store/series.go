package store

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// Order of a series.
type Order int

// Newest first is the order of every list; a chart may want the other.
const (
	Newest Order = iota
	Oldest
)

func (o Order) sql() (compare, direction string) {
	if o == Oldest {
		return ">", "ASC"
	}
	return "<", "DESC"
}

// Datapoints reads the points of a metric, each instant once: where the same
// instant was accepted twice, the lowest root wins.
func (s *Store) Datapoints(ctx context.Context, tenant schemas.ID, metricID string, r api.Range, pr api.PageRequest, o Order) (api.Page[api.Datapoint], error) {
	var out api.Page[api.Datapoint]
	list := fmt.Sprintf("datapoints%d", o)
	p, err := readPage(list, pr, maxSeries)
	if err != nil {
		return out, err
	}
	metric, err := parseID(metricID)
	if err != nil {
		return out, fmt.Errorf("read datapoints: %w", err)
	}
	r2 := reachOf(r)
	if p.after != nil {
		r2 = r2.beyond(o, p.after.TS)
	}
	err = s.readSeries(ctx, tenant, func(tx pgx.Tx) error {
		if err := requireMetric(ctx, tx, tenant, metric); err != nil {
			return err
		}
		points, _, err := samples(ctx, tx, sampleQuery{spec: stream.DatapointSeries, tenant: tenant, metric: metric, reach: r2, order: o, limit: p.limit + 1})
		if err != nil {
			return err
		}
		out.Data = []api.Datapoint{}
		for _, i := range firstOf(points, o, p.limit+1) {
			if len(out.Data) == p.limit {
				out.HasMore, out.NextCursor = true, cursor{List: list, TS: out.Data[p.limit-1].TS.UnixMicro()}.String()
				break
			}
			out.Data = append(out.Data, datapoint(points, i))
		}
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("read datapoints: %w", err)
	}
	return out, nil
}

func datapoint(s *stream.Samples, i int) api.Datapoint {
	return api.Datapoint{TS: time.UnixMicro(s.TS[i]).UTC(), Value: s.Reals[0][i], Flags: flagNames(int32(s.Flags[i])), Root: s.Root[i]}
}

func flagNames(bits int32) []string {
	var out []string
	for _, f := range []schemas.PointFlag{schemas.PointFlag_POINT_FLAG_LATE, schemas.PointFlag_POINT_FLAG_TS_MISSING, schemas.PointFlag_POINT_FLAG_BEHIND} {
		if bits&int32(f) != 0 {
			out = append(out, enumText(f))
		}
	}
	return out
}

const scoreColumns = `SELECT s.metric_id, s.device_id, coalesce(d.device_external_id, ''), coalesce(m.name, ''),
	s.ts, s.window_start, s.window_end, s.value, s.score, s.alarm_score, s.severity, s.label, s.sub_label,
	s.expected, s.lower, s.upper, s.explanation, s.contributors, s.warm_up, s.warm_up_eta_us, s.model_version,
	s.tick, s.backfill, s.root
	FROM anomaly_rows s
	LEFT JOIN metrics m ON m.metric_id = s.metric_id AND m.tenant_id = s.tenant_id
	LEFT JOIN devices d ON d.device_id = s.device_id AND d.tenant_id = s.tenant_id
	WHERE s.tenant_id = ?`

// Scores reads the evaluations of a metric. A metric has at most one per
// instant, root and kind (point or tick).
func (s *Store) Scores(ctx context.Context, tenant schemas.ID, metricID string, r api.Range, pr api.PageRequest, o Order) (api.Page[api.Score], error) {
	var out api.Page[api.Score]
	list := fmt.Sprintf("scores%d", o)
	p, err := readPage(list, pr, maxSeries)
	if err != nil {
		return out, err
	}
	metric, err := parseID(metricID)
	if err != nil {
		return out, fmt.Errorf("read scores: %w", err)
	}
	err = s.readSeries(ctx, tenant, func(tx pgx.Tx) error {
		if err := requireMetric(ctx, tx, tenant, metric); err != nil {
			return err
		}
		found, err := scorePage(ctx, tx, tenant, metric, reachOf(r), o, p.after, p.limit+1)
		if err != nil {
			return err
		}
		out.Data = found
		if len(found) > p.limit {
			out.Data, out.HasMore, out.NextCursor = found[:p.limit], true, scoreCursor(list, &found[p.limit-1]).String()
		}
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("read scores: %w", err)
	}
	return out, nil
}

// AnomalyFilter narrows Anomalies; empty fields do not.
type AnomalyFilter struct {
	MetricID    string
	DeviceID    string
	MinSeverity string // info, warning, critical
	Labels      []string
	Tags        map[string]string // of the metric, all
}

// Anomalies lists the evaluations whose severity is not none, the newest first.
func (s *Store) Anomalies(ctx context.Context, tenant schemas.ID, f AnomalyFilter, r api.Range, pr api.PageRequest) (api.Page[api.Score], error) {
	var out api.Page[api.Score]
	p, err := readPage("anomalies", pr, maxLimit)
	if err != nil {
		return out, err
	}
	var q query
	q.add(scoreColumns+" AND s.severity <> 'none'", uuidOf(tenant))
	metric := schemas.Nil
	if f.MetricID != "" {
		if metric, err = parseID(f.MetricID); err != nil {
			return out, fmt.Errorf("list anomalies: %w", err)
		}
		q.add(" AND s.metric_id = ?", uuidOf(metric))
	}
	if f.DeviceID != "" {
		device, err := parseID(f.DeviceID)
		if err != nil {
			return out, fmt.Errorf("list anomalies: %w", err)
		}
		q.add(" AND s.device_id = ?", uuidOf(device))
	}
	if f.MinSeverity != "" {
		q.add(" AND s.severity = ANY(?)", severitiesFrom(f.MinSeverity))
	}
	if len(f.Labels) > 0 {
		q.add(" AND s.label = ANY(?)", f.Labels)
	}
	q.addTags("s.metric_id IN (SELECT metric_id", f.Tags, tenant)
	q.addRange("s.ts", r)
	if p.after != nil {
		q.add(" AND (s.ts, s.metric_id, s.root, s.tick) < (?, ?, ?, ?)", p.after.time(), uuidOf(p.id), p.after.Root, p.after.Tick)
	}
	q.add(" ORDER BY s.ts DESC, s.metric_id DESC, s.root DESC, s.tick DESC")
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		if metric != schemas.Nil {
			if err := requireMetric(ctx, tx, tenant, metric); err != nil {
				return err
			}
		}
		out, err = collect(ctx, tx, &q, p, scanScore("anomalies"))
		return err
	})
	if err != nil {
		return out, fmt.Errorf("list anomalies: %w", err)
	}
	return out, nil
}

// severitiesFrom lists a severity and those above it; nothing for an unknown one.
func severitiesFrom(least string) []string {
	all := []string{"info", "warning", "critical"}
	for i, s := range all {
		if s == least {
			return all[i:]
		}
	}
	return nil
}

func scanScore(list string) func(pgx.Row, *cursor) (api.Score, error) {
	return func(r pgx.Row, c *cursor) (api.Score, error) {
		var v api.Score
		var metric, device pgtype.UUID
		var value *float64
		var contributors, model []byte
		var eta, root int64
		err := r.Scan(&metric, &device, &v.DeviceExternalID, &v.MetricName,
			&v.TS, &v.WindowStart, &v.WindowEnd, &value, &v.Score, &v.AlarmScore, &v.Severity, &v.Label, &v.SubLabel,
			&v.Expected, &v.Lower, &v.Upper, &v.Explanation, &contributors, &v.WarmUp, &eta, &model,
			&v.Tick, &v.Backfill, &root)
		if err != nil {
			return v, err
		}
		v.MetricID, v.DeviceID, v.Root = uuidText(metric), uuidText(device), uint64(root)
		v.TS, v.WindowStart, v.WindowEnd = utc(v.TS), utc(v.WindowStart), utc(v.WindowEnd)
		v.Value, v.Expected, v.Lower, v.Upper = number(value), finite(v.Expected), finite(v.Lower), finite(v.Upper)
		v.Score, v.AlarmScore = number(&v.Score), number(&v.AlarmScore)
		v.Label, v.SubLabel = notNone(v.Label), notNone(v.SubLabel)
		v.WarmUpETA, v.ModelVersion = float64(eta)/1e6, hex.EncodeToString(model)
		if v.Contributors, err = decodeContributors(contributors); err != nil {
			return v, err
		}
		*c = scoreCursor(list, &v)
		return v, nil
	}
}

// decodeContributors leaves out shares that JSON could not have held.
func decodeContributors(b []byte) ([]api.Contribution, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var out []api.Contribution
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("decode contributors: %w", err)
	}
	return out, nil
}
