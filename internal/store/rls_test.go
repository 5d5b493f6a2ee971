package store_test

import (
	"context"
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
	rows, err := c.Query(t.Context(), `
		SELECT c.relname, c.relkind::text, c.relrowsecurity, c.relforcerowsecurity,
		       (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid),
		       coalesce('security_invoker=true' = ANY(c.reloptions), false)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm')
		  AND (c.relname = 'tenants' OR EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped))`)
	if err != nil {
		t.Fatal(err)
	}
	var name, kind string
	var enabled, forced, invoker bool
	var policies, seen int
	_, err = pgx.ForEachRow(rows, []any{&name, &kind, &enabled, &forced, &policies, &invoker}, func() error {
		seen++
		switch kind {
		case "v":
			if !invoker {
				t.Errorf("view %s does not run with the rights of its caller", name)
			}
		case "m":
			t.Errorf("materialised view %s can't be scoped", name)
		default:
			if !enabled || !forced || policies == 0 {
				t.Errorf("table %s: enabled %v, forced %v, %d policies", name, enabled, forced, policies)
			}
		}
		return nil
	})
	if err != nil || seen < 20 {
		t.Fatalf("looked at %d tables, %v", seen, err)
	}
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
