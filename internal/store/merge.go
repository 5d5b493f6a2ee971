package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// merge is one step of sealing: recent chunks of some series, and the sealed ones
// that they touch, on their way into new sealed chunks.
type merge struct {
	spec   *stream.SeriesSpec
	table  string
	series map[schemas.ID]*merged
	order  []*merged

	taken    int      // recent chunks
	samples  int      // in them
	recent   []string // their places (ctid)
	replaced []place  // sealed chunks that go
	buffer   *[]byte  // for COPY data, the sealer's
}

// merged are the samples of one series.
type merged struct {
	*stream.Samples
	partition int
}

// place names a sealed chunk.
type place struct {
	metric schemas.ID
	first  int64
}

// chunkList is the select list that a chunkRow expects.
var chunkList = identList(chunkColumns)

// takeRecent reads recent chunks.
func (m *merge) takeRecent(ctx context.Context, tx pgx.Tx, metrics []pgtype.UUID, limit int) error {
	rows, err := tx.Query(ctx, `SELECT `+chunkList+`, ctid::text FROM `+m.spec.Name+`_recent WHERE metric_id = ANY($1) LIMIT $2`, metrics, limit)
	return rawChunks(rows, err, func(c chunkRow) error {
		m.taken++
		m.samples += c.n()
		m.recent = append(m.recent, string(c[len(chunkColumns)]))
		return m.add(c)
	})
}

func (m *merge) add(c chunkRow) error {
	key := c.key()
	s := m.series[key.Metric]
	if s == nil {
		s = &merged{Samples: stream.NewSamples(m.spec, key), partition: c.partition()}
		m.series[key.Metric] = s
		m.order = append(m.order, s)
	}
	return c.appendTo(s.Samples)
}

// span is a series' new samples of one week.
type span struct {
	metric schemas.ID
	lo, hi int64
	few    bool
}

// takeSealed reads the sealed chunks that the new samples touch: those they
// overlap, the one before them when it is small, and, when few samples fall between
// two chunks, both of these. All of them are replaced.
func (m *merge) takeSealed(ctx context.Context, tx pgx.Tx) error {
	var metrics []pgtype.UUID
	var los, his []time.Time
	var few []bool
	for _, s := range m.order {
		for _, w := range spansOf(s) {
			metrics, los, his, few = append(metrics, uuidOf(w.metric)), append(los, time.UnixMicro(w.lo).UTC()), append(his, time.UnixMicro(w.hi).UTC()), append(few, w.few)
		}
	}
	rows, err := tx.Query(ctx, `SELECT c.*
		FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::bool[]) AS w(metric, lo, hi, few)
		CROSS JOIN LATERAL (SELECT max(first_ts) AS ts FROM `+m.table+`
			WHERE metric_id = w.metric AND first_ts <= w.lo AND first_ts >= chunk_week(w.lo)) AS before
		CROSS JOIN LATERAL (SELECT min(first_ts) AS ts FROM `+m.table+`
			WHERE w.few AND metric_id = w.metric AND first_ts > w.hi AND first_ts < chunk_week(w.hi) + interval '7 days') AS after
		JOIN LATERAL (SELECT `+chunkList+` FROM `+m.table+`
			WHERE metric_id = w.metric AND first_ts >= coalesce(before.ts, w.lo) AND first_ts <= coalesce(after.ts, w.hi)) AS c
			ON c.last_ts >= w.lo OR c.n < $5 OR after.ts IS NOT NULL`, metrics, los, his, few, chunkFew)
	return rawChunks(rows, err, func(c chunkRow) error {
		key := c.key()
		m.replaced = append(m.replaced, place{key.Metric, c.first()})
		return m.add(c)
	})
}

// spansOf orders the new samples of a series and finds their weeks.
func spansOf(s *merged) []span {
	order(s.Samples)
	var out []span
	for lo := 0; lo < s.Len(); {
		hi := lo
		for hi < s.Len() && weekOf(s.TS[hi]) == weekOf(s.TS[lo]) {
			hi++
		}
		out = append(out, span{s.Key.Metric, s.TS[lo], s.TS[hi-1], hi-lo < chunkFew})
		lo = hi
	}
	return out
}

// write replaces what was taken by new sealed chunks.
func (m *merge) write(ctx context.Context, tx pgx.Tx, s *Store) error {
	tag, err := tx.Exec(ctx, `DELETE FROM `+m.spec.Name+`_recent WHERE ctid = ANY($1::text[]::tid[])`, m.recent)
	if err != nil {
		return fmt.Errorf("remove recent chunks: %w", err)
	}
	if int(tag.RowsAffected()) != m.taken {
		return fmt.Errorf("removed %d of %d recent chunks", tag.RowsAffected(), m.taken)
	}
	if err := m.removeReplaced(ctx, tx); err != nil {
		return err
	}
	err = s.fillAndCopy(ctx, tx, m.table, sealedColumns(m.spec), m.buffer, func(data []byte) []byte {
		for _, one := range m.order {
			order(one.Samples)
			distinct(m.spec, one.Samples)
			cut(one.Samples, func(lo, hi int) { data = appendChunk(data, m.spec, one.Samples, lo, hi, one.partition, true) })
		}
		return data
	})
	if err != nil {
		return fmt.Errorf("write sealed chunks: %w", err)
	}
	return nil
}

func (m *merge) removeReplaced(ctx context.Context, tx pgx.Tx) error {
	if len(m.replaced) == 0 {
		return nil
	}
	metrics, firsts := make([]pgtype.UUID, len(m.replaced)), make([]time.Time, len(m.replaced))
	for i, p := range m.replaced {
		metrics[i], firsts[i] = uuidOf(p.metric), time.UnixMicro(p.first).UTC()
	}
	tag, err := tx.Exec(ctx, `DELETE FROM `+m.table+` c USING unnest($1::uuid[], $2::timestamptz[]) AS p(metric, first)
		WHERE c.metric_id = p.metric AND c.first_ts = p.first`, metrics, firsts)
	if err != nil {
		return fmt.Errorf("remove replaced chunks: %w", err)
	}
	if int(tag.RowsAffected()) != len(m.replaced) {
		return fmt.Errorf("removed %d of %d replaced chunks", tag.RowsAffected(), len(m.replaced))
	}
	return nil
}
