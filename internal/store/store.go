package store

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Errors that callers decide on.
var (
	ErrNotFound  = errors.New("not found")
	ErrBadCursor = errors.New("bad cursor")
	ErrConflict  = errors.New("version conflict") // If-Match failed, or a name is taken
	ErrNoRole    = errors.New("store was opened without the address for this role")
)

// Config says where the database is and what the store is trusted with.
type Config struct {
	OwnerDSN  string // administration; empty where this process does none
	WriterDSN string // projectors, relay, deliverer, archiver
	AppDSN    string // the API

	OwnerConns  int32 // default 2
	WriterConns int32 // default 8
	AppConns    int32 // default 16

	// StatementTimeout ends a query of the API. Default "15s".
	StatementTimeout string
	// SyncProjections waits for the disk with every projected commit. Default
	// false: a commit lost in a crash takes its position with it and is projected
	// again from the log. DurablePosition says how far the disk has it.
	SyncProjections bool

	// Pepper is the key of the stored hashes of API keys, 32 bytes, kept outside of
	// the database; PepperVersion is stored beside each hash.
	Pepper        []byte
	PepperVersion int
	// SecretKey encrypts webhook secrets, 32 bytes.
	SecretKey []byte

	// Sealing says when series are sealed.
	Sealing Sealing
}

// Store is the database, seen by the roles it was opened for.
type Store struct {
	cfg    Config
	owner  *pgxpool.Pool
	writer *pgxpool.Pool
	app    *pgxpool.Pool
	copies bool // the writer role may COPY into tables with row-level security

	sealers  sealers
	sealTurn sync.Mutex // held by the step at work, or resting
}

// Open connects the pools. The schema must be there already (Migrate).
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.StatementTimeout == "" {
		cfg.StatementTimeout = "15s"
	}
	if len(cfg.SecretKey) != 0 && len(cfg.SecretKey) != 32 {
		return nil, fmt.Errorf("open store: SecretKey has %d bytes, expected 32", len(cfg.SecretKey))
	}
	cfg.Sealing.defaults()
	s := &Store{cfg: cfg, sealers: newSealers()}
	for _, p := range []struct {
		pool     **pgxpool.Pool
		role     string
		dsn      string
		conns    int32
		fallback int32
		params   map[string]string
	}{
		{&s.owner, "owner", cfg.OwnerDSN, cfg.OwnerConns, 2, nil},
		{&s.writer, "writer", cfg.WriterDSN, cfg.WriterConns, 8, nil},
		{&s.app, "app", cfg.AppDSN, cfg.AppConns, 16, map[string]string{
			"statement_timeout": cfg.StatementTimeout,
			// Pages are short: starting a worker or a compiler costs more than the query.
			"max_parallel_workers_per_gather": "0", "jit": "off",
		}},
	} {
		if p.dsn == "" {
			continue
		}
		if p.conns == 0 {
			p.conns = p.fallback
		}
		pool, err := openPool(ctx, p.dsn, "edgepulse "+p.role, p.conns, p.params)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("open store as %s: %w", p.role, err)
		}
		*p.pool = pool
	}
	if s.writer != nil {
		const q = `SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user`
		if err := s.writer.QueryRow(ctx, q).Scan(&s.copies); err != nil {
			s.Close()
			return nil, fmt.Errorf("read rights of the writer role: %w", err)
		}
	}
	return s, nil
}

func openPool(ctx context.Context, dsn, application string, conns int32, params map[string]string) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("parse address: malformed") // the driver's message may quote it
	}
	cfg.MaxConns = conns
	rt := cfg.ConnConfig.RuntimeParams
	rt["application_name"], rt["timezone"] = application, "UTC"
	for k, v := range params {
		rt[k] = v
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("make pool: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("connect: %w", err)
	}
	return pool, nil
}

// Close waits for running queries and closes all connections.
func (s *Store) Close() {
	for _, p := range []*pgxpool.Pool{s.owner, s.writer, s.app} {
		if p != nil {
			p.Close()
		}
	}
}

// Ping asks every pool for a connection.
func (s *Store) Ping(ctx context.Context) error {
	for _, p := range []*pgxpool.Pool{s.owner, s.writer, s.app} {
		if p == nil {
			continue
		}
		if err := p.Ping(ctx); err != nil {
			return fmt.Errorf("ping postgres: %w", err)
		}
	}
	return nil
}

// within runs fn in a transaction that begins with sql, and commits.
func within(ctx context.Context, pool *pgxpool.Pool, begin string, fn func(pgx.Tx) error) error {
	if pool == nil {
		return ErrNoRole
	}
	tx, err := pool.BeginTx(ctx, pgx.TxOptions{BeginQuery: begin})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := fn(tx); err != nil {
		// The context may be over; the rollback must not be.
		_ = tx.Rollback(context.WithoutCancel(ctx))
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// isCode tells whether err is a PostgreSQL error of that SQLSTATE.
func isCode(err error, code string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == code
}

const (
	uniqueViolation     = "23505"
	foreignKeyViolation = "23503"
	duplicateObject     = "42710"
	duplicateDB         = "42P04"
)
