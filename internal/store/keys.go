package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/apikey"
	"github.com/edgepulse/edgepulse/schemas/edge"
)

// Scopes of API keys.
const (
	ScopeIngest   = "ingest"
	ScopeBackfill = "backfill" // any past ts
	ScopeRead     = "read"
	ScopeAdmin    = "admin" // rules, webhooks, settings
)

var scopes = []string{ScopeIngest, ScopeBackfill, ScopeRead, ScopeAdmin}

// Tenant is one customer of a deployment.
type Tenant struct {
	ID         schemas.ID
	Name       string
	Plan       string
	DisabledAt *time.Time
	CreatedAt  time.Time
}

// Key is an API key as its owner may see it: without hash.
type Key struct {
	KeyID     string
	TenantID  schemas.ID
	Name      string
	Env       string
	Scopes    []string
	CreatedAt time.Time
	ExpiresAt *time.Time
	RevokedAt *time.Time
}

// KeyOptions are the optional parts of a new key.
type KeyOptions struct {
	Env       string // "live" or "dev"; default live
	Name      string
	ExpiresAt time.Time // zero = never
}

// KeyRecord is what the gateway checks a key against.
type KeyRecord struct {
	KeyID         string
	TenantID      schemas.ID
	Hash          []byte // apikey.Hash under the pepper of PepperVersion
	PepperVersion int
	Scopes        []string
	ExpiresAt     *time.Time
	RevokedAt     *time.Time
	DisabledAt    *time.Time // of the tenant
	EdgeHash      []byte     // edge.Hash; nil for a key made before there was one
}

// CreateTenant makes a tenant on the default plan. ErrConflict: the name is taken.
func (s *Store) CreateTenant(ctx context.Context, name string) (Tenant, error) {
	t := Tenant{ID: schemas.NewID(), Name: name}
	err := within(ctx, s.owner, "begin", func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `INSERT INTO tenants (id, name) VALUES ($1, $2) RETURNING plan, created_at`,
			uuidOf(t.ID), name).Scan(&t.Plan, &t.CreatedAt)
		if isCode(err, uniqueViolation) {
			return ErrConflict
		}
		if err != nil {
			return err
		}
		return audit(ctx, tx, t.ID, "owner", "tenant.create", t.ID.String())
	})
	if err != nil {
		return Tenant{}, fmt.Errorf("create tenant %q: %w", name, err)
	}
	return t, nil
}

// ListTenants lists all tenants, the oldest first.
func (s *Store) ListTenants(ctx context.Context) ([]Tenant, error) {
	var out []Tenant
	err := within(ctx, s.owner, "begin read only", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT id, name, plan, disabled_at, created_at FROM tenants ORDER BY created_at, id`)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (Tenant, error) {
			var t Tenant
			var id pgtype.UUID
			err := r.Scan(&id, &t.Name, &t.Plan, &t.DisabledAt, &t.CreatedAt)
			t.ID = id.Bytes
			return t, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	return out, nil
}

// DisableTenant stops all keys of a tenant from working, or lets them work again.
func (s *Store) DisableTenant(ctx context.Context, tenant schemas.ID, disabled bool) error {
	err := within(ctx, s.owner, "begin", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE tenants SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, now()) END WHERE id = $1`,
			uuidOf(tenant), disabled)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrNotFound
		}
		return audit(ctx, tx, tenant, "owner", map[bool]string{true: "tenant.disable", false: "tenant.enable"}[disabled], tenant.String())
	})
	if err != nil {
		return fmt.Errorf("disable tenant: %w", err)
	}
	return nil
}

