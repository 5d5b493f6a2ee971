package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/apikey"
)

// errUnauthorized is the same for a key that is malformed, unknown, wrong, revoked
// or expired: an attacker learns nothing from the difference.
var errUnauthorized = errors.New("key is not valid")

// authenticator verifies API keys. Records are believed for a few seconds, so
// that a revocation acts fast and the store is asked seldom.
type authenticator struct {
	keys   Keys
	pepper []byte
	ttl    time.Duration
	grace  time.Duration
	wall   func() time.Time
	flight singleflight.Group
	dummy  []byte // compared with when there is no record: the same work
	// strangers bounds the look-ups of ids that are not known: anyone can invent
	// them, and they must not keep the store from answering for real keys.
	strangers chan struct{}

	mu    sync.Mutex
	known map[string]knownKey
	used  map[string]time.Time // since it was written last
	// proven are keys whose secret was found right, by the SHA-256 of the whole key:
	// the HMAC of a sensor that sends each second need not be made each second.
	proven map[[sha256.Size]byte]proof
}

type proof struct {
	id   string
	hash []byte // of the record that it was compared with
}

// maxProven bounds the proofs; only valid keys make one.
const maxProven = 100_000

type knownKey struct {
	record KeyRecord
	absent bool
	asked  time.Time
}

// maxKnownKeys bounds the cache: ids that nobody has made can be sent for ever.
const maxKnownKeys = 100_000

func newAuthenticator(keys Keys, cfg *Config, wall func() time.Time) *authenticator {
	dummy := sha256.Sum256([]byte("no such key"))
	return &authenticator{keys: keys, pepper: []byte(cfg.Pepper), ttl: cfg.KeyTTL, grace: cfg.KeyGrace, wall: wall, dummy: dummy[:],
		strangers: make(chan struct{}, 8), known: map[string]knownKey{}, used: map[string]time.Time{}, proven: map[[sha256.Size]byte]proof{}}
}

// verify returns the record of a presented key, errUnauthorized, or why the store could not be asked.
func (a *authenticator) verify(ctx context.Context, presented string) (KeyRecord, error) {
	whole := sha256.Sum256([]byte(presented))
	a.mu.Lock()
	before, ok := a.proven[whole]
	a.mu.Unlock()
	if ok {
		k, err := a.lookup(ctx, before.id)
		if err != nil {
			return KeyRecord{}, err
		}
		if a.inForce(k) && bytes.Equal(k.record.Hash, before.hash) {
			return k.record, nil
		}
	}
	id, secret, err := apikey.Parse(presented)
	if err != nil {
		return KeyRecord{}, errUnauthorized
	}
	k, err := a.lookup(ctx, id)
	if err != nil {
		return KeyRecord{}, err
	}
	hash := k.record.Hash
	if k.absent || len(hash) == 0 {
		hash = a.dummy
	}
	if valid := apikey.Verify(a.pepper, secret, hash); !valid || !a.inForce(k) {
		return KeyRecord{}, errUnauthorized
	}
	a.mu.Lock()
	if len(a.proven) >= maxProven {
		clear(a.proven)
	}
	a.proven[whole] = proof{id, hash}
	a.mu.Unlock()
	return k.record, nil
}

// current is the record of a key that was verified before, if it is still in force.
func (a *authenticator) current(ctx context.Context, id string) (KeyRecord, error) {
	k, err := a.lookup(ctx, id)
	if err != nil {
		return KeyRecord{}, err
	}
	if !a.inForce(k) {
		return KeyRecord{}, errUnauthorized
	}
	return k.record, nil
}

func (a *authenticator) inForce(k knownKey) bool {
	expired := !k.record.ExpiresAt.IsZero() && !a.wall().Before(k.record.ExpiresAt)
	return !k.absent && !k.record.Revoked && !expired
}

