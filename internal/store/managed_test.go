package store_test

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// On a managed server the owner is no superuser: FORCE ROW LEVEL SECURITY binds
// it too, and its own policy must let migrations, keys and rebuilds work.
func TestOwnerWithoutSuperuser(t *testing.T) {
	db := storetest.Bare(t)
	c := db.Conn(t, db.OwnerDSN)
	for _, q := range []string{
		`DROP DATABASE IF EXISTS managed`, `DROP ROLE IF EXISTS managed_owner`,
		`CREATE ROLE managed_owner LOGIN CREATEROLE PASSWORD 'test'`,
		// From 16 on a role that may make roles still needs the right to alter those that exist.
		`DO $$ BEGIN IF current_setting('server_version_num')::int >= 160000 THEN
		   GRANT edgepulse_writer, edgepulse_app, edgepulse_analyst TO managed_owner WITH ADMIN OPTION; END IF; END $$`,
		`CREATE DATABASE managed OWNER managed_owner`,
	} {
		exec(t, c, q)
	}
	owner, writer, app := inDatabase(t, db.DSN("managed_owner", "test")), inDatabase(t, db.WriterDSN), inDatabase(t, db.AppDSN)
	if err := store.Migrate(t.Context(), store.MigrateConfig{OwnerDSN: owner, WriterPassword: "test", AppPassword: "test"}); err != nil {
		t.Fatal(err)
	}
	cfg := db.Config
	cfg.OwnerDSN, cfg.WriterDSN, cfg.AppDSN = owner, writer, app
	db.Open(t, cfg)
	w := newWorld(t, db, "acme")
	fill(w)
	_, key, err := db.CreateKey(t.Context(), w.tenant, []string{store.ScopeRead}, store.KeyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if rec, err := db.LookupKey(t.Context(), key.KeyID); err != nil || rec.TenantID != w.tenant {
		t.Fatalf("look up %+v, %v", rec, err)
	}
	if _, err := db.CreateAlertRule(t.Context(), w.tenant, api.AlertRule{Name: "r"}, api.RequestKey{}); err != nil {
		t.Fatal(err)
	}
	if all, err := db.AllControls(t.Context()); err != nil || len(all) != 1 {
		t.Fatalf("controls %v, %v", all, err)
	}
	if err := db.TruncateProjected(t.Context(), stream.Points); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Metric(t.Context(), w.tenant, w.metric.String(), time.Now()); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("after the rebuild: %v", err)
	}
	db.Close()
}

// inDatabase is dsn with the database "managed" in place of its own.
func inDatabase(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/managed"
	return u.String()
}

// TestRolesOfSeveralDatabases: roles belong to the server, and two of its databases
// may be migrated at once.
func TestRolesOfSeveralDatabases(t *testing.T) {
	var g errgroup.Group
	for range 3 {
		db := storetest.Bare(t)
		g.Go(func() error {
			for range 15 {
				err := store.Migrate(t.Context(), store.MigrateConfig{OwnerDSN: db.OwnerDSN, WriterPassword: "test", AppPassword: "test"})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}
