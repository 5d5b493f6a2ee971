package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/edgepulse/edgepulse/schemas"
)

// ErrDestroyed says that a tenant's data key is no more.
var ErrDestroyed = errors.New("data key was destroyed")

// DataKey is a tenant's key for its entries in the archive.
type DataKey struct {
	ID  schemas.ID
	Key [32]byte
}

// keyMemory is how long a data key is believed to be there: a destruction is
// seen after this time at the latest.
const keyMemory = 5 * time.Second

// DataKeys opens and makes data keys. Safe for use by several goroutines.
type DataKeys struct {
	s      *Store
	tenant schemas.ID // Nil = the writer, which sees all
	mu     sync.Mutex
	known  map[schemas.ID]knownKey // by tenant and by key id
}

type knownKey struct {
	key DataKey
	err error
	at  time.Time
}

// DataKeys are the keys as the writer sees them; nil where this process has no
// secret key to unwrap them with.
func (s *Store) DataKeys() *DataKeys {
	if len(s.cfg.SecretKey) == 0 || s.writer == nil && s.owner == nil {
		return nil
	}
	return &DataKeys{s: s, known: map[schemas.ID]knownKey{}}
}

// DataKeysOf are the keys as the API's role sees them, for one tenant.
func (s *Store) DataKeysOf(tenant schemas.ID) *DataKeys {
	if len(s.cfg.SecretKey) == 0 || s.app == nil {
		return nil
	}
	return &DataKeys{s: s, tenant: tenant, known: map[schemas.ID]knownKey{}}
}

// Sealing finds or makes the key of a tenant; ErrDestroyed when it is no more.
func (k *DataKeys) Sealing(ctx context.Context, tenant schemas.ID) (DataKey, error) {
	return k.remembered(tenant, func() (DataKey, error) { return k.s.sealingKey(ctx, tenant) })
}

// Opening finds a key by its id; ErrDestroyed when it is no more.
func (k *DataKeys) Opening(ctx context.Context, id schemas.ID) (DataKey, error) {
	return k.remembered(id, func() (DataKey, error) { return k.openingKey(ctx, id) })
}

func (k *DataKeys) remembered(id schemas.ID, find func() (DataKey, error)) (DataKey, error) {
	k.mu.Lock()
	have, ok := k.known[id]
	k.mu.Unlock()
	if ok && time.Since(have.at) < keyMemory {
		return have.key, have.err
	}
	key, err := find()
	if err != nil && !errors.Is(err, ErrDestroyed) {
		return DataKey{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known[id] = knownKey{key, err, time.Now()}
	return key, err
}

func (k *DataKeys) openingKey(ctx context.Context, id schemas.ID) (DataKey, error) {
	const q = `SELECT key_id, wrapped FROM data_keys WHERE key_id = $1`
	if k.tenant != schemas.Nil {
		var out DataKey
		err := k.s.read(ctx, k.tenant, func(tx pgx.Tx) error {
			var err error
			out, err = k.s.scanDataKey(tx.QueryRow(ctx, q, uuidOf(id)))
			return err
		})
		return out, err
	}
	key, err := k.s.scanDataKey(k.s.keyPool().QueryRow(ctx, q, uuidOf(id)))
	if err != nil {
		return DataKey{}, fmt.Errorf("read data key %s: %w", id, err)
	}
	return key, nil
}

// keyPool is a role that sees every tenant's key.
func (s *Store) keyPool() *pgxpool.Pool {
	if s.writer != nil {
		return s.writer
	}
	return s.owner
}

func (s *Store) sealingKey(ctx context.Context, tenant schemas.ID) (DataKey, error) {
	const q = `SELECT key_id, wrapped FROM data_keys WHERE tenant_id = $1`
	pool := s.keyPool()
	key, err := s.scanDataKey(pool.QueryRow(ctx, q, uuidOf(tenant)))
	if errors.Is(err, ErrNotFound) {
		var made DataKey
		rand.Read(made.ID[:])
		made.ID[6], made.ID[8] = made.ID[6]&0x0f|0x40, made.ID[8]&0x3f|0x80 // a random UUID
		rand.Read(made.Key[:])
		wrapped, err := s.seal(made.Key[:], made.ID[:])
		if err != nil {
			return DataKey{}, err
		}
		// Another process may have been faster: then its key is the one.
		if _, err := pool.Exec(ctx, `INSERT INTO data_keys (key_id, tenant_id, wrapped) VALUES ($1, $2, $3) ON CONFLICT (tenant_id) DO NOTHING`,
			uuidOf(made.ID), uuidOf(tenant), wrapped); err != nil {
			return DataKey{}, fmt.Errorf("store data key: %w", err)
		}
		if key, err = s.scanDataKey(pool.QueryRow(ctx, q, uuidOf(tenant))); err != nil {
			return DataKey{}, fmt.Errorf("read data key: %w", err)
		}
		return key, nil
	}
	if err != nil {
		return DataKey{}, fmt.Errorf("read data key: %w", err)
	}
	return key, nil
}

func (s *Store) scanDataKey(row pgx.Row) (DataKey, error) {
	var id pgtype.UUID
	var wrapped []byte
	if err := row.Scan(&id, &wrapped); err != nil {
		return DataKey{}, orNotFound(err)
	}
	if wrapped == nil {
		return DataKey{}, ErrDestroyed
	}
	plain, err := s.open(wrapped, id.Bytes[:])
	if err != nil {
		return DataKey{}, err
	}
	if len(plain) != 32 {
		return DataKey{}, errors.New("open data key: it has a wrong length")
	}
	return DataKey{ID: id.Bytes, Key: [32]byte(plain)}, nil
}

// ErasedTenants are those whose data key was destroyed.
func (s *Store) ErasedTenants(ctx context.Context) ([]schemas.ID, error) {
	pool := s.keyPool()
	if pool == nil {
		return nil, nil
	}
	rows, err := pool.Query(ctx, `SELECT tenant_id FROM data_keys WHERE destroyed_at IS NOT NULL ORDER BY tenant_id`)
	if err != nil {
		return nil, fmt.Errorf("read erased tenants: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[pgtype.UUID])
	if err != nil {
		return nil, fmt.Errorf("read erased tenants: %w", err)
	}
	out := make([]schemas.ID, len(list))
	for i, u := range list {
		out[i] = u.Bytes
	}
	return out, nil
}
