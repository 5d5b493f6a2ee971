package store

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
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
	// DevicePattern is a glob over the devices that the key may write; empty = any.
	DevicePattern string
	LastUsedAt    *time.Time
}

// KeyOptions are the optional parts of a new key.
type KeyOptions struct {
	Env       string // "live" or "dev"; default live
	Name      string
	ExpiresAt time.Time // zero = never
	// DevicePattern is a glob over the devices that the key may write; empty = any.
	DevicePattern string
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
	DevicePattern string     // glob; empty = any
	Plan          string     // of the tenant
	// Limits of the plan; nil = unbounded.
	PointsPerMonth, PointsPerSecond, RequestsPerSecond, MaxMetrics *int64
}

// CreateTenant makes a tenant on the default plan. ErrConflict: the name is taken.
func (s *Store) CreateTenant(ctx context.Context, name string) (Tenant, error) {
	return s.CreateTenantOn(ctx, name, "")
}

// CreateTenantOn makes a tenant on a plan; empty = the default one.
func (s *Store) CreateTenantOn(ctx context.Context, name, plan string) (Tenant, error) {
	t := Tenant{ID: schemas.NewID(), Name: name}
	err := within(ctx, s.owner, "begin", func(tx pgx.Tx) error {
		return audited(ctx, tx, deed{t.ID, "owner", "tenant.create", "tenant", t.ID.String()}, func() error {
			err := tx.QueryRow(ctx, `INSERT INTO tenants (id, name, plan) VALUES ($1, $2, coalesce(nullif($3, ''), 'default')) RETURNING plan, created_at`,
				uuidOf(t.ID), name, plan).Scan(&t.Plan, &t.CreatedAt)
			switch {
			case isCode(err, uniqueViolation):
				return ErrConflict
			case isCode(err, foreignKeyViolation):
				return fmt.Errorf("%w: there is no plan %q", ErrInvalid, plan)
			}
			return err
		})
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
	_, err := s.ChangeTenant(ctx, tenant, nil, &disabled)
	return err
}

// SetTenantPlan moves a tenant to a plan.
func (s *Store) SetTenantPlan(ctx context.Context, tenant schemas.ID, plan string) error {
	_, err := s.ChangeTenant(ctx, tenant, &plan, nil)
	return err
}

// ChangeTenant moves a tenant to a plan, and disables or enables it; nil leaves
// either as it is. What a tenant has beyond the limits of a new plan stays, and
// grows no more; what a disabled one has stays too.
func (s *Store) ChangeTenant(ctx context.Context, tenant schemas.ID, plan *string, disabled *bool) (t Tenant, err error) {
	err = within(ctx, s.owner, "begin", func(tx pgx.Tx) error {
		if plan != nil {
			d := deed{tenant, "owner", "tenant.set_plan", "tenant", tenant.String()}
			if err := changeTenant(ctx, tx, d, `plan = $2`, *plan); err != nil {
				return err
			}
		}
		if disabled != nil {
			action := map[bool]string{true: "tenant.disable", false: "tenant.enable"}[*disabled]
			d := deed{tenant, "owner", action, "tenant", tenant.String()}
			if err := changeTenant(ctx, tx, d, `disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, now()) END`, *disabled); err != nil {
				return err
			}
		}
		t.ID = tenant
		return orNotFound(tx.QueryRow(ctx, `SELECT name, plan, disabled_at, created_at FROM tenants WHERE id = $1`, uuidOf(tenant)).
			Scan(&t.Name, &t.Plan, &t.DisabledAt, &t.CreatedAt))
	})
	if err != nil {
		return Tenant{}, fmt.Errorf("change tenant: %w", err)
	}
	return t, nil
}

func changeTenant(ctx context.Context, tx pgx.Tx, d deed, set string, value any) error {
	return audited(ctx, tx, d, func() error {
		tag, err := tx.Exec(ctx, `UPDATE tenants SET `+set+` WHERE id = $1`, uuidOf(d.tenant), value)
		if isCode(err, foreignKeyViolation) {
			return fmt.Errorf("%w: there is no plan %q", ErrInvalid, value)
		}
		if err == nil && tag.RowsAffected() == 0 {
			return ErrNotFound
		}
		return err
	})
}

// maxKeys bounds the keys of a tenant that are not revoked.
const maxKeys = 1000

// CreateKey makes an API key. plaintext is the key itself: it is shown once and
// stored nowhere.
func (s *Store) CreateKey(ctx context.Context, tenant schemas.ID, keyScopes []string, o KeyOptions) (plaintext string, k Key, err error) {
	err = s.account(ctx, tenant, func(tx pgx.Tx) error {
		plaintext, k, err = s.insertKey(ctx, tx, tenant, keyScopes, o)
		return err
	})
	if err != nil {
		return "", Key{}, fmt.Errorf("create key: %w", err)
	}
	return plaintext, k, nil
}

// account runs fn on keys: through the role that row-level security binds when a
// tenant acts, as owner of the schema otherwise.
func (s *Store) account(ctx context.Context, tenant schemas.ID, fn func(pgx.Tx) error) error {
	if a, ok := schemas.ActorFrom(ctx); ok && a.OfTenant() {
		return s.write(ctx, tenant, fn)
	}
	return within(ctx, s.owner, "begin", fn)
}

func (s *Store) insertKey(ctx context.Context, tx pgx.Tx, tenant schemas.ID, keyScopes []string, o KeyOptions) (string, Key, error) {
	if len(s.cfg.Pepper) < 32 {
		return "", Key{}, errors.New("the pepper has less than 32 bytes")
	}
	if o.Env == "" {
		o.Env = "live"
	}
	if o.Env != "live" && o.Env != "dev" {
		return "", Key{}, fmt.Errorf("%w: unknown environment %q", ErrInvalid, o.Env)
	}
	if len(keyScopes) == 0 {
		return "", Key{}, fmt.Errorf("%w: no scope", ErrInvalid)
	}
	for _, sc := range keyScopes {
		if !slices.Contains(scopes, sc) {
			return "", Key{}, fmt.Errorf("%w: unknown scope %q", ErrInvalid, sc)
		}
	}
	if _, err := path.Match(o.DevicePattern, ""); err != nil {
		return "", Key{}, fmt.Errorf("%w: device pattern %q is no glob", ErrInvalid, o.DevicePattern)
	}
	plaintext, keyID, hash := apikey.New(o.Env, s.cfg.Pepper)
	_, secret, err := apikey.Parse(plaintext)
	if err != nil {
		return "", Key{}, err
	}
	k := Key{KeyID: keyID, TenantID: tenant, Name: o.Name, Env: o.Env, Scopes: keyScopes, DevicePattern: o.DevicePattern}
	if !o.ExpiresAt.IsZero() {
		k.ExpiresAt = &o.ExpiresAt
	}
	var n int64
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM api_keys WHERE tenant_id = $1 AND revoked_at IS NULL`, uuidOf(tenant)).Scan(&n); err != nil {
		return "", Key{}, err
	}
	if n >= maxKeys {
		return "", Key{}, &LimitError{What: "keys", Most: maxKeys}
	}
	err = audited(ctx, tx, deed{tenant, "owner", "key.create", "key", keyID}, func() error {
		err := tx.QueryRow(ctx, `INSERT INTO api_keys (key_id, tenant_id, name, env, hash, pepper_version, scopes, expires_at, edge_hash, device_pattern)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING created_at`,
			keyID, uuidOf(tenant), o.Name, o.Env, hash, s.cfg.PepperVersion, keyScopes, k.ExpiresAt,
			edge.Hash(s.cfg.Pepper, secret), o.DevicePattern).Scan(&k.CreatedAt)
		if isCode(err, foreignKeyViolation) {
			return ErrNotFound
		}
		return err
	})
	return plaintext, k, err
}

// RotateKey makes a key like the one named, which works for overlap more and then
// never again. A key that does not work any more can't be rotated: ErrNotFound.
func (s *Store) RotateKey(ctx context.Context, tenant schemas.ID, keyID string, overlap time.Duration) (plaintext string, k, old Key, err error) {
	err = s.account(ctx, tenant, func(tx pgx.Tx) error {
		return audited(ctx, tx, deed{tenant, "owner", "key.rotate", "key", keyID}, func() error {
			old, err = scanKey(tenant)(tx.QueryRow(ctx, `UPDATE api_keys k SET expires_at = least(k.expires_at, now() + $3::interval)
				WHERE tenant_id = $1 AND key_id = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
				RETURNING `+keyColumns, uuidOf(tenant), keyID, overlap))
			if err != nil {
				return orNotFound(err)
			}
			plaintext, k, err = s.insertKey(ctx, tx, tenant, old.Scopes, KeyOptions{Env: old.Env, Name: old.Name, DevicePattern: old.DevicePattern})
			return err
		})
	})
	if err != nil {
		return "", Key{}, Key{}, fmt.Errorf("rotate key: %w", err)
	}
	return plaintext, k, old, nil
}

// LookupKey finds what a key id must be checked against; ErrNotFound for an unknown one.
// It does not judge: expiry, revocation and the tenant's state are the caller's to compare.
func (s *Store) LookupKey(ctx context.Context, keyID string) (KeyRecord, error) {
	if s.app == nil {
		return KeyRecord{}, fmt.Errorf("look up key: %w", ErrNoRole)
	}
	var k KeyRecord
	var tenant pgtype.UUID
	err := s.app.QueryRow(ctx, `SELECT key_id, tenant_id, hash, pepper_version, scopes, expires_at, revoked_at, disabled_at, edge_hash,
		device_pattern, plan, points_per_month, points_per_second, requests_per_second, max_metrics FROM lookup_api_key($1)`, keyID).
		Scan(&k.KeyID, &tenant, &k.Hash, &k.PepperVersion, &k.Scopes, &k.ExpiresAt, &k.RevokedAt, &k.DisabledAt, &k.EdgeHash,
			&k.DevicePattern, &k.Plan, &k.PointsPerMonth, &k.PointsPerSecond, &k.RequestsPerSecond, &k.MaxMetrics)
	if err != nil {
		return KeyRecord{}, fmt.Errorf("look up key: %w", orNotFound(err))
	}
	k.TenantID = tenant.Bytes
	return k, nil
}

// NoteKeyUses records when keys were used last; of unknown ones it keeps nothing.
func (s *Store) NoteKeyUses(ctx context.Context, uses map[string]time.Time) error {
	if s.app == nil {
		return fmt.Errorf("note uses of keys: %w", ErrNoRole)
	}
	ids, at := make([]string, 0, len(uses)), make([]time.Time, 0, len(uses))
	for id, t := range uses {
		ids, at = append(ids, id), append(at, t)
	}
	if _, err := s.app.Exec(ctx, `SELECT note_key_uses($1, $2)`, ids, at); err != nil {
		return fmt.Errorf("note uses of keys: %w", err)
	}
	return nil
}

// RevokeKey ends a key for ever. Revoking twice keeps the first instant.
func (s *Store) RevokeKey(ctx context.Context, tenant schemas.ID, keyID string) error {
	err := s.account(ctx, tenant, func(tx pgx.Tx) error {
		return audited(ctx, tx, deed{tenant, "owner", "key.revoke", "key", keyID}, func() error {
			tag, err := tx.Exec(ctx, `UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE tenant_id = $1 AND key_id = $2`,
				uuidOf(tenant), keyID)
			if err == nil && tag.RowsAffected() == 0 {
				return ErrNotFound
			}
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("revoke key: %w", err)
	}
	return nil
}

const keyColumns = `k.key_id, k.name, k.env, k.scopes, k.device_pattern, k.created_at, k.expires_at, k.revoked_at,
	(SELECT u.last_used_at FROM api_key_uses u WHERE u.key_id = k.key_id)`

func scanKey(tenant schemas.ID) func(pgx.Row) (Key, error) {
	return func(r pgx.Row) (Key, error) {
		k := Key{TenantID: tenant}
		err := r.Scan(&k.KeyID, &k.Name, &k.Env, &k.Scopes, &k.DevicePattern, &k.CreatedAt, &k.ExpiresAt, &k.RevokedAt, &k.LastUsedAt)
		return k, err
	}
}

// ListKeys lists a tenant's keys, the newest first; for the owner.
func (s *Store) ListKeys(ctx context.Context, tenant schemas.ID) ([]Key, error) {
	var out []Key
	err := within(ctx, s.owner, "begin read only", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT `+keyColumns+` FROM api_keys k WHERE tenant_id = $1 ORDER BY created_at DESC, key_id`, uuidOf(tenant))
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (Key, error) { return scanKey(tenant)(r) })
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return out, nil
}

