package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
)

// EdgeKey is what the edge may know about a key that works now.
type EdgeKey struct {
	KeyID     string
	TenantID  schemas.ID
	Hash      []byte // edge.Hash(pepper, secret); nil for a key made before there was one
	Scopes    []string
	ExpiresAt *time.Time
}

// EdgeKeys lists all keys that work now, by id.
func (s *Store) EdgeKeys(ctx context.Context) ([]EdgeKey, error) {
	if s.writer == nil {
		return nil, fmt.Errorf("list keys for the edge: %w", ErrNoRole)
	}
	rows, err := s.writer.Query(ctx, `SELECT key_id, tenant_id, edge_hash, scopes, expires_at FROM edge_keys()`)
	if err != nil {
		return nil, fmt.Errorf("list keys for the edge: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (EdgeKey, error) {
		var k EdgeKey
		var tenant pgtype.UUID
		err := r.Scan(&k.KeyID, &tenant, &k.Hash, &k.Scopes, &k.ExpiresAt)
		k.TenantID = tenant.Bytes
		return k, err
	})
	if err != nil {
		return nil, fmt.Errorf("list keys for the edge: %w", err)
	}
	return out, nil
}

// WatchKeys calls changed once it listens, then after every committed change of a
// key or tenant, and at least as often as every says. It returns when ctx ends,
// when changed fails, or when the connection is lost: what happened meanwhile is
// unknown then, and the next call begins with changed again.
func (s *Store) WatchKeys(ctx context.Context, every time.Duration, changed func(context.Context) error) error {
	if s.writer == nil {
		return fmt.Errorf("watch keys: %w", ErrNoRole)
	}
	pooled, err := s.writer.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("watch keys: %w", err)
	}
	// The connection listens from now on: it must not serve others afterwards.
	conn := pooled.Hijack()
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `LISTEN edgepulse_keys`); err != nil {
		return fmt.Errorf("watch keys: %w", err)
	}
	for {
		if err := changed(ctx); err != nil {
			return err
		}
		wait, cancel := context.WithTimeout(ctx, every)
		_, err := conn.WaitForNotification(wait)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("watch keys: %w", err)
		}
	}
}
