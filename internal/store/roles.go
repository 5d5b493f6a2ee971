package store

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/edgepulse/edgepulse/schemas"
)

// The roles of the database. They belong to the server, not to one database.
const (
	WriterRole  = "edgepulse_writer"
	AppRole     = "edgepulse_app"
	AnalystRole = "edgepulse_analyst" // can't log in; CreateAnalyst makes logins below it
)

// roleLock is the key of the advisory lock under which roles are made.
const roleLock = 0x65705f726f6c6573 // "ep_roles"

func ensureRoles(ctx context.Context, cfg MigrateConfig) error {
	conn, err := pgx.Connect(ctx, cfg.OwnerDSN)
	if err != nil {
		return fmt.Errorf("connect as owner: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	// Two processes that alter one role at once would both fail; ends with the connection.
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, int64(roleLock)); err != nil {
		return fmt.Errorf("lock roles: %w", err)
	}
	for _, r := range []struct{ name, options, password string }{
		{WriterRole, "LOGIN", cfg.WriterPassword},
		{AppRole, "LOGIN", cfg.AppPassword},
		{AnalystRole, "NOLOGIN", ""},
	} {
		if err := ensureRole(ctx, conn, r.name, r.options, r.password); err != nil {
			return err
		}
	}
	return allowCopy(ctx, conn)
}

func ensureRole(ctx context.Context, conn *pgx.Conn, name, options, password string) error {
	ident := pgx.Identifier{name}.Sanitize()
	_, err := conn.Exec(ctx, "CREATE ROLE "+ident+" "+options)
	if err != nil && !isCode(err, duplicateObject) && !isCode(err, uniqueViolation) {
		return fmt.Errorf("make role %s: %w", name, err)
	}
	if password == "" {
		return nil
	}
	verifier, err := scramVerifier(password)
	if err != nil {
		return err
	}
	// The verifier, not the password: statements may be logged. It holds no quote.
	if err := alterRole(ctx, conn, ident+" PASSWORD '"+verifier+"'"); err != nil {
		return fmt.Errorf("set password of %s: %w", name, err)
	}
	return nil
}

// alterRole does it again when another database of the same server is being
// migrated: roles belong to all of them, no lock of one database keeps others out,
// and PostgreSQL refuses the second of two changes at once.
func alterRole(ctx context.Context, conn *pgx.Conn, change string) error {
	for attempt := 1; ; attempt++ {
		_, err := conn.Exec(ctx, "ALTER ROLE "+change)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Message != "tuple concurrently updated" || attempt == 50 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(mathrand.N(20 * time.Millisecond)):
		}
	}
}

// allowCopy lets the writer COPY: PostgreSQL refuses COPY FROM to a role that
// row-level security applies to, whatever its policy says. Where the owner may
// not grant that (managed servers), the sink goes through temporary tables.
func allowCopy(ctx context.Context, conn *pgx.Conn) error {
	var has bool
	err := conn.QueryRow(ctx, `SELECT rolbypassrls FROM pg_roles WHERE rolname = $1`, WriterRole).Scan(&has)
	if err != nil {
		return fmt.Errorf("read rights of %s: %w", WriterRole, err)
	}
	if has {
		return nil
	}
	err = alterRole(ctx, conn, WriterRole+" BYPASSRLS")
	if err != nil && !isCode(err, "42501") { // insufficient_privilege
		return fmt.Errorf("let %s copy: %w", WriterRole, err)
	}
	return nil
}

// scramVerifier is what PostgreSQL stores of a password (RFC 5802, RFC 7677).
func scramVerifier(password string) (string, error) {
	const iterations = 4096
	salt := make([]byte, 16)
	rand.Read(salt)
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive password verifier: %w", err)
	}
	sign := func(key []byte, msg string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(msg))
		return m.Sum(nil)
	}
	stored := sha256.Sum256(sign(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(stored[:]), b64(sign(salted, "Server Key"))), nil
}

// CreateAnalyst makes a login that may read one tenant's rows with SQL.
func (s *Store) CreateAnalyst(ctx context.Context, tenant schemas.ID, login, password string) error {
	verifier, err := scramVerifier(password)
	if err != nil {
		return err
	}
	ident := pgx.Identifier{login}.Sanitize()
	err = within(ctx, s.owner, "begin", func(tx pgx.Tx) error {
		for _, q := range []string{
			"CREATE ROLE " + ident + " LOGIN PASSWORD '" + verifier + "' CONNECTION LIMIT 4 IN ROLE " + AnalystRole,
			"ALTER ROLE " + ident + " SET default_transaction_read_only = on",
			"ALTER ROLE " + ident + " SET statement_timeout = '60s'",
		} {
			if _, err := tx.Exec(ctx, q); err != nil {
				return fmt.Errorf("make role: %w", err)
			}
		}
		_, err := tx.Exec(ctx, `INSERT INTO analyst_logins (role_name, tenant_id) VALUES ($1, $2)`, login, uuidOf(tenant))
		return err
	})
	if err != nil {
		return fmt.Errorf("create analyst %s: %w", login, err)
	}
	return nil
}
