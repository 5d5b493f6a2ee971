// Package storetest gives tests a real PostgreSQL: one private server per test
// process, a database per test, copied from a migrated template.
//
// In: a test. Out: a Store opened for all roles, on an empty schema. Order and
// state: databases are independent of each other. On failure the test fails;
// where no PostgreSQL is installed it is skipped, and fails with
// EDGEPULSE_TEST_STRICT=1. Packages that use it end TestMain with Stop.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/edgepulse/edgepulse/internal/embedded"
	"github.com/edgepulse/edgepulse/internal/store"
)

const (
	template = "edgepulse_template"
	password = "test"
)

var (
	once     sync.Once
	server   *embedded.Postgres
	startErr error
	folder   string
	counter  atomic.Int64
	cloning  sync.Mutex // CREATE DATABASE wants the template to itself
)

// DB is one test's database.
type DB struct {
	*store.Store
	Config    store.Config
	OwnerDSN  string
	WriterDSN string
	AppDSN    string
	Name      string
	dsn       func(role, password string) string
}

// Run runs the tests of a package and stops the server: the body of its TestMain.
func Run(m *testing.M) {
	code := m.Run()
	Stop()
	os.Exit(code)
}

// Stop ends the server and removes its folder.
func Stop() {
	if server != nil {
		_ = server.Stop()
	}
	if folder != "" {
		_ = os.RemoveAll(folder)
	}
}

// New makes a database for this test and opens it for all roles.
func New(t testing.TB) *DB {
	t.Helper()
	db := Bare(t)
	db.Open(t, db.Config)
	return db
}

// Bare makes a database for this test without opening it.
func Bare(t testing.TB) *DB {
	t.Helper()
	once.Do(start)
	if errors.Is(startErr, embedded.ErrNoPostgres) && os.Getenv("EDGEPULSE_TEST_STRICT") != "1" {
		t.Skipf("no PostgreSQL to test with: %v", startErr)
	}
	if startErr != nil {
		t.Fatalf("start test database: %v", startErr)
	}
	name := fmt.Sprintf("test_%d", counter.Add(1))
	if err := clone(t.Context(), name); err != nil {
		t.Fatalf("make test database: %v", err)
	}
	dsn := func(role, pw string) string { return server.DSN(role, pw, name) }
	db := &DB{Name: name, OwnerDSN: server.SuperuserDSN(name), WriterDSN: dsn(store.WriterRole, password), AppDSN: dsn(store.AppRole, password), dsn: dsn}
	db.Config = store.Config{
		OwnerDSN: db.OwnerDSN, WriterDSN: db.WriterDSN, AppDSN: db.AppDSN,
		OwnerConns: 2, WriterConns: 4, AppConns: 4,
		Pepper: bytes.Repeat([]byte{7}, 32), PepperVersion: 1, SecretKey: bytes.Repeat([]byte{9}, 32),
	}
	t.Cleanup(func() { _ = exec(context.Background(), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	return db
}

// Open opens the database with a changed configuration; closed with the test.
func (db *DB) Open(t testing.TB, cfg store.Config) {
	t.Helper()
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	db.Store = s
	t.Cleanup(s.Close)
}

// Conn connects as any role, for what the Store does not offer.
func (db *DB) Conn(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// DSN is the address of this database for a role of the test's own.
func (db *DB) DSN(role, password string) string { return db.dsn(role, password) }

func start() {
	ctx := context.Background()
	// Not under t.TempDir: its folders are closed to the user that the server runs as.
	if folder, startErr = os.MkdirTemp("", "ept"); startErr != nil {
		return
	}
	if startErr = os.Chmod(folder, 0o711); startErr != nil {
		return
	}
	server, startErr = embedded.StartPostgres(ctx, embedded.PostgresOptions{
		Dir: folder, BinDir: os.Getenv("EDGEPULSE_PG_BIN"), NoDownload: true,
		// The databases die with the test: no need to wait for the disk.
		Settings: map[string]string{"fsync": "off", "max_connections": "200"},
	})
	if startErr != nil {
		return
	}
	var dsn string
	if dsn, startErr = store.EnsureDatabase(ctx, server.SuperuserDSN("postgres"), template); startErr != nil {
		return
	}
	startErr = store.Migrate(ctx, store.MigrateConfig{OwnerDSN: dsn, WriterPassword: password, AppPassword: password})
}

func clone(ctx context.Context, name string) error {
	cloning.Lock()
	defer cloning.Unlock()
	return exec(ctx, "CREATE DATABASE "+name+" TEMPLATE "+template+" STRATEGY file_copy")
}

func exec(ctx context.Context, q string) error {
	c, err := pgx.Connect(ctx, server.SuperuserDSN("postgres"))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = c.Close(ctx) }()
	_, err = c.Exec(ctx, q)
	return err
}
