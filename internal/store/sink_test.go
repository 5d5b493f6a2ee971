package store_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

func TestApplyMovesThePositionWithTheRows(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	ctx := t.Context()
	var rows stream.RowSet
	w.point(&rows, 1, 20, 7)
	if err := db.Apply(ctx, stream.Points, 3, 0, 7, &rows); err != nil {
		t.Fatal(err)
	}
	for _, from := range []uint64{0, 6, 8} {
		if err := db.Apply(ctx, stream.Points, 3, from, 9, &rows); !errors.Is(err, stream.ErrPositionMoved) {
			t.Fatalf("from %d: %v", from, err)
		}
	}
	if err := db.Apply(ctx, stream.Points, 4, 5, 9, &rows); !errors.Is(err, stream.ErrPositionMoved) {
		t.Fatalf("no row yet, from 5: %v", err)
	}
	if err := db.Apply(ctx, stream.Points, 3, 7, 9, nil); err != nil {
		t.Fatalf("position only: %v", err)
	}
	if pos, err := db.DurablePosition(ctx, stream.Points, 3); err != nil || pos != 9 {
		t.Fatalf("position %d, %v", pos, err)
	}
	if n := count(t, db, "datapoints"); n != 1 {
		t.Fatalf("%d rows after refused commits, want 1", n)
	}
}

func TestApplyIsAllOrNothing(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	var rows stream.RowSet
	w.point(&rows, 1, 20, 1)
	rows.Add(usageSpec, w.tenant, us(0), 1, "not a number", 1)
	if err := db.Apply(t.Context(), stream.Points, 0, 0, 1, &rows); err == nil || !strings.Contains(err.Error(), "column points") {
		t.Fatalf("got %v", err)
	}
	if n := count(t, db, "datapoints"); n != 0 {
		t.Fatalf("%d rows of a failed commit", n)
	}
	if pos, _ := db.Position(t.Context(), stream.Points, 0); pos != 0 {
		t.Fatalf("position %d after a failed commit", pos)
	}
}

