package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/stream"
)

// explain is the plan of a query, as one text.
func explain(t *testing.T, c *pgx.Conn, q string) string {
	t.Helper()
	exec(t, c, "SET enable_seqscan = off") // the tables of a test are small enough to be read whole
	rows, err := c.Query(t.Context(), "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) "+q, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// points reads through the index, in the partitions of its range only, as an
// analyst as well as the owner; partitions made on demand are scoped like any table.
func TestPointsReadsItsRangeOnly(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	other := newWorld(t, db, "other")
	const weeks = 6
	for week := range weeks {
		for _, one := range []*world{w, other} {
			one.apply(stream.Points, func(rows *stream.RowSet) {
				for i := range 3000 {
					one.pointAt(rows, us(0)-int64(week)*7*86400e6+int64(i)*60e6, float64(i), uint64(i+1), 0)
				}
			})
		}
	}
	if _, err := db.Seal(t.Context(), stream.Points); err != nil {
		t.Fatal(err)
	}
	owner := db.Conn(t, db.OwnerDSN)
	exec(t, owner, `ANALYZE`)
	var partitions int
	if err := owner.QueryRow(t.Context(), `SELECT count(*) FROM pg_partition_tree('datapoint_chunks') WHERE isleaf`).Scan(&partitions); err != nil || partitions < weeks {
		t.Fatalf("%d partitions, %v", partitions, err)
	}
	exec(t, owner, `DROP ROLE IF EXISTS pat`)
	if err := db.CreateAnalyst(t.Context(), w.tenant, "pat", "s3cret"); err != nil {
		t.Fatal(err)
	}
	analyst := db.Conn(t, db.DSN("pat", "s3cret"))
	from := at(0).Add(-14*24*time.Hour + time.Hour)
	q := `SELECT count(*), min(value), max(value) FROM points('` + w.metric.String() + `', '` + from.Format(time.RFC3339) + `', '` + from.Add(time.Hour).Format(time.RFC3339) + `')`
	for name, c := range map[string]*pgx.Conn{"owner": owner, "analyst": analyst} {
		plan := explain(t, c, q)
		week := "datapoint_chunks_" + isoWeek(from)
		if strings.Count(plan, "datapoint_chunks_2") != strings.Count(plan, week) || !strings.Contains(plan, week) || strings.Contains(plan, "chunks_old") {
			t.Errorf("%s reads other partitions than %s:\n%s", name, week, plan)
		}
		if !strings.Contains(plan, "Index Scan using "+week+"_metric_id_first_ts_idx") {
			t.Errorf("%s does not read through the index:\n%s", name, plan)
		}
		var n int
		var least, most float64
		if err := c.QueryRow(t.Context(), q).Scan(&n, &least, &most); err != nil || n != 60 || least != 60 || most != 119 {
			t.Errorf("%s: %d points from %v to %v, %v", name, n, least, most, err)
		}
	}
	for _, q := range []string{
		`SELECT count(*) FROM points('` + other.metric.String() + `')`,
		`SELECT count(*) FROM datapoint_chunks WHERE metric_id = '` + other.metric.String() + `'`,
	} {
		var n int
		if err := analyst.QueryRow(t.Context(), q).Scan(&n); err != nil || n != 0 {
			t.Errorf("%s: another tenant's %d rows, %v", q, n, err)
		}
	}
	if _, err := analyst.Exec(t.Context(), `SELECT 1 FROM datapoint_chunks_`+isoWeek(from)); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("a partition by its own name: %v", err)
	}
	everyTenantTableIsProtected(t, owner)
}

func isoWeek(ts time.Time) string {
	year, week := ts.ISOWeek()
	return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Format("2006") + "w" + string(rune('0'+week/10)) + string(rune('0'+week%10))
}

// Only kinds that exist, only finite instants: the function runs with the owner's rights.
func TestWeeksAreMadeOnDemandOnly(t *testing.T) {
	db := storetest.New(t)
	writer := db.Conn(t, db.WriterDSN)
	for _, q := range []string{`SELECT make_chunk_week('tenants', now())`, `SELECT make_chunk_week('datapoint', 'infinity')`, `SELECT make_chunk_week('datapoint; DROP TABLE tenants', now())`} {
		if _, err := writer.Exec(t.Context(), q); err == nil || !strings.Contains(err.Error(), "no chunks of kind") {
			t.Errorf("%s: %v", q, err)
		}
	}
	for range 2 {
		exec(t, writer, `SELECT make_chunk_week('score', '2026-11-04 12:00+00')`)
		exec(t, writer, `SELECT make_chunk_week('score', '1970-01-01 00:00+00')`) // stands in the partition of old times
	}
	var weeks int
	if err := writer.QueryRow(t.Context(), `SELECT count(*) FROM pg_partition_tree('score_chunks') WHERE isleaf`).Scan(&weeks); err != nil || weeks != 2 {
		t.Fatalf("%d partitions, want one week and the old times, %v", weeks, err)
	}
	if _, err := db.Conn(t, db.AppDSN).Exec(t.Context(), `SELECT make_chunk_week('score', now())`); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Fatalf("as the API: %v", err)
	}
}
