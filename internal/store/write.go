package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/edgepulse/edgepulse/stream"
)

// copyHeader begins binary COPY data (PostgreSQL manual, COPY, "Binary Format").
var copyHeader = []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")

// copyRows appends rows in their order.
func (s *Store) copyRows(ctx context.Context, tx pgx.Tx, t *stream.TableRows, oids []uint32) error {
	data, err := encodeCopy(t, oids)
	if err != nil {
		return err
	}
	table, columns := pgx.Identifier{t.Spec.Name}.Sanitize(), identList(t.Spec.Columns)
	if s.copies {
		return copyInto(ctx, tx, table, columns, data)
	}
	// This role may not COPY into a table with row-level security: by way of one without.
	stage := pgx.Identifier{"copy_" + t.Spec.Name}.Sanitize()
	_, err = tx.Exec(ctx, "CREATE TEMP TABLE IF NOT EXISTS "+stage+" (LIKE "+table+" INCLUDING DEFAULTS) ON COMMIT DELETE ROWS")
	if err != nil {
		return fmt.Errorf("make temporary table: %w", err)
	}
	if err := copyInto(ctx, tx, "pg_temp."+stage, columns, data); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "INSERT INTO "+table+" ("+columns+") SELECT "+columns+" FROM pg_temp."+stage)
	if err != nil {
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
	return append(data, 0xff, 0xff), nil
}

// upsertRows writes rows in their order with one prepared statement, pipelined
// in one round trip: a key that repeats meets what the row before it left.
func upsertRows(ctx context.Context, tx pgx.Tx, t *stream.TableRows, oids []uint32) error {
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
	table := pgx.Identifier{spec.Name}.Sanitize()
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s AS t (%s) VALUES (", table, identList(spec.Columns))
	for i := range spec.Columns {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", i+1)
	}
	fmt.Fprintf(&b, ") ON CONFLICT (%s) DO ", identList(spec.Key))
	var set []string
	for _, c := range spec.Update {
		c = pgx.Identifier{c}.Sanitize()
		set = append(set, c+" = excluded."+c)
	}
	for _, c := range spec.Add {
		c = pgx.Identifier{c}.Sanitize()
		set = append(set, c+" = t."+c+" + excluded."+c)
	}
	if len(set) == 0 {
		b.WriteString("NOTHING")
	} else {
		b.WriteString("UPDATE SET " + strings.Join(set, ", "))
	}
	return b.String()
}
