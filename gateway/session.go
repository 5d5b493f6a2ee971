package gateway

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/edgepulse/edgepulse/schemas/api"
)

// A session is an API key seen through a browser: the cookie names the key and
// is sealed, and nothing about it is stored. The key's record is looked up with
// every request, so that a revoked key ends its sessions as soon as its requests.
const (
	sessionCookie = "edgepulse_session"
	sessionLife   = 12 * time.Hour
	sessionMAC    = sha256.Size
	// csrfHeader is what a page of another origin can't send without being asked first.
	csrfHeader = "X-EdgePulse-Request"
)

// sealer makes and reads the values of session cookies.
type sealer struct{ key []byte }

func newSealer(pepper string) sealer {
	key, err := hkdf.Key(sha256.New, []byte(pepper), nil, "edgepulse session cookie v1", sha256.Size)
	if err != nil {
		panic("derive session key: " + err.Error()) // only a wrong length could fail
	}
	return sealer{key}
}

func (s sealer) seal(keyID string, expires time.Time) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(expires.Unix()))
	b = append(b, keyID...)
	return base64.RawURLEncoding.EncodeToString(s.mac(b))
}

// mac appends the authentication code of b.
func (s sealer) mac(b []byte) []byte {
	m := hmac.New(sha256.New, s.key)
	m.Write(b)
	return m.Sum(b)
}

// open returns what seal was given; ok is false for anything that was not sealed
// here, or has expired.
func (s sealer) open(value string, now time.Time) (keyID string, expires time.Time, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(b) <= 8+sessionMAC {
		return "", time.Time{}, false
	}
	body := b[:len(b)-sessionMAC]
	if !hmac.Equal(s.mac(body[:len(body):len(body)]), b) {
		return "", time.Time{}, false
	}
	expires = time.Unix(int64(binary.BigEndian.Uint64(body)), 0).UTC()
	return string(body[8:]), expires, now.Before(expires)
}

// sessionOf reads the cookie of a request.
func (s *Server) sessionOf(r *http.Request) (keyID string, expires time.Time, ok bool) {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return "", time.Time{}, false
	}
	return s.sealer.open(c.Value, s.auth.wall())
}

// crossSite says why a request that comes with a cookie must not change anything:
// a browser adds cookies to what other sites make it send.
func (s *Server) crossSite(r *http.Request) *problem {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	if r.Header.Get(csrfHeader) != "1" {
		return newProblem(http.StatusForbidden, "csrf", "a session changes things only with the header "+csrfHeader+": 1")
	}
	return s.foreignOrigin(r)
}

// foreignOrigin compares Origin, where there is one, with the address of this service.
func (s *Server) foreignOrigin(r *http.Request) *problem {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	u, err := url.Parse(origin)
	if err == nil && u.Host != "" && strings.EqualFold(u.Host, s.publicHost(r)) {
		return nil
	}
	return newProblem(http.StatusForbidden, "csrf", "the request comes from a page of another origin")
}

// publicHost is where browsers reach this service.
func (s *Server) publicHost(r *http.Request) string {
	if s.publicURL != nil {
		return s.publicURL.Host
	}
	return r.Host
}

// secure tells whether the browser's side of the connection is encrypted.
func (s *Server) secure(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") || s.publicURL != nil && s.publicURL.Scheme == "https"
}

// handleSignIn exchanges an API key for a session.
func (s *Server) handleSignIn(w http.ResponseWriter, r *http.Request) {
	if p := s.foreignOrigin(r); p != nil { // nobody signs our users in as somebody else
		s.problem(w, r, p)
		return
	}
	refund, p := s.signIns.take(addressOf(r))
	if p != nil {
		s.problem(w, r, p)
		return
	}
	var body struct {
		APIKey string `json:"api_key"`
	}
	if !s.readJSON(w, r, &body) {
		return
	}
	key, err := s.auth.verify(r.Context(), body.APIKey)
	if p := s.keyProblem(key, ScopeRead, err); p != nil {
		s.problem(w, r, p)
		return
	}
	refund()
	expires := s.auth.wall().Add(sessionLife).UTC().Truncate(time.Second)
	if !key.ExpiresAt.IsZero() && key.ExpiresAt.Before(expires) {
		expires = key.ExpiresAt.UTC().Truncate(time.Second)
	}
	session, err := s.describe(r, key, expires)
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	s.setSession(w, r, s.sealer.seal(key.KeyID, expires), expires)
	s.writeJSON(w, r, http.StatusOK, session)
}

func (s *Server) describe(r *http.Request, key KeyRecord, expires time.Time) (api.Session, error) {
	session, err := s.deps.Queries.Identity(r.Context(), key.TenantID, key.KeyID)
	session.TenantID, session.KeyID, session.Scopes, session.ExpiresAt = key.TenantID.String(), key.KeyID, key.Scopes, expires
	return session, err
}

// handleSession says who is signed in. Asking with a key answers for the key.
func (s *Server) handleSession(w http.ResponseWriter, r *http.Request) {
	key := keyFrom(r)
	expires := key.ExpiresAt
	if presentedKey(r) == "" {
		_, expires, _ = s.sessionOf(r)
	}
	session, err := s.describe(r, key, expires)
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	s.writeJSON(w, r, http.StatusOK, session)
}

// handleSignOut clears the cookie. A copy of it works until it expires or the key
// is revoked: there is no list of sessions.
func (s *Server) handleSignOut(w http.ResponseWriter, r *http.Request) {
	if p := s.crossSite(r); p != nil {
		s.problem(w, r, p)
		return
	}
	s.setSession(w, r, "", time.Unix(1, 0))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) setSession(w http.ResponseWriter, r *http.Request, value string, expires time.Time) {
	c := &http.Cookie{Name: sessionCookie, Value: value, Path: "/", Expires: expires, HttpOnly: true, Secure: s.secure(r), SameSite: http.SameSiteStrictMode}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}
