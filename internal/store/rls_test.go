package store_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// Every table that knows a tenant is scoped, whoever adds it.
func TestEveryTenantTableIsProtected(t *testing.T) {
	db := storetest.New(t)
	everyTenantTableIsProtected(t, db.Conn(t, db.OwnerDSN))
}

func everyTenantTableIsProtected(t *testing.T, c *pgx.Conn) {
	t.Helper()
	seen, faults := unprotected(t, c)
	for _, why := range faults {
		t.Error(why)
	}
	if seen < 20 {
		t.Fatalf("looked at %d tables and views only", seen)
	}
}

// The check sees each way in which a table or view could be left open.
func TestAnUnprotectedTableIsFound(t *testing.T) {
	db := storetest.New(t)
	c := db.Conn(t, db.OwnerDSN)
	for open, want := range map[string]string{
		`DROP POLICY app_tenant ON webhooks`:                               "table webhooks: no policy app_tenant",
		`DROP POLICY analyst_tenant ON score_chunks`:                       "table score_chunks: no policy analyst_tenant",
		`ALTER TABLE metric_settings NO FORCE ROW LEVEL SECURITY`:          "table metric_settings: row-level security is not forced",
		`ALTER TABLE alert_events DISABLE ROW LEVEL SECURITY`:              "table alert_events: row-level security is off",
		`CREATE TABLE newcomers (tenant_id uuid)`:                          "table newcomers: row-level security is off",
		`ALTER VIEW datapoints RESET (security_invoker)`:                   "view datapoints does not run with the rights of its caller",
		`CREATE MATERIALIZED VIEW frozen AS SELECT tenant_id FROM devices`: "materialised view frozen can't be scoped",
		`ALTER POLICY app_tenant ON devices USING (true)`:                  "table devices: policy app_tenant does not compare the tenant",
	} {
		tx, err := c.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), open); err != nil {
			t.Fatalf("%s: %v", open, err)
		}
		if _, faults := unprotected(t, tx); !slices.Contains(faults, want) {
			t.Errorf("after %s: found %q, want %q", open, faults, want)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, faults := unprotected(t, c); len(faults) > 0 {
		t.Errorf("all was rolled back, found %q", faults)
	}
}