// CreateKey makes an API key. plaintext is the key itself: it is shown once and
// stored nowhere.
func (s *Store) CreateKey(ctx context.Context, tenant schemas.ID, keyScopes []string, o KeyOptions) (plaintext string, k Key, err error) {
	if len(s.cfg.Pepper) < 32 {
		return "", Key{}, errors.New("create key: the pepper has less than 32 bytes")
	}
	if o.Env == "" {
		o.Env = "live"
	}
	if o.Env != "live" && o.Env != "dev" {
		return "", Key{}, fmt.Errorf("create key: unknown environment %q", o.Env)
	}
	if len(keyScopes) == 0 {
		return "", Key{}, errors.New("create key: no scope")
	}
	for _, sc := range keyScopes {
		if !slices.Contains(scopes, sc) {
			return "", Key{}, fmt.Errorf("create key: unknown scope %q", sc)
		}
	}
	plaintext, keyID, hash := apikey.New(o.Env, s.cfg.Pepper)
	_, secret, err := apikey.Parse(plaintext)
	if err != nil {
		return "", Key{}, fmt.Errorf("create key: %w", err)
	}
	k = Key{KeyID: keyID, TenantID: tenant, Name: o.Name, Env: o.Env, Scopes: keyScopes}
	if !o.ExpiresAt.IsZero() {
		k.ExpiresAt = &o.ExpiresAt
	}
	err = within(ctx, s.owner, "begin", func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `INSERT INTO api_keys (key_id, tenant_id, name, env, hash, pepper_version, scopes, expires_at, edge_hash)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING created_at`,
			keyID, uuidOf(tenant), o.Name, o.Env, hash, s.cfg.PepperVersion, keyScopes, k.ExpiresAt,
			edge.Hash(s.cfg.Pepper, secret)).Scan(&k.CreatedAt)
		if isCode(err, "23503") { // foreign_key_violation
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		return audit(ctx, tx, tenant, "owner", "key.create", keyID)
	})
	if err != nil {
		return "", Key{}, fmt.Errorf("create key: %w", err)
	}
	return plaintext, k, nil
}

// LookupKey finds what a key id must be checked against; ErrNotFound for an unknown one.
// It does not judge: expiry, revocation and the tenant's state are the caller's to compare.
func (s *Store) LookupKey(ctx context.Context, keyID string) (KeyRecord, error) {
	if s.app == nil {
		return KeyRecord{}, fmt.Errorf("look up key: %w", ErrNoRole)
	}
	var k KeyRecord
	var tenant pgtype.UUID
	err := s.app.QueryRow(ctx, `SELECT key_id, tenant_id, hash, pepper_version, scopes, expires_at, revoked_at, disabled_at, edge_hash
		FROM lookup_api_key($1)`, keyID).
		Scan(&k.KeyID, &tenant, &k.Hash, &k.PepperVersion, &k.Scopes, &k.ExpiresAt, &k.RevokedAt, &k.DisabledAt, &k.EdgeHash)
	if err != nil {
		return KeyRecord{}, fmt.Errorf("look up key: %w", orNotFound(err))
	}
	k.TenantID = tenant.Bytes
	return k, nil
}

// RevokeKey ends a key for ever. Revoking twice keeps the first instant.
func (s *Store) RevokeKey(ctx context.Context, tenant schemas.ID, keyID string) error {
	err := within(ctx, s.owner, "begin", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE tenant_id = $1 AND key_id = $2`,
			uuidOf(tenant), keyID)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrNotFound
		}
		return audit(ctx, tx, tenant, "owner", "key.revoke", keyID)
	})
	if err != nil {
		return fmt.Errorf("revoke key: %w", err)
	}
	return nil
}

// ListKeys lists a tenant's keys, the newest first.
func (s *Store) ListKeys(ctx context.Context, tenant schemas.ID) ([]Key, error) {
	var out []Key
	err := within(ctx, s.owner, "begin read only", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT key_id, name, env, scopes, created_at, expires_at, revoked_at
			FROM api_keys WHERE tenant_id = $1 ORDER BY created_at DESC, key_id`, uuidOf(tenant))
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (Key, error) {
			k := Key{TenantID: tenant}
			err := r.Scan(&k.KeyID, &k.Name, &k.Env, &k.Scopes, &k.CreatedAt, &k.ExpiresAt, &k.RevokedAt)
			return k, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return out, nil
}

// audit records who did what; in the transaction of the deed.
func audit(ctx context.Context, tx pgx.Tx, tenant schemas.ID, actor, action, subject string) error {
	_, err := tx.Exec(ctx, `INSERT INTO audit_log (tenant_id, actor, action, subject) VALUES ($1, $2, $3, $4)`,
		uuidOf(tenant), actor, action, subject)
	if err != nil {
		return fmt.Errorf("write audit log: %w", err)
	}
	return nil
}
