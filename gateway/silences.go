package gateway

import (
	"net/http"
	"time"

	"github.com/edgepulse/edgepulse/schemas/api"
)

func (s *Server) handleSilences(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "active", "limit", "cursor")
	req := p.page(pageDefault, pageMost)
	var at time.Time
	if p.oneOf("active", "true", "false") == "true" {
		at = s.now()
	}
	answerPage(s, w, r, p, func() (api.Page[api.Silence], error) {
		return s.deps.Queries.ListSilences(r.Context(), keyFrom(r).TenantID, req, at)
	})
}

func (s *Server) handleSilence(w http.ResponseWriter, r *http.Request) {
	if id, ok := s.pathID(w, r); ok {
		v, err := s.deps.Queries.GetSilence(r.Context(), keyFrom(r).TenantID, id)
		s.answerSilence(w, r, http.StatusOK, v, err)
	}
}

func (s *Server) answerSilence(w http.ResponseWriter, r *http.Request, status int, v api.Silence, err error) {
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	w.Header().Set("ETag", etag(v.Version))
	if status == http.StatusCreated {
		w.Header().Set("Location", "/v1/silences/"+v.ID)
	}
	s.writeJSON(w, r, status, v)
}

func (s *Server) handleCreateSilence(w http.ResponseWriter, r *http.Request) {
	var v api.Silence
	once, ok := s.readJSONOnce(w, r, &v)
	if !ok {
		return
	}
	if p := silenceProblem(v); p != nil {
		s.problem(w, r, p)
		return
	}
	v, err := s.deps.Queries.CreateSilence(r.Context(), keyFrom(r).TenantID, v, once)
	s.answerSilence(w, r, http.StatusCreated, v, err)
}

// handlePatchSilence changes the fields that the body names (RFC 7396), as handlePatchRule does.
func (s *Server) handlePatchSilence(w http.ResponseWriter, r *http.Request) {
	id, ok := s.pathID(w, r)
	if !ok {
		return
	}
	want, p := ifMatch(r)
	if p != nil {
		s.problem(w, r, p)
		return
	}
	tenant := keyFrom(r).TenantID
	v, err := s.deps.Queries.GetSilence(r.Context(), tenant, id)
	if err == nil && want > 0 && want != v.Version {
		err = ErrVersion
	}
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	changed := v
	changed.ID, changed.Version, changed.CreatedAt, changed.UpdatedAt = "", 0, nil, nil
	if !s.readJSON(w, r, &changed) {
		return
	}
	if p := silenceProblem(changed); p != nil {
		s.problem(w, r, p)
		return
	}
	changed, err = s.deps.Queries.UpdateSilence(r.Context(), tenant, id, changed, v.Version)
	s.answerSilence(w, r, http.StatusOK, changed, err)
}

func (s *Server) handleDeleteSilence(w http.ResponseWriter, r *http.Request) {
	id, ok := s.pathID(w, r)
	if !ok {
		return
	}
	version, p := ifMatch(r)
	if p != nil {
		s.problem(w, r, p)
		return
	}
	if err := s.deps.Queries.DeleteSilence(r.Context(), keyFrom(r).TenantID, id, version); err != nil {
		s.queryFailed(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// silenceProblem checks a silence as a client sends it.
func silenceProblem(v api.Silence) *problem {
	c := &checker{}
	c.that(v.ID == "", "/id", "read_only", "the id is made by the server")
	c.that(v.Version == 0, "/version", "read_only", "the version is made by the server; use If-Match")
	c.that(v.CreatedAt == nil, "/created_at", "read_only", "set by the server")
	c.that(v.UpdatedAt == nil, "/updated_at", "read_only", "set by the server")
	c.pattern("/device_pattern", v.DevicePattern)
	c.pattern("/metric_pattern", v.MetricPattern)
	if v.RuleID != "" {
		_, ok := parseID(v.RuleID)
		c.that(ok, "/rule_id", "bad_id", "expected a UUID")
	}
	c.text("/comment", v.Comment, 256)
	c.instant("/starts_at", v.StartsAt)
	c.instant("/ends_at", v.EndsAt)
	c.that(v.StartsAt.Truncate(time.Microsecond).Before(v.EndsAt.Truncate(time.Microsecond)), "/ends_at", "out_of_range", "expected an instant after starts_at")
	return c.problem()
}

// instant must be given, and within what the store and the log can hold.
func (c *checker) instant(pointer string, t time.Time) {
	c.that(!t.IsZero(), pointer, "missing_field", "an RFC 3339 time is required")
	c.that(t.IsZero() || t.Year() >= 1970 && t.Year() < 10000, pointer, "out_of_range", "expected an instant from 1970 on")
}
