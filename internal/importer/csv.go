// Package importer reads series from CSV files and sends them through the API.
//
// What comes in: a CSV file with a timestamp and a value column. What goes out:
// rows in file order, and batches for /v1/ingest. State: none. Failure: an error
// that names file, line, column and what was expected.
package importer

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Row is one line of a file.
type Row struct {
	Line  int    // 1-based, in the file
	Raw   string // the timestamp as written
	TS    int64  // unix microseconds
	Value float64
}

// Options say how to read a file. Empty columns are found by their names.
type Options struct {
	TimestampColumn string
	ValueColumn     string
	Location        *time.Location // of timestamps without an offset; nil = UTC
	Comma           rune           // 0 = found in the first line
}

var (
	timestampNames = []string{"timestamp", "ts", "time", "datetime", "date", "_time", "date_time"}
	valueNames     = []string{"value", "val", "_value", "v", "y", "reading", "measurement"}
)

// Read yields the rows of a CSV file until each answers an error.
func Read(r io.Reader, o Options, each func(Row) error) error {
	br := newPeeker(r)
	cr := csv.NewReader(br)
	cr.Comma, cr.ReuseRecord, cr.FieldsPerRecord, cr.TrimLeadingSpace = o.Comma, true, -1, true
	if cr.Comma == 0 {
		cr.Comma = br.comma()
	}
	if o.Location == nil {
		o.Location = time.UTC
	}
	first, err := cr.Read()
	if errors.Is(err, io.EOF) {
		return errors.New("the file is empty, expected a header and rows")
	}
	if err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	header := slices.Clone(first)
	if len(header) > 0 {
		header[0] = strings.TrimPrefix(header[0], "\ufeff")
	}
	tsAt, valueAt, err := columns(header, o)
	if err != nil {
		return err
	}
	p := timeParser{loc: o.Location}
	for {
		rec, err := cr.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read row: %w", err)
		}
		line, _ := cr.FieldPos(0)
		if max(tsAt, valueAt) >= len(rec) {
			return fmt.Errorf("line %d has %d columns, expected at least %d", line, len(rec), max(tsAt, valueAt)+1)
		}
		ts, err := p.parse(rec[tsAt])
		if err != nil {
			return fmt.Errorf("line %d, column %q: %w", line, header[tsAt], err)
		}
		text := strings.TrimSpace(rec[valueAt])
		if text == "" || strings.EqualFold(text, "nan") || strings.EqualFold(text, "null") {
			continue // a gap
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsInf(v, 0) {
			return fmt.Errorf("line %d, column %q: expected a number, got %q", line, header[valueAt], text)
		}
		if err := each(Row{Line: line, Raw: strings.Clone(rec[tsAt]), TS: ts, Value: v}); err != nil {
			return err
		}
	}
}

func columns(header []string, o Options) (ts, value int, err error) {
	find := func(want string, usual []string) int {
		for i, h := range header {
			h = strings.ToLower(strings.TrimSpace(h))
			if want != "" && h == strings.ToLower(want) {
				return i
			}
			if want == "" && slices.Contains(usual, h) {
				return i
			}
		}
		return -1
	}
	ts, value = find(o.TimestampColumn, timestampNames), find(o.ValueColumn, valueNames)
	if ts < 0 {
		return 0, 0, fmt.Errorf("no timestamp column among %q: name it with --timestamp-column", header)
	}
	if value < 0 && o.ValueColumn == "" && len(header) == 2 {
		value = 1 - ts
	}
	if value < 0 {
		return 0, 0, fmt.Errorf("no value column among %q: name it with --value-column", header)
	}
	return ts, value, nil
}

var layouts = []string{
	"2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", time.RFC3339Nano, "2006-01-02 15:04",
	"2006-01-02T15:04", "2006-01-02", "2006/01/02 15:04:05", "2006/01/02 15:04", "01/02/2006 15:04:05", "01/02/2006 15:04",
	"2006-01-02 15:04:05 MST", "20060102T150405Z", "20060102150405",
}

// timeParser remembers which layout the file uses.
type timeParser struct {
	loc  *time.Location
	last int
}

func (p *timeParser) parse(s string) (int64, error) {
	s = strings.TrimSpace(s)
	if n, err := strconv.ParseFloat(s, 64); err == nil && len(s) != 14 && !strings.Contains(s, "-") {
		return fromEpoch(n), nil
	}
	for i := range layouts {
		at := (p.last + i) % len(layouts)
		if t, err := time.ParseInLocation(layouts[at], s, p.loc); err == nil {
			p.last = at
			return t.UnixMicro(), nil
		}
	}
	return 0, fmt.Errorf("%q is no timestamp; expected RFC 3339, \"2006-01-02 15:04:05\", or seconds, milliseconds or microseconds since 1970", s)
}

// fromEpoch tells seconds, milliseconds and microseconds apart by their size.
func fromEpoch(n float64) int64 {
	switch {
	case math.Abs(n) < 1e11:
		return int64(math.Round(n * 1e6))
	case math.Abs(n) < 1e14:
		return int64(math.Round(n * 1e3))
	}
	return int64(n)
}