// unprotected looks at every table and view that has a tenant column.
func unprotected(t *testing.T, c interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}) (seen int, faults []string) {
	t.Helper()
	rows, err := c.Query(t.Context(), `
		SELECT c.relname, c.relkind::text, c.relrowsecurity, c.relforcerowsecurity,
		       coalesce((SELECT array_agg(p.polname::text) FROM pg_policy p WHERE p.polrelid = c.oid), '{}'),
		       coalesce((SELECT bool_and(pg_get_expr(p.polqual, p.polrelid) LIKE '%app.tenant%') FROM pg_policy p
		         WHERE p.polrelid = c.oid AND p.polname = 'app_tenant'), true),
		       coalesce('security_invoker=true' = ANY(c.reloptions), false)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm')
		  AND c.relname <> 'analyst_logins' -- an analyst sees the own row, the API none
		  AND (c.relname = 'tenants' OR EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped))`)
	if err != nil {
		t.Fatal(err)
	}
	var name, kind string
	var enabled, forced, compares, invoker bool
	var policies []string
	_, err = pgx.ForEachRow(rows, []any{&name, &kind, &enabled, &forced, &policies, &compares, &invoker}, func() error {
		seen++
		fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
		switch {
		case kind == "v" && !invoker:
			fault("view %s does not run with the rights of its caller", name)
		case kind == "v":
		case kind == "m":
			fault("materialised view %s can't be scoped", name)
		case !enabled:
			fault("table %s: row-level security is off", name)
		case !forced:
			fault("table %s: row-level security is not forced", name)
		default:
			for _, p := range []string{"app_tenant", "analyst_tenant"} {
				if !slices.Contains(policies, p) {
					fault("table %s: no policy %s", name, p)
				}
			}
			if !compares {
				fault("table %s: policy app_tenant does not compare the tenant", name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen, faults
}

// oneRow puts a row into a table: what its columns must hold is made up by their types.
const oneRow = `DO $$ DECLARE cols text; vals text; BEGIN
	SELECT string_agg(quote_ident(column_name), ','), string_agg(CASE
	    WHEN column_name = 'tenant_id' THEN quote_literal('%[2]s')
	    WHEN data_type = 'uuid' THEN 'gen_random_uuid()' WHEN data_type LIKE 'timestamp%%' OR data_type = 'date' THEN quote_literal('2020-01-01')
	    WHEN data_type = 'bytea' THEN quote_literal('x') WHEN data_type = 'boolean' THEN 'false' WHEN data_type IN ('jsonb', 'ARRAY') THEN quote_literal('{}')
	    WHEN data_type IN ('text', 'name') THEN quote_literal('default') ELSE '1' END, ',')
	  INTO cols, vals FROM information_schema.columns
	  WHERE table_schema = 'public' AND table_name = '%[1]s' AND (is_nullable = 'NO' OR column_name IN ('tenant_id', 'wrapped'));
	EXECUTE format('INSERT INTO %%I (%%s) VALUES (%%s)', '%[1]s', cols, vals);
END $$`

// Whoever has the API's password, but names no tenant, sees no row of any table,
// though every one of them has rows. Keys are found through their function only.
func TestAppWithoutATenantSeesNothing(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "a")
	fill(w)
	owner := db.Conn(t, db.OwnerDSN)
	rows, err := owner.Query(t.Context(), `SELECT c.relname, c.relkind = 'v' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v') AND has_any_column_privilege('edgepulse_app', c.oid, 'SELECT') AND NOT c.relispartition
		  AND (c.relname = 'tenants' OR EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id'))`)
	if err != nil {
		t.Fatal(err)
	}
	views := map[string]bool{} // by name: whether it is one
	var name string
	var view bool
	if _, err := pgx.ForEachRow(rows, []any{&name, &view}, func() error { views[name] = view; return nil }); err != nil {
		t.Fatal(err)
	}
	exec(t, owner, `SET session_replication_role = replica`) // no foreign keys, no triggers
	app := db.Conn(t, db.AppDSN)
	for table, view := range views {
		if !view && count(t, db, table) == 0 {
			exec(t, owner, fmt.Sprintf(oneRow, table, w.tenant))
		}
		if !view && count(t, db, table) == 0 {
			t.Errorf("%s has no row to hide", table)
		}
	}
	for table := range views {
		var n int
		if err := app.QueryRow(t.Context(), `SELECT count(tenant) FROM (SELECT `+map[bool]string{true: "id", false: "tenant_id"}[table == "tenants"]+` AS tenant FROM `+table+`) x`).Scan(&n); err != nil || n != 0 {
			t.Errorf("%s: %d rows without a tenant, %v", table, n, err)
		}
	}
	if len(views) < 20 {
		t.Errorf("checked %d tables and views only", len(views))
	}
	t.Logf("%d tables and views, 0 rows each", len(views))
}

func fill(w *world) {
	w.declare()
	w.apply(stream.Points, func(rows *stream.RowSet) { w.point(rows, 1, 20, 1) })
	w.apply(stream.Scores, func(rows *stream.RowSet) { w.score(rows, 1, schemas.Severity_SEVERITY_INFO, 1) })
}

func TestAppSeesOneTenant(t *testing.T) {
	db := storetest.New(t)
	a, b := newWorld(t, db, "a"), newWorld(t, db, "b")
	fill(a)
	fill(b)
	c := db.Conn(t, db.AppDSN)
	tables := []string{"tenants", "devices", "metrics", "datapoint_recent", "datapoints", "anomaly_scores", "anomalies", "alert_events", "webhooks", "audit_log"}
	seen := func(table string) int {
		var n int
		if err := c.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
			t.Fatalf("%s: %v", table, err)
		}
		return n
	}
	for _, setting := range []string{"unset", "", schemas.NewID().String()} {
		if setting != "unset" {
			exec(t, c, `SELECT set_config('app.tenant', $1, false)`, setting)
		}
		for _, table := range tables {
			if n := seen(table); n != 0 {
				t.Errorf("app.tenant %q: %d rows of %s", setting, n, table)
			}
		}
	}
	exec(t, c, `SELECT set_config('app.tenant', $1, false)`, a.tenant.String())
	for _, table := range tables[:7] {
		if n := seen(table); n != 1 {
			t.Errorf("%d rows of %s, want the tenant's 1", n, table)
		}
	}
	_, err := c.Exec(t.Context(), `INSERT INTO feedback (feedback_id, tenant_id, verdict) VALUES ($1, $2, 'x')`,
		schemas.NewID().String(), b.tenant.String())
	if err == nil || !strings.Contains(err.Error(), "row-level security") {
		t.Fatalf("writing for another tenant: %v", err)
	}
	for _, q := range []string{
		`SELECT hash FROM api_keys`, `DELETE FROM datapoint_recent`, `TRUNCATE metrics`, `UPDATE tenants SET name = 'x'`,
		`SELECT * FROM projection_positions`, `SELECT * FROM analyst_logins`, `DELETE FROM audit_log`,
	} {
		if _, err := c.Exec(t.Context(), q); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: %v", q, err)
		}
	}
}

func TestAnalystSeesTheirTenant(t *testing.T) {
	db := storetest.New(t)
	a, b := newWorld(t, db, "a"), newWorld(t, db, "b")
	fill(a)
	fill(b)
	exec(t, db.Conn(t, db.OwnerDSN), `DROP ROLE IF EXISTS ann`)
	if err := db.CreateAnalyst(t.Context(), a.tenant, "ann", "s3cret"); err != nil {
		t.Fatal(err)
	}
	c := db.Conn(t, db.DSN("ann", "s3cret"))
	for _, table := range []string{"metrics", "datapoints", "anomalies"} {
		var n int
		var tenant string
		if err := c.QueryRow(t.Context(), "SELECT count(*), min(tenant_id::text) FROM "+table).Scan(&n, &tenant); err != nil || n != 1 || tenant != a.tenant.String() {
			t.Errorf("%s: %d rows of %s, %v", table, n, tenant, err)
		}
	}
	exec(t, c, `SELECT set_config('app.tenant', $1, false)`, b.tenant.String()) // the API's setting means nothing here
	var n int
	if err := c.QueryRow(t.Context(), "SELECT count(*) FROM metrics WHERE tenant_id = $1", b.tenant.String()).Scan(&n); err != nil || n != 0 {
		t.Fatalf("%d rows of another tenant, %v", n, err)
	}
}

func TestAuditLogIsAppendOnly(t *testing.T) {
	db := storetest.New(t)
	newWorld(t, db, "a")
	c := db.Conn(t, db.OwnerDSN)
	for _, q := range []string{`UPDATE audit_log SET actor = 'x'`, `DELETE FROM audit_log`, `TRUNCATE audit_log`} {
		if _, err := c.Exec(t.Context(), q); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s as owner: %v", q, err)
		}
	}
}

func exec(t *testing.T, c *pgx.Conn, q string, args ...any) {
	t.Helper()
	if _, err := c.Exec(t.Context(), q, args...); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}