// KeyPage lists a tenant's keys for the tenant, the newest first.
func (s *Store) KeyPage(ctx context.Context, tenant schemas.ID, pr api.PageRequest) (api.Page[Key], error) {
	var out api.Page[Key]
	p, err := readPage("keys", pr, maxLimit)
	if err != nil {
		return out, err
	}
	var q query
	q.add(`SELECT `+keyColumns+` FROM api_keys k WHERE k.tenant_id = ?`, uuidOf(tenant))
	if p.after != nil {
		q.add(" AND (k.created_at, k.key_id) < (?, ?)", p.after.time(), p.after.Dead)
	}
	q.add(" ORDER BY k.created_at DESC, k.key_id DESC")
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		out, err = collect(ctx, tx, &q, p, func(r pgx.Row, c *cursor) (Key, error) {
			k, err := scanKey(tenant)(r)
			*c = cursor{List: "keys", TS: k.CreatedAt.UnixMicro(), Dead: k.KeyID}
			return k, err
		})
		return err
	})
	if err != nil {
		return out, fmt.Errorf("list keys: %w", err)
	}
	return out, nil
}

// FindKey finds one of a tenant's keys.
func (s *Store) FindKey(ctx context.Context, tenant schemas.ID, keyID string) (k Key, err error) {
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		k, err = scanKey(tenant)(tx.QueryRow(ctx, `SELECT `+keyColumns+` FROM api_keys k WHERE k.tenant_id = $1 AND k.key_id = $2`, uuidOf(tenant), keyID))
		return orNotFound(err)
	})
	if err != nil {
		return k, fmt.Errorf("find key: %w", err)
	}
	return k, nil
}
