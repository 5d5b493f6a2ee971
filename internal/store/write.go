package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/edgepulse/edgepulse/stream"
)

// copyHeader begins binary COPY data (PostgreSQL manual, COPY, "Binary Format").
var copyHeader = []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")

// copyTrailer ends it.
func copyTrailer(data []byte) []byte { return append(data, 0xff, 0xff) }

// copyRows appends rows in their order.
func (s *Store) copyRows(ctx context.Context, tx pgx.Tx, t *stream.TableRows, oids []uint32) error {
	data, err := encodeCopy(t, oids)
	if err != nil {
		return err
	}
	return s.copyData(ctx, tx, t.Spec.Name, t.Spec.Columns, data)
}

// copyData appends encoded rows to a table.
func (s *Store) copyData(ctx context.Context, tx pgx.Tx, name string, columns []string, data []byte) error {
	table, list := pgx.Identifier{name}.Sanitize(), identList(columns)
	if s.copies {
		return copyInto(ctx, tx, table, list, data)
	}
	// This role may not COPY into a table with row-level security: by way of one without.
	return stage(ctx, tx, name, list, data, "INSERT INTO "+table+" ("+list+") SELECT "+list)
}

// stage copies rows into a temporary table like the named one, then runs
// insert FROM it, and tail.
func stage(ctx context.Context, tx pgx.Tx, name, columns string, data []byte, insert string, tail ...string) error {
	table, stage := pgx.Identifier{name}.Sanitize(), pgx.Identifier{"copy_" + name}.Sanitize()
	_, err := tx.Exec(ctx, "CREATE TEMP TABLE IF NOT EXISTS "+stage+" (LIKE "+table+" INCLUDING DEFAULTS) ON COMMIT DELETE ROWS")
	if err != nil {
		return fmt.Errorf("make temporary table: %w", err)
	}
	if err := copyInto(ctx, tx, "pg_temp."+stage, columns, data); err != nil {
		return err
	}
	if _, err = tx.Exec(ctx, insert+" FROM pg_temp."+stage+" "+strings.Join(tail, " ")); err != nil {
		return fmt.Errorf("move rows from temporary table: %w", err)
	}
	// A second set of rows for this table in one transaction must not meet these again.
	if _, err := tx.Exec(ctx, "TRUNCATE pg_temp."+stage); err != nil {
		return fmt.Errorf("empty temporary table: %w", err)
	}
	return nil
}

func copyInto(ctx context.Context, tx pgx.Tx, table, columns string, data []byte) error {
	q := "COPY " + table + " (" + columns + ") FROM STDIN (FORMAT binary)"
	if _, err := tx.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(data), q); err != nil {
		return fmt.Errorf("copy rows: %w", err)
	}
	return nil
}

// copyBuffers hold COPY data on its way: megabytes each time.
var copyBuffers = sync.Pool{New: func() any { return new([]byte) }}

// withCopyData lets fill append rows to a buffer that is used again, and copies them.
func (s *Store) withCopyData(ctx context.Context, tx pgx.Tx, name string, columns []string, fill func([]byte) []byte) error {
	buffer := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buffer)
	return s.fillAndCopy(ctx, tx, name, columns, buffer, fill)
}

func (s *Store) fillAndCopy(ctx context.Context, tx pgx.Tx, name string, columns []string, buffer *[]byte, fill func([]byte) []byte) error {
	*buffer = copyTrailer(fill(append((*buffer)[:0], copyHeader...)))
	return s.copyData(ctx, tx, name, columns, *buffer)
}

// copySamples appends the samples of one kind: one chunk per series, week and chunkMax.
func (s *Store) copySamples(ctx context.Context, tx pgx.Tx, partition int, rows *stream.SeriesRows) error {
	// In the order of the index: neighbours go to the same page of it.
	slices.SortFunc(rows.List, func(a, b *stream.Samples) int { return bytes.Compare(a.Key.Metric[:], b.Key.Metric[:]) })
	return s.withCopyData(ctx, tx, rows.Spec.Name+"_recent", chunkColumns, func(data []byte) []byte {
		for _, samples := range rows.List {
			order(samples)
			cut(samples, func(lo, hi int) { data = appendChunk(data, rows.Spec, samples, lo, hi, partition, false) })
		}
		return data
	})
}

