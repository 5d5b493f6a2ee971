package store

import (
	"cmp"
	"context"
	"encoding/hex"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// scorePage reads evaluations of a metric after a cursor, at most limit (0 = all): normal
// ones stand in chunks, the others are rows of their own.
func scorePage(ctx context.Context, tx pgx.Tx, tenant, metric schemas.ID, r reach, o Order, after *cursor, limit int) ([]api.Score, error) {
	if after != nil { // the cursor's instant may have more than one evaluation
		if o == Oldest {
			r.from = max(r.from, after.TS)
		} else {
			r.to = min(r.to, after.TS+1)
		}
	}
	out, err := abnormalScores(ctx, tx, tenant, metric, r, o, after, limit)
	if err != nil {
		return nil, err
	}
	q := sampleQuery{spec: stream.ScoreSeries, tenant: tenant, metric: metric, reach: r, order: o, limit: limit}
	if after != nil {
		q.keep = func(s *stream.Samples, i int) bool { return compareScore(o, pointAt(s, i), *after) > 0 }
	}
	normal, _, err := samples(ctx, tx, q)
	if err != nil {
		return nil, err
	}
	name, err := seriesName(ctx, tx, tenant, metric)
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		limit = normal.Len() + len(out)
	}
	for _, i := range firstOf(normal, o, limit) {
		out = append(out, normalScore(name, normal, i))
	}
	slices.SortFunc(out, func(a, b api.Score) int { return compareScore(o, scoreCursor("", &a), scoreCursor("", &b)) })
	return out[:min(limit, len(out))], nil
}

func abnormalScores(ctx context.Context, tx pgx.Tx, tenant, metric schemas.ID, r reach, o Order, after *cursor, limit int) ([]api.Score, error) {
	compare, direction := o.sql()
	var q query
	q.add(scoreColumns+" AND s.metric_id = ? AND s.ts >= ? AND s.ts < ?", uuidOf(tenant), uuidOf(metric), time.UnixMicro(r.from).UTC(), time.UnixMicro(r.to).UTC())
	if after != nil {
		q.add(" AND (s.ts, s.root, s.tick) "+compare+" (?, ?, ?)", after.time(), after.Root, after.Tick)
	}
	q.add(" ORDER BY s.ts "+direction+", s.root "+direction+", s.tick "+direction+" LIMIT NULLIF(?::bigint, 0)", limit)
	rows, err := tx.Query(ctx, q.sql.String(), q.args...)
	if err != nil {
		return nil, err
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (api.Score, error) { return scanScore("")(row, &cursor{}) })
	if out == nil {
		out = []api.Score{}
	}
	return out, err
}

// name is what people call a series.
type name struct{ device, external, metric string }

func seriesName(ctx context.Context, tx pgx.Tx, tenant, metric schemas.ID) (name, error) {
	var n name
	var device pgtype.UUID
	err := tx.QueryRow(ctx, `SELECT m.device_id, coalesce(d.device_external_id, ''), m.name FROM metrics m
		LEFT JOIN devices d ON d.device_id = m.device_id AND d.tenant_id = m.tenant_id WHERE m.tenant_id = $1 AND m.metric_id = $2`,
		uuidOf(tenant), uuidOf(metric)).Scan(&device, &n.external, &n.metric)
	n.device = uuidText(device)
	return n, orNotFound(err)
}

func scoreCursor(list string, v *api.Score) cursor {
	return cursor{List: list, TS: v.TS.UnixMicro(), ID: v.MetricID, Root: int64(v.Root), Tick: v.Tick}
}

func pointAt(s *stream.Samples, i int) cursor {
	return cursor{TS: s.TS[i], Root: int64(s.Root[i]), Tick: s.Flags[i]&stream.SampleTick != 0}
}

// compareScore tells which of two comes first in an order.
func compareScore(o Order, a, b cursor) int {
	c := 0
	switch {
	case a.TS != b.TS:
		c = cmp.Compare(a.TS, b.TS)
	case a.Root != b.Root:
		c = cmp.Compare(a.Root, b.Root)
	default:
		c = int(boolByte(a.Tick)) - int(boolByte(b.Tick))
	}
	if o == Newest {
		return -c
	}
	return c
}

// normalScore is sample i as the API shows it; its columns are those of stream.ScoreSeries.
func normalScore(n name, s *stream.Samples, i int) api.Score {
	bits := func(shift int) int32 { return int32(s.Flags[i] >> shift & 15) }
	real := func(column int) *float64 { return finite(&s.Reals[column][i]) }
	v := api.Score{
		MetricID: s.Key.Metric.String(), DeviceID: n.device, DeviceExternalID: n.external, MetricName: n.metric,
		TS: time.UnixMicro(s.TS[i]).UTC(), WindowStart: sampleTime(s, 0, i), WindowEnd: sampleTime(s, 1, i),
		Value: number(real(0)), Score: number(real(1)), AlarmScore: number(real(2)), Severity: schemas.Severity_SEVERITY_NONE.Word(),
		Label: notNone(schemas.Label(bits(stream.SampleLabelShift)).Word()), SubLabel: notNone(schemas.SubLabel(bits(stream.SampleSubLabelShift)).Word()),
		Expected: real(3), Lower: real(4), Upper: real(5), WarmUp: schemas.WarmUp(bits(stream.SampleWarmUpShift)).Word(), WarmUpETA: float64(s.Longs[3][i]) / 1e6,
		Tick: s.Flags[i]&stream.SampleTick != 0, Backfill: s.Flags[i]&stream.SampleBackfill != 0, Root: s.Root[i],
	}
	if len(s.Words) > 0 {
		v.ModelVersion = hex.EncodeToString([]byte(s.Words[i]))
	}
	return v
}
