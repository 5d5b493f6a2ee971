package store

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// Bounds of a page.
const (
	defaultLimit = 100
	maxLimit     = 1000
	maxSeries    = 10000 // points and scores of one metric
)

// read runs fn in a read-only transaction that sees the rows of one tenant.
func (s *Store) read(ctx context.Context, tenant schemas.ID, fn func(pgx.Tx) error) error {
	return within(ctx, s.app, "begin read only; set local app.tenant = '"+tenant.String()+"'", fn)
}

// readEnds is read for queries that want one end of many series. Until the tables
// have been analysed the planner takes a series for short and would rather sort
// it than walk its index: tens of milliseconds instead of tens of microseconds each.
func (s *Store) readEnds(ctx context.Context, tenant schemas.ID, fn func(pgx.Tx) error) error {
	return within(ctx, s.app, "begin read only; set local app.tenant = '"+tenant.String()+"'; set local enable_sort = off", fn)
}

// write runs fn in a transaction that sees and writes the rows of one tenant.
func (s *Store) write(ctx context.Context, tenant schemas.ID, fn func(pgx.Tx) error) error {
	return within(ctx, s.app, "begin; set local app.tenant = '"+tenant.String()+"'", fn)
}

func uuidOf(id schemas.ID) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: true} }

// uuidText is empty for NULL.
func uuidText(u pgtype.UUID) string {
	if !u.Valid {
		return ""
	}
	return schemas.ID(u.Bytes).String()
}

// parseID answers ErrNotFound: a text that is no identifier names nothing.
func parseID(s string) (schemas.ID, error) {
	id, err := schemas.ParseID(s)
	if err != nil {
		return schemas.Nil, ErrNotFound
	}
	return id, nil
}

// cursor is the sort key of the last row of a page.
type cursor struct {
	List string `json:"l"`           // which list: a cursor of another is refused
	TS   int64  `json:"t,omitempty"` // unix µs
	ID   string `json:"i,omitempty"`
	Root int64  `json:"r,omitempty"`
	Tick bool   `json:"k,omitempty"`
	Dead string `json:"d,omitempty"` // partition, index and stage of a dead letter; version of a model
}

func (c cursor) String() string {
	b, _ := json.Marshal(c) // of strings and numbers: can't fail
	return base64.RawURLEncoding.EncodeToString(b)
}

func (c cursor) time() time.Time { return time.UnixMicro(c.TS).UTC() }

// page is a validated api.PageRequest.
type page struct {
	limit int
	after *cursor
	id    schemas.ID // of after, where the list sorts by one
}

func readPage(list string, p api.PageRequest, most int) (page, error) {
	out := page{limit: p.Limit}
	if out.limit <= 0 {
		out.limit = defaultLimit
	}
	out.limit = min(out.limit, most)
	if p.Cursor == "" {
		return out, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil {
		return page{}, ErrBadCursor
	}
	var c cursor
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil || c.List != list || c.TS < firstInstant {
		return page{}, ErrBadCursor
	}
	if c.ID != "" {
		if out.id, err = schemas.ParseID(c.ID); err != nil {
			return page{}, ErrBadCursor
		}
	}
	out.after = &c
	return out, nil
}

// query builds a statement with numbered arguments.
type query struct {
	sql  strings.Builder
	args []any
}

// add appends SQL in which each ? stands for the next argument.
func (q *query) add(sql string, args ...any) {
	for _, a := range args {
		q.args = append(q.args, a)
		sql = strings.Replace(sql, "?", fmt.Sprintf("$%d", len(q.args)), 1)
	}
	q.sql.WriteString(sql)
}

func (q *query) addRange(column string, r api.Range) {
	if !r.From.IsZero() {
		q.add(" AND "+column+" >= ?", r.From)
	}
	if !r.To.IsZero() {
		q.add(" AND "+column+" < ?", r.To)
	}
}

// collect reads one row more than the page holds: it says whether there are more.
func collect[T any](ctx context.Context, tx pgx.Tx, q *query, p page, scan func(pgx.Row, *cursor) (T, error)) (api.Page[T], error) {
	q.add(" LIMIT ?", p.limit+1)
	rows, err := tx.Query(ctx, q.sql.String(), q.args...)
	if err != nil {
		return api.Page[T]{}, err
	}
	defer rows.Close()
	out := api.Page[T]{Data: []T{}}
	var last cursor
	for rows.Next() {
		if len(out.Data) == p.limit {
			out.HasMore, out.NextCursor = true, last.String()
			break
		}
		v, err := scan(rows, &last)
		if err != nil {
			return api.Page[T]{}, err
		}
		out.Data = append(out.Data, v)
	}
	rows.Close()
	return out, rows.Err()
}

// finite is nil for NULL and for what JSON can't write.
func finite(f *float64) *float64 {
	if f == nil || math.IsNaN(*f) || math.IsInf(*f, 0) {
		return nil
	}
	return f
}

func number(f *float64) float64 {
	if f = finite(f); f == nil {
		return 0
	}
	return *f
}

// notNone hides the zero value of an enumeration.
func notNone(s string) string {
	if s == "none" || s == "unspecified" {
		return ""
	}
	return s
}

func utc(t time.Time) time.Time { return t.UTC() }

func utcPtr(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// withFirst and withMore scan columns before and behind those that a scan function knows.
type (
	withFirst struct {
		pgx.Row
		first []any
	}
	withMore struct {
		pgx.Row
		more []any
	}
)

func (w withFirst) Scan(dest ...any) error { return w.Row.Scan(append(w.first, dest...)...) }
func (w withMore) Scan(dest ...any) error  { return w.Row.Scan(append(dest, w.more...)...) }