func encodeCopy(t *stream.TableRows, oids []uint32) ([]byte, error) {
	data := make([]byte, 0, len(copyHeader)+len(t.Rows)*len(oids)*12+2)
	data = append(data, copyHeader...)
	var err error
	for i, row := range t.Rows {
		if len(row) != len(oids) {
			return nil, fmt.Errorf("row %d has %d values for %d columns", i, len(row), len(oids))
		}
		data = binary.BigEndian.AppendUint16(data, uint16(len(oids)))
		for c, v := range row {
			if data, err = appendField(data, oids[c], v); err != nil {
				return nil, fmt.Errorf("row %d, column %s: %w", i, t.Spec.Columns[c], err)
			}
		}
	}
	return copyTrailer(data), nil
}

// stageFrom is how many rows with a key are worth the way by a temporary table:
// a fifth of the cost of a statement each, after a fixed price.
const stageFrom = 64

// upsertRows writes rows with a key as if one after the other.
func (s *Store) upsertRows(ctx context.Context, tx pgx.Tx, t *stream.TableRows, oids []uint32) error {
	folded, err := foldRows(t, oids)
	if err != nil {
		return err
	}
	if len(folded.Rows) < stageFrom {
		return pipelineRows(ctx, tx, folded, oids)
	}
	data, err := encodeCopy(folded, oids)
	if err != nil {
		return err
	}
	columns := identList(t.Spec.Columns)
	insert := "INSERT INTO " + pgx.Identifier{t.Spec.Name}.Sanitize() + " AS t (" + columns + ") SELECT " + columns
	return stage(ctx, tx, t.Spec.Name, columns, data, insert, onConflict(t.Spec))
}

// pipelineRows writes rows with one prepared statement in one round trip.
func pipelineRows(ctx context.Context, tx pgx.Tx, t *stream.TableRows, oids []uint32) error {
	q := upsertSQL(t.Spec)
	conn := tx.Conn()
	// The driver keeps the statement for the life of the connection.
	statement, err := conn.Prepare(ctx, q, q)
	if err != nil {
		return fmt.Errorf("prepare upsert: %w", err)
	}
	formats := make([]int16, len(oids))
	for i := range formats {
		formats[i] = 1
	}
	// A batch is written completely before any answer is read: bounded, so that
	// neither side waits for the other with full buffers.
	for chunk := range slices.Chunk(t.Rows, 512) {
		batch := &pgconn.Batch{}
		for i, row := range chunk {
			values, err := encodeParams(t.Spec, oids, row)
			if err != nil {
				return fmt.Errorf("row %d: %w", i, err)
			}
			batch.ExecPrepared(statement.Name, values, formats, nil)
		}
		if _, err := conn.PgConn().ExecBatch(ctx, batch).ReadAll(); err != nil {
			return fmt.Errorf("upsert rows: %w", err)
		}
	}
	return nil
}

func encodeParams(spec *stream.TableSpec, oids []uint32, row []any) ([][]byte, error) {
	if len(row) != len(oids) {
		return nil, fmt.Errorf("%d values for %d columns", len(row), len(oids))
	}
	values := make([][]byte, len(row))
	for c, v := range row {
		b, null, err := appendValue([]byte{}, oids[c], v)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", spec.Columns[c], err)
		}
		if !null {
			values[c] = b
		}
	}
	return values, nil
}

func upsertSQL(spec *stream.TableSpec) string {
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s AS t (%s) VALUES (", pgx.Identifier{spec.Name}.Sanitize(), identList(spec.Columns))
	for i := range spec.Columns {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", i+1)
	}
	return b.String() + ") " + onConflict(spec)
}

func onConflict(spec *stream.TableSpec) string {
	var set []string
	for _, c := range spec.Update {
		c = pgx.Identifier{c}.Sanitize()
		set = append(set, c+" = excluded."+c)
	}
	for _, c := range spec.Add {
		c = pgx.Identifier{c}.Sanitize()
		set = append(set, c+" = t."+c+" + excluded."+c)
	}
	q := "ON CONFLICT (" + identList(spec.Key) + ") DO "
	if len(set) == 0 {
		return q + "NOTHING"
	}
	return q + "UPDATE SET " + strings.Join(set, ", ")
}