// Two projectors race over one partition: every root is applied once.
func TestApplyHasOneWinner(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	const roots = 40
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for pos := uint64(0); pos < roots; {
				var rows stream.RowSet
				w.point(&rows, int(pos), 1, pos+1)
				err := db.Apply(context.Background(), stream.Points, 0, pos, pos+1, &rows)
				if err != nil && !errors.Is(err, stream.ErrPositionMoved) {
					t.Error(err)
					return
				}
				if pos, err = db.Position(context.Background(), stream.Points, 0); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := count(t, db, "datapoints"); n != roots {
		t.Fatalf("%d rows, want %d", n, roots)
	}
}

func TestUpsertMeaning(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.apply(stream.Points, func(rows *stream.RowSet) {
		for i, unit := range []string{"K", "°C"} { // one batch repeats the key
			rows.Add(metricSpec, w.metric, w.tenant, w.device, "first name wins", unit, nil, us(i), uint64(1), 0)
			rows.Add(usageSpec, w.tenant, us(i), 1, 10, int64(100))
		}
	})
	w.apply(stream.Points, func(rows *stream.RowSet) {
		rows.Add(metricSpec, w.metric, w.tenant, w.device, "second", "°F", nil, us(9), uint64(2), 0)
		rows.Add(usageSpec, w.tenant, us(9), 1, 10, int64(100))
		rows.Add(usageSpec, w.tenant, us(86400), 5, 5, int64(5))
	})
	m, err := db.Metric(t.Context(), w.tenant, w.metric.String(), time.Now())
	if err != nil || m.Name != "first name wins" || m.Unit != "°F" || !m.FirstSeen.Equal(at(0)) {
		t.Fatalf("got %+v, %v", m, err)
	}
	var points, bytes int64
	c := db.Conn(t, db.OwnerDSN)
	if err := c.QueryRow(t.Context(), `SELECT points, bytes FROM usage WHERE day = '2026-11-01'`).Scan(&points, &bytes); err != nil || points != 30 || bytes != 300 {
		t.Fatalf("added to %d points, %d bytes, %v", points, bytes, err)
	}
}

// Values nobody foresaw must not stop a partition.
func TestRowsWithAwkwardValues(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.declare()
	w.apply(stream.Points, func(rows *stream.RowSet) {
		for i, v := range []float64{math.Inf(1), math.NaN(), math.Copysign(0, -1), math.SmallestNonzeroFloat64} {
			w.point(rows, i, v, 1)
		}
		w.pointAt(rows, math.MinInt64, 1, 1, 0)
		w.pointAt(rows, math.MaxInt64, 1, 1, 0)
		rows.Add(deadSpec, "normaliser", 0, uint64(1), uint32(0), "bad\x00reason", "\xff\xfe", nil, []byte{1, 0, 2})
		rows.Add(batchSpec, w.tenant, "req", uint32(0), uint32(1), 0, uint64(1), us(0), "", "http", uint32(1), uint32(0), uint32(0), uint32(1),
			`[{"pointer":"/metrics/0","code":"x","detail":"nul \u0000 and \"quotes\""}]`, []byte(nil))
	})
	r, err := db.Receipt(t.Context(), w.tenant, "req")
	if err != nil || len(r.Rejections) != 1 || r.Rejections[0].Detail != "nul \uFFFD and \"quotes\"" {
		t.Fatalf("got %+v, %v", r, err)
	}
	if n := count(t, db, "datapoints"); n != 6 {
		t.Fatalf("%d rows, want 6", n)
	}
}

func TestWrongRowsAreRefusedClearly(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	for _, c := range []struct {
		want string
		spec *stream.TableSpec
		row  []any
	}{
		{"uuid of 3 bytes", deviceSpec, []any{[]byte("abc"), w.tenant, "d", us(0), uint64(1), 0}},
		{"does not fit a smallint", deviceSpec, []any{w.device, w.tenant, "d", us(0), uint64(1), 1 << 20}},
		{"does not fit a bigint", deviceSpec, []any{w.device, w.tenant, "d", us(0), uint64(math.MaxUint64), 0}},
		{"2 values for 6 columns", deviceSpec, []any{w.tenant, w.metric}},
		{`relation "nowhere" does not exist`, &stream.TableSpec{Name: "nowhere", Columns: []string{"a"}}, []any{1}},
	} {
		var rows stream.RowSet
		rows.Add(c.spec, c.row...)
		if err := db.Apply(t.Context(), stream.Points, 0, 0, 1, &rows); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}

// Where the writer may not bypass row-level security (managed servers) rows go
// by way of a temporary table.
func TestCopyWithoutBypass(t *testing.T) {
	db := storetest.Bare(t)
	c := db.Conn(t, db.OwnerDSN)
	for _, q := range []string{
		`DROP ROLE IF EXISTS plain_writer`,
		`CREATE ROLE plain_writer LOGIN PASSWORD 'test' IN ROLE edgepulse_writer`, // the attribute is not inherited
	} {
		if _, err := c.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	cfg := db.Config
	cfg.WriterDSN = db.DSN("plain_writer", "test")
	db.Open(t, cfg)
	w := newWorld(t, db, "acme")
	w.declare()
	for root := range uint64(3) {
		w.apply(stream.Points, func(rows *stream.RowSet) {
			w.point(rows, int(root)*2, 1, root)
			w.point(rows, int(root)*2+1, 1, root)
			other := *stream.DatapointSeries // a second set of samples for the same table
			s := rows.Series(&other, stream.SeriesKey{Tenant: w.tenant, Device: w.device, Metric: w.metric})
			s.Add(us(100+int(root)), root, 0)
			s.Real(2)
		})
	}
	p, err := db.Datapoints(t.Context(), w.tenant, w.metric.String(), api.Range{}, api.PageRequest{}, 0)
	if err != nil || len(p.Data) != 9 {
		t.Fatalf("%d points, %v", len(p.Data), err)
	}
}

func TestTruncateProjected(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.declare()
	w.apply(stream.Scores, func(rows *stream.RowSet) {
		w.score(rows, 1, schemas.Severity_SEVERITY_INFO, 1)
		rows.Add(deadSpec, "projector_scores", 0, uint64(1), uint32(0), "reason", "", w.tenant, nil)
		rows.Add(deadSpec, "scorer", 0, uint64(1), uint32(0), "reason", "", w.tenant, nil)
	})
	w.apply(stream.Points, func(rows *stream.RowSet) {
		rows.Add(deadSpec, "normaliser", 0, uint64(1), uint32(0), "reason", "", w.tenant, nil)
	})
	if err := db.TruncateProjected(t.Context(), stream.Downstream(stream.Scores)...); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]int{"anomaly_scores": 0, "metrics": 1, "dead_letters": 1} {
		if n := count(t, db, table); n != want {
			t.Errorf("%d rows in %s, want %d", n, table, want)
		}
	}
	pos, err := db.Positions(t.Context())
	if err != nil || len(pos) != 1 || pos[stream.Points][0] != 2 {
		t.Fatalf("positions %v, %v", pos, err)
	}
	if err := db.TruncateProjected(t.Context(), stream.Ingest); err == nil {
		t.Fatal("truncating the projection of INGEST is not refused")
	}
}

func count(t *testing.T, db *storetest.DB, table string) int {
	t.Helper()
	var n int
	if err := db.Conn(t, db.OwnerDSN).QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
