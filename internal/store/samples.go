package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// beginSeries lets all statements of a transaction see one moment: between two of
// them sealing may move samples from one table to the other.
const beginSeries = "begin isolation level repeatable read read only"

// readSeries is read for what stands in chunks.
func (s *Store) readSeries(ctx context.Context, tenant schemas.ID, fn func(pgx.Tx) error) error {
	return within(ctx, s.app, beginSeries+"; set local app.tenant = '"+tenant.String()+"'", fn)
}

// reach is a span of time in µs: [from, to).
type reach struct{ from, to int64 }

// lastInstant is beyond every sample, and still a timestamptz.
const lastInstant = 9_223_371_331_200_000_000

func reachOf(r api.Range) reach {
	out := reach{firstInstant, lastInstant}
	if !r.From.IsZero() {
		out.from = max(r.From.UnixMicro(), firstInstant)
	}
	if !r.To.IsZero() {
		out.to = min(max(r.To.UnixMicro(), firstInstant), lastInstant)
	}
	return out
}

func (r reach) holds(ts int64) bool { return r.from <= ts && ts < r.to }

// beyond is what follows an instant in an order.
func (r reach) beyond(o Order, ts int64) reach {
	if o == Oldest {
		return reach{max(r.from, ts+1), r.to}
	}
	return reach{r.from, min(r.to, ts)}
}

// sampleQuery asks for samples of one series.
type sampleQuery struct {
	spec           *stream.SeriesSpec
	tenant, metric schemas.ID
	reach          reach
	order          Order
	limit          int                                 // so many from the beginning of the order are complete; 0 = all
	keep           func(s *stream.Samples, i int) bool // nil = all
}

// samples reads a series: ordered by instant, root and kind, each sample once.
// Beyond the limit there may be more of them, then not without gaps.
func samples(ctx context.Context, tx pgx.Tx, q sampleQuery) (*stream.Samples, int, error) {
	out := stream.NewSamples(q.spec, stream.SeriesKey{Tenant: q.tenant, Metric: q.metric})
	partition := 0
	take := func(c chunkRow) error {
		partition = c.partition()
		at := out.Len()
		if err := c.appendTo(out); err != nil {
			return err
		}
		q.keepFrom(out, at)
		return nil
	}
	from, to := time.UnixMicro(q.reach.from).UTC(), time.UnixMicro(q.reach.to).UTC()
	args := []any{uuidOf(q.tenant), uuidOf(q.metric), from, to}
	const within = ` WHERE tenant_id = $1 AND metric_id = $2 AND first_ts >= chunk_week($3) AND first_ts < $4 AND last_ts >= $3`
	rows, err := tx.Query(ctx, `SELECT `+chunkList+` FROM `+q.spec.Name+`_recent`+within, args...)
	err = rawChunks(rows, err, func(c chunkRow) error { return take(c) })
	if err != nil {
		return nil, 0, err
	}
	if err := q.sealed(ctx, tx, args, out, take); err != nil {
		return nil, 0, err
	}
	order(out)
	distinct(q.spec, out)
	return out, partition, nil
}

// sealed takes sealed chunks in the order asked for until they hold the limit:
// they do not overlap, so what follows is beyond it. It asks for so many chunks as
// will do, and for more when they do not: the server would send all of an open result.
func (q *sampleQuery) sealed(ctx context.Context, tx pgx.Tx, args []any, out *stream.Samples, take func(chunkRow) error) error {
	table, next, direction := q.spec.Name+"_chunks", "first_ts < $5", "DESC"
	after := pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
	if q.order == Oldest {
		next, direction = "first_ts > $5", "ASC"
		after.InfinityModifier = pgtype.NegativeInfinity
	}
	sql := `SELECT ` + chunkList + ` FROM ` + table + ` WHERE tenant_id = $1 AND metric_id = $2 AND first_ts >= chunk_week($3) AND first_ts < $4 AND last_ts >= $3
		AND first_ts >= coalesce((SELECT max(first_ts) FROM ` + table + ` WHERE metric_id = $2 AND first_ts <= $3 AND first_ts >= chunk_week($3)), $3)
		AND ` + next + ` ORDER BY first_ts ` + direction + ` LIMIT $6`
	chunks := q.limit/chunkFew + 2
	if q.limit == 0 {
		chunks = 1 << 30
	}
	for held := 0; ; chunks *= 2 {
		n := 0
		rows, err := tx.Query(ctx, sql, append(args[:4:4], after, chunks)...)
		err = rawChunks(rows, err, func(c chunkRow) error {
			n++
			after = pgtype.Timestamptz{Time: time.UnixMicro(c.first()).UTC(), Valid: true}
			at := out.Len()
			err := take(c)
			held += out.Len() - at
			return err
		})
		if err != nil || n < chunks || held >= q.limit {
			return err
		}
	}
}

// keepFrom drops the samples from number at on that were not asked for.
func (q *sampleQuery) keepFrom(s *stream.Samples, at int) {
	var drop bool
	wanted := func(i int) bool { return q.reach.holds(s.TS[i]) && (q.keep == nil || q.keep(s, i)) }
	for i := at; i < s.Len() && !drop; i++ {
		drop = !wanted(i)
	}
	if !drop {
		return
	}
	keep := make([]int32, 0, s.Len())
	for i := range s.TS {
		if i < at || wanted(i) {
			keep = append(keep, int32(i))
		}
	}
	pick(s, keep)
}

// firstOf are the numbers of ordered samples from the beginning of an order, at most limit.
func firstOf(s *stream.Samples, o Order, limit int) []int {
	out := make([]int, min(limit, s.Len()))
	for k := range out {
		out[k] = k
		if o == Newest {
			out[k] = s.Len() - 1 - k
		}
	}
	return out
}

// sampleTime is the instant a relative column of a sample stands for.
func sampleTime(s *stream.Samples, column, i int) time.Time {
	return time.UnixMicro(s.TS[i] + s.Longs[column][i]).UTC()
}
