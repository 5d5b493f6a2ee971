package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// Segment is one archived object: the roots [FirstRoot, LastRoot] of a log's partition.
type Segment struct {
	Log       stream.LogName
	Partition int
	FirstRoot uint64
	LastRoot  uint64
	FirstAt   time.Time // received_at of the first entry
	LastAt    time.Time
	ObjectKey string
	Bytes     int64
	Entries   int64
	SHA256    []byte
}

// SegmentRange selects segments that overlap it; zero bounds are open.
type SegmentRange struct {
	FromRoot, ToRoot uint64 // both inclusive
	Time             api.Range
}

// InsertSegment records a segment. The same segment twice is no error; another
// one at the same first root is ErrConflict.
func (s *Store) InsertSegment(ctx context.Context, g Segment) error {
	err := within(ctx, s.writer, "begin", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `INSERT INTO archive_segments AS a (log, partition, first_root, last_root, first_at, last_at, object_key, bytes, entries, sha256)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (log, partition, first_root) DO NOTHING`,
			string(g.Log), int64(g.Partition), int64(g.FirstRoot), int64(g.LastRoot), g.FirstAt, g.LastAt, g.ObjectKey, g.Bytes, g.Entries, g.SHA256)
		if err != nil || tag.RowsAffected() == 1 {
			return err
		}
		var same bool
		err = tx.QueryRow(ctx, `SELECT last_root = $4 AND sha256 = $5 AND object_key = $6 FROM archive_segments WHERE log = $1 AND partition = $2 AND first_root = $3`,
			string(g.Log), int64(g.Partition), int64(g.FirstRoot), int64(g.LastRoot), g.SHA256, g.ObjectKey).Scan(&same)
		if err == nil && !same {
			return ErrConflict
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("record segment %s: %w", g.ObjectKey, err)
	}
	return nil
}

// ListSegments lists the segments of a log's partition in the order of their roots.
func (s *Store) ListSegments(ctx context.Context, log stream.LogName, partition int, r SegmentRange) ([]Segment, error) {
	var q query
	q.add(`SELECT first_root, last_root, first_at, last_at, object_key, bytes, entries, sha256 FROM archive_segments
		WHERE log = ? AND partition = ?`, string(log), int64(partition))
	if r.FromRoot != 0 {
		q.add(" AND last_root >= ?", int64(r.FromRoot))
	}
	if r.ToRoot != 0 {
		q.add(" AND first_root <= ?", int64(r.ToRoot))
	}
	if !r.Time.From.IsZero() {
		q.add(" AND last_at >= ?", r.Time.From)
	}
	if !r.Time.To.IsZero() {
		q.add(" AND first_at < ?", r.Time.To)
	}
	q.add(" ORDER BY first_root")
	var out []Segment
	err := within(ctx, s.writer, "begin read only", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, q.sql.String(), q.args...)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (Segment, error) {
			g := Segment{Log: log, Partition: partition}
			var first, last int64
			err := row.Scan(&first, &last, &g.FirstAt, &g.LastAt, &g.ObjectKey, &g.Bytes, &g.Entries, &g.SHA256)
			g.FirstRoot, g.LastRoot, g.FirstAt, g.LastAt = uint64(first), uint64(last), utc(g.FirstAt), utc(g.LastAt)
			return g, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	return out, nil
}

// ArchivedRoots returns the last root that an indexed segment of these logs holds,
// by partition. It costs one step in an index each, however long the archive is.
func (s *Store) ArchivedRoots(ctx context.Context, logs []stream.LogName, partitions int) (map[stream.LogName]map[int]uint64, error) {
	out := map[stream.LogName]map[int]uint64{}
	err := within(ctx, s.writer, "begin read only", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT l, p, coalesce((SELECT last_root FROM archive_segments
				WHERE log = l AND partition = p ORDER BY first_root DESC LIMIT 1), 0)
			FROM unnest($1::text[]) l, generate_series(0, $2::int - 1) p`, logs, partitions)
		if err != nil {
			return err
		}
		var log string
		var partition int
		var root int64
		_, err = pgx.ForEachRow(rows, []any{&log, &partition, &root}, func() error {
			name := stream.LogName(log)
			if out[name] == nil {
				out[name] = map[int]uint64{}
			}
			out[name][partition] = uint64(root)
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read archived roots: %w", err)
	}
	return out, nil
}
