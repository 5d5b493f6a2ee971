package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/edgepulse/edgepulse/stream"
)

var _ stream.RowSink = (*Store)(nil)

// Position implements stream.RowSink.
func (s *Store) Position(ctx context.Context, log stream.LogName, partition int) (uint64, error) {
	if s.writer == nil {
		return 0, fmt.Errorf("read position: %w", ErrNoRole)
	}
	var root int64
	err := s.writer.QueryRow(ctx, `SELECT root FROM projection_positions WHERE log = $1 AND partition = $2`,
		string(log), partition).Scan(&root)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read position of %s: %w", stream.StreamName(log, partition), err)
	}
	return uint64(root), nil
}

// DurablePosition is Position, and certainly on disk: what the janitor may
// truncate a log by. Projected commits themselves do not wait for the disk.
func (s *Store) DurablePosition(ctx context.Context, log stream.LogName, partition int) (uint64, error) {
	root, err := s.Position(ctx, log, partition)
	if err != nil || s.cfg.SyncProjections {
		return root, err
	}
	// A synchronous commit flushes the write-ahead log up to itself, with all that
	// was committed before it.
	const flush = "begin; set local synchronous_commit = on"
	err = within(ctx, s.writer, flush, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `SELECT pg_logical_emit_message(true, 'edgepulse', 'flush')`)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("flush position of %s: %w", stream.StreamName(log, partition), err)
	}
	return root, nil
}

// Apply implements stream.RowSink. Rows with a key are written as if one after the
// other in log order, so a key may repeat among them; rows without one and
// samples by COPY.
func (s *Store) Apply(ctx context.Context, log stream.LogName, partition int, from, to uint64, rows *stream.RowSet) error {
	if to <= from {
		return fmt.Errorf("apply rows of %s: position would move from %d to %d", stream.StreamName(log, partition), from, to)
	}
	begin := "begin; set local synchronous_commit = off"
	if s.cfg.SyncProjections {
		begin = "begin"
	}
	err := within(ctx, s.writer, begin, func(tx pgx.Tx) error {
		if err := movePosition(ctx, tx, log, partition, from, to); err != nil {
			return err
		}
		if rows == nil {
			return nil
		}
		for i := range rows.Tables {
			if err := s.writeTable(ctx, tx, &rows.Tables[i]); err != nil {
				return fmt.Errorf("write %s: %w", rows.Tables[i].Spec.Name, err)
			}
		}
		for _, kind := range rows.Kinds {
			if kind.Len() == 0 {
				continue
			}
			if err := s.copySamples(ctx, tx, partition, kind); err != nil {
				return fmt.Errorf("write samples of %s: %w", kind.Spec.Name, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("apply rows of %s: %w", stream.StreamName(log, partition), err)
	}
	if rows != nil {
		s.sealers.wrote(rows.Kinds)
	}
	return nil
}

// movePosition comes first: its row lock makes a second projector wait here,
// before it has written anything, and then find the position moved.
func movePosition(ctx context.Context, tx pgx.Tx, log stream.LogName, partition int, from, to uint64) error {
	q := `UPDATE projection_positions SET root = $3, updated_at = now() WHERE log = $1 AND partition = $2 AND root = $4`
	if from == 0 {
		q = `INSERT INTO projection_positions AS p (log, partition, root) VALUES ($1, $2, $3)
		     ON CONFLICT (log, partition) DO UPDATE SET root = $3, updated_at = now() WHERE p.root = $4`
	}
	tag, err := tx.Exec(ctx, q, string(log), partition, int64(to), int64(from))
	if err != nil {
		return fmt.Errorf("move position: %w", err)
	}
	if tag.RowsAffected() != 1 {
		return stream.ErrPositionMoved
	}
	return nil
}

func (s *Store) writeTable(ctx context.Context, tx pgx.Tx, t *stream.TableRows) error {
	if len(t.Rows) == 0 {
		return nil
	}
	oids, err := columnTypes(ctx, tx, t.Spec)
	if err != nil {
		return err
	}
	if len(t.Spec.Key) > 0 {
		return s.upsertRows(ctx, tx, t, oids)
	}
	return s.copyRows(ctx, tx, t, oids)
}

// columnTypes asks for the types once per connection: the driver keeps the
// description of a statement it has prepared.
func columnTypes(ctx context.Context, tx pgx.Tx, spec *stream.TableSpec) ([]uint32, error) {
	q := "SELECT " + identList(spec.Columns) + " FROM " + pgx.Identifier{spec.Name}.Sanitize()
	d, err := tx.Conn().Prepare(ctx, q, q)
	if err != nil {
		return nil, fmt.Errorf("describe columns: %w", err)
	}
	oids := make([]uint32, len(d.Fields))
	for i, f := range d.Fields {
		oids[i] = f.DataTypeOID
	}
	return oids, nil
}

func identList(names []string) string {
	var b []byte
	for i, n := range names {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, pgx.Identifier{n}.Sanitize()...)
	}
	return string(b)
}
