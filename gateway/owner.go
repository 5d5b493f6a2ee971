package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// Owner answers and does what concerns all tenants of a deployment.
type Owner interface {
	// Tenants lists all with what they have used since first.
	Tenants(ctx context.Context, first, now time.Time) ([]api.OwnerTenant, error)
	// CreateTenant makes a tenant; an empty plan is the default one.
	CreateTenant(ctx context.Context, name, plan string) (api.OwnerTenant, error)
	// PatchTenant changes what the patch names and answers with the tenant.
	PatchTenant(ctx context.Context, tenant schemas.ID, patch api.TenantPatch) (api.OwnerTenant, error)
	// CreateKey makes a key of a tenant: the first one can't come from the tenant.
	CreateKey(ctx context.Context, tenant schemas.ID, key api.Key) (api.Key, error)
	Plans(ctx context.Context) ([]api.Plan, error)
	PutPlan(ctx context.Context, plan api.Plan) error
	Usage(ctx context.Context, first, last time.Time) ([]api.UsageDay, error)
	// Status is the page of lag and errors.
	Status(ctx context.Context) (api.OwnerStatus, error)
	Audit(ctx context.Context, tenant schemas.ID, p api.PageRequest) (api.Page[api.AuditEntry], error)
}

// ownerRoutes exist where the owner's token is set. No tenant's key opens them.
func (s *Server) ownerRoutes(mux *http.ServeMux) {
	want, err := hex.DecodeString(s.cfg.OwnerTokenHash)
	if s.deps.Owner == nil || len(want) != sha256.Size || err != nil {
		return
	}
	with := func(pattern string, h http.HandlerFunc) {
		s.table = append(s.table, Route{Pattern: pattern, Scope: ScopeOwner, Handler: h})
		mux.Handle(pattern, s.owned(want, s.knownQuery(pattern, h)))
	}
	with("GET /v1/owner/tenants", s.handleOwnerTenants)
	with("POST /v1/owner/tenants", s.handleOwnerCreateTenant)
	with("PATCH /v1/owner/tenants/{id}", s.handleOwnerPatchTenant)
	with("POST /v1/owner/tenants/{id}/keys", s.handleOwnerCreateKey)
	with("GET /v1/owner/plans", s.handleOwnerPlans)
	with("PUT /v1/owner/plans/{name}", s.handleOwnerPutPlan)
	with("GET /v1/owner/usage", s.handleOwnerUsage)
	with("GET /v1/owner/status", s.handleOwnerStatus)
	with("GET /v1/owner/audit", s.handleOwnerAudit)
}

// owned lets a request pass that carries the owner's token: 256 random bits, of which
// only a hash is set here.
func (s *Server) owned(want []byte, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimSpace(token)))
		if !strings.EqualFold(scheme, "bearer") || subtle.ConstantTimeCompare(got[:], want) != 1 {
			s.problem(w, r, newProblem(http.StatusUnauthorized, "unauthorized", "send the owner's token as Authorization: Bearer").
				header("WWW-Authenticate", `Bearer realm="edgepulse owner"`))
			return
		}
		ctx := schemas.WithActor(r.Context(), schemas.Actor{Name: "owner", RequestID: requestID(r.Context())})
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (s *Server) handleOwnerTenants(w http.ResponseWriter, r *http.Request) {
	if p := readParams(r); p.problem != nil {
		s.problem(w, r, p.problem)
		return
	}
	first, _ := monthOf(s.clock.Now())
	answerOne(s, w, r, func() (api.Page[api.OwnerTenant], error) {
		list, err := s.deps.Owner.Tenants(r.Context(), first, s.now())
		return api.Page[api.OwnerTenant]{Data: orEmpty(list)}, err
	})
}

// orEmpty: an empty list is [], never null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (s *Server) handleOwnerCreateTenant(w http.ResponseWriter, r *http.Request) {
	var in api.OwnerTenant
	if !s.readJSON(w, r, &in) {
		return
	}
	c := &checker{}
	c.that(strings.TrimSpace(in.Name) != "", "/name", "missing_field", "a name is required")
	c.text("/name", in.Name, 128)
	c.that(in.ID == "" && in.CreatedAt == nil && in.DisabledAt == nil && in.Month == nil, "", "read_only", "name and plan are all that can be given")
	if p := c.problem(); p != nil {
		s.problem(w, r, p)
		return
	}
	out, err := s.deps.Owner.CreateTenant(r.Context(), in.Name, in.Plan)
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	s.writeJSON(w, r, http.StatusCreated, out)
}

