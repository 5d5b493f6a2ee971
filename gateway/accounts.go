package gateway

import (
	"context"
	"encoding/csv"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// Accounts answers what a tenant may know and change about itself: keys, usage,
// audit log. The actor of a change is in the context (schemas.ActorFrom).
type Accounts interface {
	ListKeys(ctx context.Context, tenant schemas.ID, p api.PageRequest) (api.Page[api.Key], error)
	GetKey(ctx context.Context, tenant schemas.ID, id string) (api.Key, error)
	// CreateKey answers with the key itself, this once.
	CreateKey(ctx context.Context, tenant schemas.ID, key api.Key) (api.Key, error)
	// RotateKey makes a key like the one named, which works for overlap more.
	RotateKey(ctx context.Context, tenant schemas.ID, id string, overlap time.Duration) (api.Rotated, error)
	RevokeKey(ctx context.Context, tenant schemas.ID, id string) error

	// Usage answers the days from first to last, both included, and the tenant's plan.
	Usage(ctx context.Context, tenant schemas.ID, first, last time.Time) (api.Usage, error)
	Audit(ctx context.Context, tenant schemas.ID, p api.PageRequest) (api.Page[api.AuditEntry], error)
}

// accountRoutes are there where somebody answers them.
func (s *Server) accountRoutes(with func(scope, pattern string, h http.HandlerFunc)) {
	if s.deps.Accounts == nil {
		return
	}
	with(ScopeAdmin, "GET /v1/keys", s.handleKeys)
	with(ScopeAdmin, "POST /v1/keys", s.handleCreateKey)
	with(ScopeAdmin, "GET /v1/keys/{id}", s.handleKey)
	with(ScopeAdmin, "POST /v1/keys/{id}/rotate", s.handleRotateKey)
	with(ScopeAdmin, "DELETE /v1/keys/{id}", s.handleRevokeKey)
	with(ScopeRead, "GET /v1/usage", s.handleUsage)
	with(ScopeAdmin, "GET /v1/audit", s.handleAudit)
}

func (s *Server) handleKeys(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "limit", "cursor")
	req := p.page(pageDefault, pageMost)
	answerPage(s, w, r, p, func() (api.Page[api.Key], error) {
		return s.deps.Accounts.ListKeys(r.Context(), keyFrom(r).TenantID, req)
	})
}

func (s *Server) handleKey(w http.ResponseWriter, r *http.Request) {
	answerOne(s, w, r, func() (api.Key, error) {
		return s.deps.Accounts.GetKey(r.Context(), keyFrom(r).TenantID, r.PathValue("id"))
	})
}

func (s *Server) handleCreateKey(w http.ResponseWriter, r *http.Request) {
	var key api.Key
	if !s.readJSON(w, r, &key) {
		return
	}
	if p := keyFault(key, s.auth.wall()); p != nil {
		s.problem(w, r, p)
		return
	}
	key, err := s.deps.Accounts.CreateKey(r.Context(), keyFrom(r).TenantID, key)
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	w.Header().Set("Location", "/v1/keys/"+key.ID)
	s.writeJSON(w, r, http.StatusCreated, key)
}

var keyScopes = []string{ScopeIngest, ScopeBackfill, ScopeRead, ScopeAdmin}

// keyFault checks a key as a client sends it.
func keyFault(key api.Key, now time.Time) *problem {
	c := &checker{}
	c.that(key.ID == "" && key.Key == "" && key.State == "" && key.CreatedAt == nil && key.RevokedAt == nil && key.LastUsedAt == nil, "", "read_only",
		"id, key, state, created_at, revoked_at and last_used_at are set by the server")
	c.text("/name", key.Name, 128)
	c.that(len(key.Scopes) > 0, "/scopes", "missing_field", "at least one scope is required")
	for i, scope := range key.Scopes {
		at := "/scopes/" + strconv.Itoa(i)
		c.that(slices.Contains(keyScopes, scope), at, "out_of_range", "expected one of "+strings.Join(keyScopes, ", "))
		c.that(!slices.Contains(key.Scopes[:i], scope), at, "duplicate", "a scope is named once")
	}
	c.pattern("/device_pattern", key.DevicePattern)
	c.oneOf("/env", key.Env, []string{"live", "dev"})
	c.that(key.ExpiresAt == nil || key.ExpiresAt.After(now), "/expires_at", "out_of_range", "expected an instant in the future")
	return c.problem()
}

