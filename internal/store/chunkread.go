package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

var errArray = errors.New("malformed array")

// chunkRow is one chunk in the driver's binary form: the values of chunkColumns.
type chunkRow [][]byte

// rawChunks calls fn with each row of a query that begins with chunkColumns. The
// bytes are valid during the call only.
func rawChunks(rows pgx.Rows, err error, fn func(chunkRow) error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for first := true; rows.Next(); first = false {
		if first {
			for _, f := range rows.FieldDescriptions()[:len(chunkColumns)] {
				if f.Format != 1 {
					return fmt.Errorf("column %s did not come in binary form", f.Name)
				}
			}
		}
		if err := fn(chunkRow(rows.RawValues())); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (c chunkRow) key() stream.SeriesKey {
	return stream.SeriesKey{Tenant: schemas.ID(c[0]), Device: schemas.ID(c[1]), Metric: schemas.ID(c[2])}
}

func (c chunkRow) first() int64   { return int64(binary.BigEndian.Uint64(c[3])) + pgEpoch }
func (c chunkRow) last() int64    { return int64(binary.BigEndian.Uint64(c[4])) + pgEpoch }
func (c chunkRow) n() int         { return int(int32(binary.BigEndian.Uint32(c[6]))) }
func (c chunkRow) partition() int { return int(int16(binary.BigEndian.Uint16(c[8]))) }

// appendTo appends the chunk's samples.
func (c chunkRow) appendTo(s *stream.Samples) error {
	n, first := c.n(), c.first()
	unit := int64(int32(binary.BigEndian.Uint32(c[7])))
	base := binary.BigEndian.Uint64(c[5])
	offsets, width, err := c.elements(9, n)
	if offsets == nil && err == nil {
		offsets, width, err = c.elements(10, n)
	}
	if err != nil {
		return err
	}
	roots, _, err := c.elements(11, n)
	if err != nil {
		return err
	}
	flags, _, err := c.elements(12, n)
	if err != nil {
		return err
	}
	for i := range n {
		ts, root, f := first, base, uint32(0)
		switch {
		case offsets == nil:
		case width == 4:
			ts += int64(int32(binary.BigEndian.Uint32(offsets[8*i+4:]))) * unit
		default:
			ts += int64(binary.BigEndian.Uint64(offsets[12*i+4:])) * unit
		}
		if roots != nil {
			root += uint64(binary.BigEndian.Uint32(roots[8*i+4:]))
		}
		if flags != nil {
			f = binary.BigEndian.Uint32(flags[8*i+4:])
		}
		s.Add(ts, root, f)
	}
	if err := c.appendWords(s, n); err != nil {
		return err
	}
	if err := appendColumns(c, 13, n, s.Longs, func(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) }); err != nil {
		return err
	}
	return appendColumns(c, 14, n, s.Reals, func(b []byte) float64 { return math.Float64frombits(binary.BigEndian.Uint64(b)) })
}

func appendColumns[T any](c chunkRow, field, n int, columns [][]T, decode func([]byte) T) error {
	if len(columns) == 0 {
		return nil
	}
	data, _, err := c.elements(field, n*len(columns))
	if err != nil || data == nil {
		return errors.Join(err, errArray)
	}
	for k := range columns {
		for i := range n {
			columns[k] = append(columns[k], decode(data[12*(k*n+i)+4:]))
		}
	}
	return nil
}

// appendWords turns the numbers in the last n flags into words.
func (c chunkRow) appendWords(s *stream.Samples, n int) error {
	at := s.Len() - n
	if c[15] == nil && len(s.Words) == 0 {
		return nil
	}
	for len(s.Words) < at { // chunks before this one had none
		s.Words = append(s.Words, "")
	}
	var words []string
	if c[15] != nil {
		data, count, err := arrayData(c[15])
		if err != nil {
			return err
		}
		for range count {
			size := int(binary.BigEndian.Uint32(data))
			words = append(words, string(data[4:4+size]))
			data = data[4+size:]
		}
	}
	for i := at; i < s.Len(); i++ {
		w := ""
		if k := int(s.Flags[i] >> stream.SampleWordShift); k > 0 && k <= len(words) {
			w = words[k-1]
		}
		s.Words = append(s.Words, w)
		s.Flags[i] &= 1<<stream.SampleWordShift - 1
	}
	return nil
}

// elements is the body of an array of n elements of one width, each with its
// length before it; nil for NULL.
func (c chunkRow) elements(field, n int) (data []byte, width int, err error) {
	if c[field] == nil {
		return nil, 0, nil
	}
	data, count, err := arrayData(c[field])
	if err != nil {
		return nil, 0, err
	}
	if n == 0 || count != n || len(data)%n != 0 || (len(data)/n != 8 && len(data)/n != 12) {
		return nil, 0, fmt.Errorf("%w: %s has %d elements in %d bytes, expected %d", errArray, chunkColumns[field], count, len(data), n)
	}
	return data, len(data)/n - 4, nil
}

// arrayData takes an array of one dimension without NULLs apart.
func arrayData(b []byte) (data []byte, n int, err error) {
	if len(b) < 20 || binary.BigEndian.Uint32(b) != 1 || binary.BigEndian.Uint32(b[4:]) != 0 {
		return nil, 0, errArray
	}
	return b[20:], int(int32(binary.BigEndian.Uint32(b[12:]))), nil
}