func (s *Server) handleOwnerPatchTenant(w http.ResponseWriter, r *http.Request) {
	id, ok := s.pathID(w, r)
	if !ok {
		return
	}
	var in api.TenantPatch
	if !s.readJSON(w, r, &in) {
		return
	}
	answerOne(s, w, r, func() (api.OwnerTenant, error) { return s.deps.Owner.PatchTenant(r.Context(), id, in) })
}

func (s *Server) handleOwnerCreateKey(w http.ResponseWriter, r *http.Request) {
	id, ok := s.pathID(w, r)
	if !ok {
		return
	}
	var key api.Key
	if !s.readJSON(w, r, &key) {
		return
	}
	if p := keyFault(key, s.auth.wall()); p != nil {
		s.problem(w, r, p)
		return
	}
	key, err := s.deps.Owner.CreateKey(r.Context(), id, key)
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	s.writeJSON(w, r, http.StatusCreated, key)
}

func (s *Server) handleOwnerPlans(w http.ResponseWriter, r *http.Request) {
	answerOne(s, w, r, func() (api.Page[api.Plan], error) {
		list, err := s.deps.Owner.Plans(r.Context())
		return api.Page[api.Plan]{Data: orEmpty(list)}, err
	})
}

var planName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

func (s *Server) handleOwnerPutPlan(w http.ResponseWriter, r *http.Request) {
	in := api.Plan{RetentionDays: 90}
	if !s.readJSON(w, r, &in) {
		return
	}
	name := r.PathValue("name")
	if p := planFault(name, in); p != nil {
		s.problem(w, r, p)
		return
	}
	in.Name = name
	answerOne(s, w, r, func() (api.Plan, error) { return in, s.deps.Owner.PutPlan(r.Context(), in) })
}

func planFault(name string, in api.Plan) *problem {
	c := &checker{}
	c.that(planName.MatchString(name), "", "bad_name", "expected a plan's name of 1 to 64 of a-z, 0-9, _ and -")
	c.that(in.Name == "" || in.Name == name, "/name", "read_only", "the name is that of the path")
	for _, f := range []struct {
		pointer string
		v       *int64
		least   int64
	}{
		{"/points_per_month", in.PointsPerMonth, 1}, {"/requests_per_second", in.RequestsPerSecond, 1}, {"/points_per_second", in.PointsPerSecond, 1},
		{"/max_metrics", in.MaxMetrics, 1}, {"/max_webhooks", in.MaxWebhooks, 0}, {"/max_rules", in.MaxRules, 0},
	} {
		c.that(f.v == nil || *f.v >= f.least && *f.v <= 1e15, f.pointer, "out_of_range", "expected a whole number from "+strconv.FormatInt(f.least, 10)+", or null for no limit")
	}
	c.that(in.RetentionDays >= 1 && in.RetentionDays <= 36500, "/retention_days", "out_of_range", "expected 1 to 36500 days")
	return c.problem()
}

func (s *Server) handleOwnerUsage(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "from", "to", "format")
	first, last := s.days(p)
	format := p.oneOf("format", "json", "csv")
	if p.problem != nil {
		s.problem(w, r, p.problem)
		return
	}
	days, err := s.deps.Owner.Usage(r.Context(), first, last)
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	s.answerUsage(w, r, format, first, last, api.Usage{Data: days})
}

func (s *Server) handleOwnerStatus(w http.ResponseWriter, r *http.Request) {
	answerOne(s, w, r, func() (api.OwnerStatus, error) { return s.deps.Owner.Status(r.Context()) })
}

func (s *Server) handleOwnerAudit(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "tenant_id", "limit", "cursor")
	tenant, req := p.id("tenant_id", false), p.page(pageDefault, pageMost)
	answerPage(s, w, r, p, func() (api.Page[api.AuditEntry], error) { return s.deps.Owner.Audit(r.Context(), tenant, req) })
}
