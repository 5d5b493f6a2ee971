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

// Retention is how long a tenant's rows are kept: its own number of days, or that
// of its plan.
type Retention struct {
	Tenant schemas.ID
	Name   string
	Days   int
}

// Retentions are those of all tenants.
func (s *Store) Retentions(ctx context.Context) ([]Retention, error) {
	pool := s.keyPool()
	if pool == nil {
		return nil, fmt.Errorf("read retentions: %w", ErrNoRole)
	}
	rows, err := pool.Query(ctx, `SELECT t.id, t.name, coalesce(t.retention_days, p.retention_days) FROM tenants t JOIN plans p ON p.name = t.plan ORDER BY t.id`)
	if err != nil {
		return nil, fmt.Errorf("read retentions: %w", err)
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (Retention, error) {
		var out Retention
		var id pgtype.UUID
		err := r.Scan(&id, &out.Name, &out.Days)
		out.Tenant = id.Bytes
		return out, err
	})
}

// SetRetention gives a tenant a number of days of its own; 0 = as its plan says.
func (s *Store) SetRetention(ctx context.Context, tenant schemas.ID, days int) error {
	err := within(ctx, s.owner, "begin", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE tenants SET retention_days = nullif($2, 0) WHERE id = $1`, uuidOf(tenant), days)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrNotFound
		}
		return audited(ctx, tx, deed{tenant, "owner", "tenant.retention", "tenant", tenant.String()}, func() error { return nil })
	})
	if err != nil {
		return fmt.Errorf("set retention: %w", err)
	}
	return nil
}

// aged are the tables that retention sweeps, and the column that tells the age: of
// a chunk its newest sample, so that nothing goes before its time. A chunk spans a
// week at most, so nothing stays a week longer. Recent chunks are looked at when they
// are sealed, minutes later. No table is read as a whole: partitions, primary keys and
// block ranges (BRIN) say where old rows can be.
var aged = []struct{ table, column string }{
	{"datapoint_chunks", "last_ts"}, {"feature_chunks", "last_ts"}, {"score_chunks", "last_ts"},
	{"anomaly_rows", "ts"}, {"ingest_batches", "received_at"}, {"ingest_minutes", "minute"},
}

// sweepSteps bounds the steps of one sweep of one table and tenant: what is left
// waits for the next one, and nobody waits for the sweep.
const sweepSteps = 20

// Sweep deletes what is older than a tenant's retention, in bounded steps; with
// dryRun it only counts. done is false when the bound was reached.
func (s *Store) Sweep(ctx context.Context, r Retention, now time.Time, dryRun bool) (rows map[string]int64, done bool, err error) {
	before := now.AddDate(0, 0, -r.Days)
	rows, done = map[string]int64{}, true
	pool := s.keyPool()
	if pool == nil {
		return nil, false, fmt.Errorf("sweep: %w", ErrNoRole)
	}
	for _, t := range aged {
		where := "tenant_id = $1 AND " + t.column + " < $2"
		if t.column == "last_ts" {
			where += " AND first_ts < $2" // what the partitions are cut by
		}
		if dryRun {
			var n int64
			if err := pool.QueryRow(ctx, "SELECT count(*) FROM "+t.table+" WHERE "+where, uuidOf(r.Tenant), before).Scan(&n); err != nil {
				return rows, false, fmt.Errorf("count old rows of %s: %w", t.table, err)
			}
			if n > 0 {
				rows[t.table] = n
			}
			continue
		}
		full := true
		for range sweepSteps {
			tag, err := pool.Exec(ctx, fmt.Sprintf(`DELETE FROM %s WHERE %s AND (tableoid, ctid) IN (SELECT tableoid, ctid FROM %s WHERE %s LIMIT %d)`,
				t.table, where, t.table, where, eraseStep), uuidOf(r.Tenant), before)
			if err != nil {
				return rows, false, fmt.Errorf("delete old rows of %s: %w", t.table, err)
			}
			if n := tag.RowsAffected(); n > 0 {
				rows[t.table] += n
			}
			if full = tag.RowsAffected() == eraseStep; !full {
				break
			}
		}
		done = done && !full
	}
	return rows, done, nil
}

// OldSegments are the archived segments of a log whose last message was stored
// before an instant, the oldest first. The newest is never among them: the archiver
// goes on from it.
func (s *Store) OldSegments(ctx context.Context, log stream.LogName, partition int, before time.Time, limit int) ([]Segment, error) {
	pool := s.keyPool()
	if pool == nil {
		return nil, fmt.Errorf("list old segments: %w", ErrNoRole)
	}
	rows, err := pool.Query(ctx, `SELECT first_root, last_root, first_at, last_at, object_key, bytes, entries, sha256 FROM archive_segments
		WHERE log = $1 AND partition = $2 AND last_at < $3
			AND last_root < (SELECT max(last_root) FROM archive_segments WHERE log = $1 AND partition = $2) ORDER BY first_root LIMIT $4`, string(log), partition, before, limit)
	if err != nil {
		return nil, fmt.Errorf("list old segments: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Segment, error) {
		g := Segment{Log: log, Partition: partition}
		var first, last int64
		err := row.Scan(&first, &last, &g.FirstAt, &g.LastAt, &g.ObjectKey, &g.Bytes, &g.Entries, &g.SHA256)
		g.FirstRoot, g.LastRoot = uint64(first), uint64(last)
		return g, err
	})
}

// ForgetSegment takes a segment out of the index, after its object was deleted. A
// crash in between is mended by the next step: deleting a missing object is no error.
func (s *Store) ForgetSegment(ctx context.Context, g Segment) error {
	_, err := s.keyPool().Exec(ctx, `DELETE FROM archive_segments WHERE log = $1 AND partition = $2 AND first_root = $3 AND object_key = $4`,
		string(g.Log), g.Partition, int64(g.FirstRoot), g.ObjectKey)
	if err != nil {
		return fmt.Errorf("forget segment %s: %w", g.ObjectKey, err)
	}
	return nil
}