// Bounds of the time in which a rotated key still works.
const (
	defaultOverlap = 24 * time.Hour
	maxOverlap     = 30 * 24 * time.Hour
)

func (s *Server) handleRotateKey(w http.ResponseWriter, r *http.Request) {
	in := api.Rotation{Overlap: defaultOverlap.String()}
	if r.ContentLength != 0 && !s.readJSON(w, r, &in) {
		return
	}
	overlap, err := time.ParseDuration(in.Overlap)
	if err != nil || overlap < 0 || overlap > maxOverlap {
		s.problem(w, r, invalid("/overlap", "bad_duration", "expected a duration from 0s to 720h, such as 90s, 5m or 24h"))
		return
	}
	out, err := s.deps.Accounts.RotateKey(r.Context(), keyFrom(r).TenantID, r.PathValue("id"), overlap)
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	w.Header().Set("Location", "/v1/keys/"+out.Key.ID)
	s.writeJSON(w, r, http.StatusCreated, out)
}

func (s *Server) handleRevokeKey(w http.ResponseWriter, r *http.Request) {
	if err := s.deps.Accounts.RevokeKey(r.Context(), keyFrom(r).TenantID, r.PathValue("id")); err != nil {
		s.queryFailed(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// maxUsageDays bounds a range of usage.
const maxUsageDays = 400

// days reads from and to, both days and both included; by default this month.
func (s *Server) days(p *params) (first, last time.Time) {
	now := time.UnixMicro(s.clock.Now()).UTC()
	first, last = time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC), now.Truncate(24*time.Hour)
	read := func(name string, to *time.Time) {
		v := p.text(name)
		if v == "" {
			return
		}
		t, err := time.Parse(time.DateOnly, v)
		if err != nil {
			p.refuse(name, "expected a day such as 2026-11-27, got "+strconv.Quote(v))
			return
		}
		*to = t
	}
	read("from", &first)
	read("to", &last)
	switch {
	case last.Before(first):
		p.refuse("to", "expected a day not before from")
	case last.Sub(first) > maxUsageDays*24*time.Hour:
		p.refuse("to", "expected at most "+strconv.Itoa(maxUsageDays)+" days")
	}
	return first, last
}

func (s *Server) handleUsage(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "from", "to", "format")
	first, last := s.days(p)
	format := p.oneOf("format", "json", "csv")
	if p.problem != nil {
		s.problem(w, r, p.problem)
		return
	}
	out, err := s.deps.Accounts.Usage(r.Context(), keyFrom(r).TenantID, first, last)
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	s.answerUsage(w, r, format, first, last, out)
}

func (s *Server) answerUsage(w http.ResponseWriter, r *http.Request, format string, first, last time.Time, out api.Usage) {
	if format == "csv" {
		h := w.Header()
		h.Set("Content-Type", "text/csv; charset=utf-8")
		h.Set("Content-Disposition", `attachment; filename="usage-`+first.Format(time.DateOnly)+"-"+last.Format(time.DateOnly)+`.csv"`)
		h.Set("Cache-Control", "no-store")
		if err := csv.NewWriter(w).WriteAll(api.UsageRecords(out.Data)); err != nil {
			s.logger.Debug("write answer failed", "error", err) // the client is gone
		}
		return
	}
	out.From, out.To = first.Format(time.DateOnly), last.Format(time.DateOnly)
	if out.Data == nil {
		out.Data = []api.UsageDay{}
	}
	for _, d := range out.Data {
		out.Total.Add(d.Used)
	}
	s.writeJSON(w, r, http.StatusOK, out)
}

func (s *Server) handleAudit(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "limit", "cursor")
	req := p.page(pageDefault, pageMost)
	answerPage(s, w, r, p, func() (api.Page[api.AuditEntry], error) {
		return s.deps.Accounts.Audit(r.Context(), keyFrom(r).TenantID, req)
	})
}
