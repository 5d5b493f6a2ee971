package stream

import (
	"context"
	"errors"
	"slices"

	"github.com/edgepulse/edgepulse/schemas"
)

// Projection turns the entries of a stage's log into rows. It keeps no state:
// what it makes of an entry depends on that entry alone.
type Projection interface {
	Project(at Position, e *schemas.Entry, rows *RowSet) error
}

// PointsProjection is a Projection that takes samples in the form that costs least.
type PointsProjection interface {
	Projection
	ProjectPoints(at Position, p *schemas.PointsBuffer, rows *RowSet) error
}

// Position places an entry: every row carries it, so any row leads back to its bytes.
type Position struct {
	Partition int
	Root      uint64
}

// TableSpec says how rows of a table are written. Without Key rows are
// appended by COPY; with Key a row replaces or completes the one with the same key.
type TableSpec struct {
	Name    string
	Columns []string
	Key     []string // conflict target
	Update  []string // columns that a conflict overwrites; empty = keep the first row
	Add     []string // numeric columns that a conflict adds to
}

// RowSet gathers rows by table, in the order tables were first used, and samples by series.
type RowSet struct {
	Tables []TableRows
	Kinds  []*SeriesRows
}

// TableRows are rows of one table, in log order.
type TableRows struct {
	Spec *TableSpec
	Rows [][]any
}

// Add appends a row; values are in the order of spec.Columns.
func (r *RowSet) Add(spec *TableSpec, values ...any) {
	for i := range r.Tables {
		if r.Tables[i].Spec == spec {
			r.Tables[i].Rows = append(r.Tables[i].Rows, values)
			return
		}
	}
	r.Tables = append(r.Tables, TableRows{Spec: spec, Rows: [][]any{values}})
}

// foldBack is how many rows AddUp looks back: those of one transaction have few
// keys between them, and a key that is not found is added up by the database.
const foldBack = 16

// AddUp is Add for a table with columns to add up: a row whose key was added
// shortly before is folded into that one, so that a transaction changes each row once.
func (r *RowSet) AddUp(spec *TableSpec, values ...any) {
	for i := range r.Tables {
		if r.Tables[i].Spec != spec {
			continue
		}
		rows := r.Tables[i].Rows
		for j := len(rows) - 1; j >= max(0, len(rows)-foldBack); j-- {
			if spec.sameKey(rows[j], values) {
				spec.addTo(rows[j], values)
				return
			}
		}
	}
	r.Add(spec, values...)
}

func (t *TableSpec) sameKey(a, b []any) bool {
	for i, c := range t.Columns {
		if slices.Contains(t.Key, c) && a[i] != b[i] {
			return false
		}
	}
	return true
}

// addTo does in memory what a conflict does in the database. Columns to add up hold int64.
func (t *TableSpec) addTo(row, values []any) {
	for i, c := range t.Columns {
		switch {
		case slices.Contains(t.Add, c):
			row[i] = row[i].(int64) + values[i].(int64)
		case slices.Contains(t.Update, c):
			row[i] = values[i]
		}
	}
}

// Len is the number of rows and samples.
func (r *RowSet) Len() int {
	n := 0
	for _, k := range r.Kinds {
		n += k.Len()
	}
	for i := range r.Tables {
		n += len(r.Tables[i].Rows)
	}
	return n
}

// Reset forgets all rows and keeps the memory.
func (r *RowSet) Reset() {
	for i := range r.Tables {
		r.Tables[i].Rows = r.Tables[i].Rows[:0]
	}
	for _, k := range r.Kinds {
		k.reset()
	}
}

// ErrPositionMoved says that another projector has advanced the position.
var ErrPositionMoved = errors.New("position moved by another projector")

// RowSink is the database side of a projector.
type RowSink interface {
	// Position returns the last root applied of a log's partition, 0 before the first.
	Position(ctx context.Context, log LogName, partition int) (uint64, error)
	// Apply writes rows and moves the position from -> to in one transaction.
	// It answers ErrPositionMoved, having written nothing, when the position is not from.
	Apply(ctx context.Context, log LogName, partition int, from, to uint64, rows *RowSet) error
	// Compact puts what Apply wrote of a log into its lasting form, where that is due.
	// It changes no position and no reader's view; it may end at any point and begin again.
	Compact(ctx context.Context, log LogName) error
}
