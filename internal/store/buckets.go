package store

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/edgepulse/edgepulse/stream"
)

// grid is a division of time: bucket i is [start + i*step, start + (i+1)*step).
type grid struct {
	reach reach
	start int64
	step  int64
	// width is the widest cell that may be taken as one: it divides the step and
	// the start, unless nobody minds. 0 = none.
	width int64
}

func (g grid) bucket(ts int64) int64 { return floorDiv(ts-g.start, g.step) }

// rollUp rolls a series up by bucket. A sealed chunk that lies in one bucket comes
// as a whole, another in its cells; samples are read where a chunk crosses the
// border of the reach, has no cells that fit, or where recent samples lie within
// it, which may be the same again. more adds roll-ups that do not stand in chunks.
func (c chart) rollUp(ctx context.Context, spec *stream.SeriesSpec, g grid, more func(context.Context, reach, func(int64, rollup)) error) (map[int64]rollup, error) {
	r := rollings[spec]
	out := map[int64]rollup{}
	newest := map[int64]int64{} // instant of what was added to a bucket last
	add := func(ts int64, from rollup) {
		i := g.bucket(ts)
		into, ok := out[i]
		switch {
		case !ok:
			out[i], newest[i] = from, ts
		case ts >= newest[i]:
			r.merge(into, from)
			newest[i] = ts
		default:
			r.merge(from, into)
			out[i] = from
		}
	}
	read, recent, err := c.recent(ctx, spec, g.reach)
	if err != nil {
		return nil, err
	}
	if err := c.sealed(ctx, spec, g, recent, read, add); err != nil {
		return nil, err
	}
	order(read)
	distinct(spec, read)
	for i, ts := range read.TS {
		if g.reach.holds(ts) {
			add(ts, r.one(read, i))
		}
	}
	if more != nil {
		return out, more(ctx, g.reach, add)
	}
	return out, nil
}

// recent reads the samples that are not sealed, and says in which spans they lie.
func (c chart) recent(ctx context.Context, spec *stream.SeriesSpec, r reach) (*stream.Samples, []reach, error) {
	out := stream.NewSamples(spec, stream.SeriesKey{Tenant: c.tenant, Metric: c.metric})
	var spans []reach
	rows, err := c.tx.Query(ctx, `SELECT `+chunkList+` FROM `+spec.Name+`_recent
		WHERE tenant_id = $1 AND metric_id = $2 AND first_ts >= chunk_week($3) AND first_ts < $4 AND last_ts >= $3`,
		uuidOf(c.tenant), uuidOf(c.metric), time.UnixMicro(r.from).UTC(), time.UnixMicro(r.to).UTC())
	err = rawChunks(rows, err, func(row chunkRow) error {
		spans = append(spans, reach{row.first(), row.last()})
		return row.appendTo(out)
	})
	return out, joinSpans(spans), err
}

// joinSpans joins closed spans that lie less than 10 min apart.
func joinSpans(spans []reach) []reach {
	slices.SortFunc(spans, func(a, b reach) int { return int(min(max(a.from-b.from, -1), 1)) })
	var out []reach
	for _, s := range spans {
		if n := len(out); n > 0 && s.from-out[n-1].to < 600e6 {
			out[n-1].to = max(out[n-1].to, s.to)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// sealed reads sealed chunks: roll-ups go to add, samples are appended to read.
func (c chart) sealed(ctx context.Context, spec *stream.SeriesSpec, g grid, recent []reach, read *stream.Samples, add func(int64, rollup)) error {
	froms, tos := make([]time.Time, len(recent)), make([]time.Time, len(recent))
	for i, s := range recent {
		froms[i], tos[i] = time.UnixMicro(s.from).UTC(), time.UnixMicro(s.to).UTC()
	}
	list := ""
	for i, name := range chunkColumns {
		if i >= 9 {
			name = "CASE WHEN form = 'samples' THEN " + name + " END"
		}
		list += name + ", "
	}
	table := spec.Name + "_chunks"
	rows, err := c.tx.Query(ctx, `SELECT `+list+`CASE WHEN form = 'whole' THEN whole END, cell_us, CASE WHEN form = 'cells' THEN cell_at END, CASE WHEN form = 'cells' THEN cells END
		FROM (SELECT c.*, CASE
		    WHEN first_ts < $3 OR last_ts >= $4 OR whole IS NULL
		      OR EXISTS (SELECT FROM unnest($5::timestamptz[], $6::timestamptz[]) r(a, b) WHERE r.a <= last_ts AND r.b >= first_ts) THEN 'samples'
		    WHEN date_bin($7, first_ts, $8) = date_bin($7, last_ts, $8) THEN 'whole'
		    WHEN cell_us <= $9 THEN 'cells' ELSE 'samples' END AS form
		  FROM `+table+` c WHERE tenant_id = $1 AND metric_id = $2 AND first_ts >= chunk_week($3) AND first_ts < $4 AND last_ts >= $3
		    AND first_ts >= coalesce((SELECT max(first_ts) FROM `+table+` WHERE metric_id = $2 AND first_ts <= $3 AND first_ts >= chunk_week($3)), $3)) c
		ORDER BY first_ts`, uuidOf(c.tenant), uuidOf(c.metric), time.UnixMicro(g.reach.from).UTC(), time.UnixMicro(g.reach.to).UTC(), froms, tos,
		time.Duration(g.step)*time.Microsecond, time.UnixMicro(g.start).UTC(), g.width)
	r := rollings[spec]
	return rawChunks(rows, err, func(row chunkRow) error {
		rolled := row[len(chunkColumns):]
		switch {
		case rolled[0] != nil:
			whole := make(rollup, r.size)
			data, n, err := arrayData(rolled[0])
			if err != nil || n != r.size {
				return errArray
			}
			for k := range whole {
				whole[k] = realAt(data, k)
			}
			add(row.last(), whole)
			return nil
		case rolled[3] != nil:
			width := int64(binary.BigEndian.Uint64(rolled[1]))
			return r.decodeCells(row.first(), width, rolled[2], rolled[3], func(ts int64, cell rollup) {
				// Where in the cell its samples lie is not known: in the bucket of its beginning.
				add(max(ts, row.first()), cell)
			})
		}
		return row.appendTo(read)
	})
}

// abnormal adds the evaluations that are rows of their own.
func (c chart) abnormal(ctx context.Context, r reach, add func(int64, rollup)) error {
	rows, err := c.tx.Query(ctx, `SELECT ts, tick, coalesce(expected, 'NaN'), coalesce(lower, 'NaN'), coalesce(upper, 'NaN'), score, alarm_score
		FROM anomaly_rows WHERE tenant_id = $1 AND metric_id = $2 AND ts >= $3 AND ts < $4`,
		uuidOf(c.tenant), uuidOf(c.metric), time.UnixMicro(r.from).UTC(), time.UnixMicro(r.to).UTC())
	if err != nil {
		return err
	}
	var ts time.Time
	var tick bool
	var expected, lower, upper, score, alarm float64
	_, err = pgx.ForEachRow(rows, []any{&ts, &tick, &expected, &lower, &upper, &score, &alarm}, func() error {
		add(ts.UnixMicro(), scoreRollup(tick, expected, lower, upper, score, alarm))
		return nil
	})
	return err
}
