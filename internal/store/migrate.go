package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// MigrateConfig is what a migration needs.
type MigrateConfig struct {
	OwnerDSN       string       // of the database to migrate; the role may create roles
	WriterPassword string       // set on edgepulse_writer; empty leaves what is there
	AppPassword    string       // set on edgepulse_app; empty leaves what is there
	Logger         *slog.Logger // default discards
}

// Migrate makes the roles and brings the schema up to date. Several processes
// may call it at once: a lock lets one work and the others wait.
func Migrate(ctx context.Context, cfg MigrateConfig) error {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := ensureRoles(ctx, cfg); err != nil {
		return fmt.Errorf("make roles: %w", err)
	}
	p, closeDB, err := provider(cfg)
	if err != nil {
		return fmt.Errorf("prepare migrations: %w", err)
	}
	defer closeDB()
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate schema: %w", err)
	}
	return nil
}

func provider(cfg MigrateConfig) (*goose.Provider, func(), error) {
	conn, err := pgx.ParseConfig(cfg.OwnerDSN)
	if err != nil {
		return nil, nil, fmt.Errorf("parse address: malformed")
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, nil, fmt.Errorf("open migrations: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return nil, nil, fmt.Errorf("make lock: %w", err)
	}
	db := stdlib.OpenDB(*conn)
	closeDB := func() { _ = db.Close() }
	p, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithSessionLocker(locker), goose.WithSlog(cfg.Logger), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		closeDB()
		return nil, nil, fmt.Errorf("make provider: %w", err)
	}
	return p, closeDB, nil
}

// EnsureDatabase makes a database where it does not exist yet. dsn names any
// database of the server that its role may connect to; the answer names the new one.
func EnsureDatabase(ctx context.Context, dsn, name string) (string, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", fmt.Errorf("connect to make database: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	// Two processes at once: one of them meets the other's unfinished row.
	if err != nil && !isCode(err, duplicateDB) && !isCode(err, uniqueViolation) {
		return "", fmt.Errorf("make database %s: %w", name, err)
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", fmt.Errorf("parse address: malformed")
	}
	u.Path = "/" + name
	return u.String(), nil
}
