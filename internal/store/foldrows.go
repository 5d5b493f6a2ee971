package store

import (
	"fmt"
	"slices"

	"github.com/edgepulse/edgepulse/stream"
)

// foldRows makes one row of those with one key, as writing them one after the
// other would leave it: the first row, with the last values of the columns that
// a conflict overwrites and the sums of those it adds to. The rows given stay as they are.
func foldRows(t *stream.TableRows, oids []uint32) (*stream.TableRows, error) {
	if len(t.Rows) < 2 {
		return t, nil
	}
	spec := t.Spec
	keys, update, add := columnsAt(spec, spec.Key), columnsAt(spec, spec.Update), columnsAt(spec, spec.Add)
	out := &stream.TableRows{Spec: spec, Rows: make([][]any, 0, len(t.Rows))}
	seen := make(map[string]int, len(t.Rows))
	var key []byte
	for i, row := range t.Rows {
		if len(row) != len(oids) {
			return nil, fmt.Errorf("row %d: %d values for %d columns", i, len(row), len(oids))
		}
		key = key[:0]
		for _, c := range keys {
			var err error
			if key, err = appendField(key, oids[c], row[c]); err != nil {
				return nil, fmt.Errorf("row %d: column %s: %w", i, spec.Columns[c], err)
			}
		}
		at, ok := seen[string(key)]
		if !ok {
			seen[string(key)] = len(out.Rows)
			out.Rows = append(out.Rows, row)
			continue
		}
		if len(update)+len(add) == 0 {
			continue
		}
		into := slices.Clone(out.Rows[at])
		for _, c := range update {
			into[c] = row[c]
		}
		for _, c := range add {
			a, err := intOf(into[c])
			if err != nil {
				return nil, fmt.Errorf("row %d: column %s: %w", i, spec.Columns[c], err)
			}
			b, err := intOf(row[c])
			if err != nil {
				return nil, fmt.Errorf("row %d: column %s: %w", i, spec.Columns[c], err)
			}
			into[c] = a + b
		}
		out.Rows[at] = into
	}
	return out, nil
}

func columnsAt(spec *stream.TableSpec, names []string) []int {
	at := make([]int, len(names))
	for i, n := range names {
		at[i] = slices.Index(spec.Columns, n)
	}
	return at
}