func (a *authenticator) lookup(ctx context.Context, id string) (knownKey, error) {
	a.mu.Lock()
	k, ok := a.known[id]
	a.mu.Unlock()
	if ok && a.wall().Sub(k.asked) < a.ttl {
		return k, nil
	}
	fresh, err, _ := a.flight.Do(id, func() (any, error) {
		// The look-up serves all who wait for it, so the first one's leaving must not end it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if !ok || k.absent {
			select {
			case a.strangers <- struct{}{}:
				defer func() { <-a.strangers }()
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		asked := a.wall()
		record, err := a.keys.LookupKey(ctx, id)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		fresh := knownKey{record, err != nil, asked}
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(a.known) >= maxKnownKeys {
			maps.DeleteFunc(a.known, func(_ string, k knownKey) bool { return k.absent || a.wall().Sub(k.asked) > a.grace })
		}
		a.known[id] = fresh
		return fresh, nil
	})
	if err == nil {
		return fresh.(knownKey), nil
	}
	// While the store is away nobody can revoke a key in it either.
	if ok && a.wall().Sub(k.asked) < a.grace {
		return k, nil
	}
	return knownKey{}, err
}

// presentedKey finds the key of a request: X-API-Key, or Authorization: Bearer.
func presentedKey(r *http.Request) string {
	if k := r.Header.Get("X-API-Key"); k != "" {
		return k
	}
	scheme, k, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(k)
	}
	return ""
}

// TenantFrom names the tenant of an authenticated request.
func TenantFrom(ctx context.Context) (schemas.ID, bool) {
	if about := aboutFrom(ctx); about != nil && about.authenticated {
		return about.key.TenantID, true
	}
	return schemas.ID{}, false
}

// keyFrom is the key of a request behind authenticated.
func keyFrom(r *http.Request) KeyRecord {
	if about := aboutFrom(r.Context()); about != nil {
		return about.key
	}
	return KeyRecord{}
}

// allows says whether the key has a scope; admin may read.
func (k KeyRecord) allows(scope string) bool {
	return slices.Contains(k.Scopes, scope) || scope == ScopeRead && slices.Contains(k.Scopes, ScopeAdmin)
}

// authenticated lets a request pass whose key has the scope: the key itself, or
// a session that stands for it.
func (s *Server) authenticated(scope string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var key KeyRecord
		var err error
		var p *problem
		if presented := presentedKey(r); presented != "" {
			key, err = s.auth.verify(r.Context(), presented)
		} else if id, _, ok := s.sessionOf(r); ok {
			if key, err = s.auth.current(r.Context(), id); err == nil {
				p = s.crossSite(r)
			}
		} else {
			err = errUnauthorized
		}
		if p == nil {
			p = s.keyProblem(key, scope, err)
		}
		if p == nil {
			p = s.quota.request(key)
			s.quota.say(w.Header(), key, false)
			if p != nil {
				s.refusals.hold(r.Context(), key.TenantID)
			}
		}
		if p != nil {
			s.problem(w, r, p)
			return
		}
		s.auth.note(key.KeyID)
		about := aboutFrom(r.Context())
		about.key, about.authenticated = key, true
		if scope == ScopeAdmin { // what changes something is told to the audit log
			r = r.WithContext(schemas.WithActor(r.Context(), schemas.KeyActor(key.KeyID, about.id)))
		}
		next.ServeHTTP(w, r)
	})
}

// keyProblem says why a key, or the attempt to look it up, does not open a scope.
func (s *Server) keyProblem(key KeyRecord, scope string, err error) *problem {
	switch {
	case errors.Is(err, errUnauthorized):
		return newProblem(http.StatusUnauthorized, "unauthorized", "send a valid API key in X-API-Key, or sign in").
			header("WWW-Authenticate", `Bearer realm="edgepulse"`)
	case err != nil:
		s.logger.Error("look up api key failed", "error", err)
		return newProblem(http.StatusServiceUnavailable, "keys_unavailable", "API keys can't be verified now").retry(2)
	case key.TenantDisabled:
		return newProblem(http.StatusForbidden, "tenant_disabled", "this tenant is disabled")
	case !key.allows(scope):
		return newProblem(http.StatusForbidden, "missing_scope", "this key does not have the scope "+scope)
	}
	return nil
}
