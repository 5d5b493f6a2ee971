package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/edgepulse/edgepulse/schemas/api"
)

func (s *Server) handleWebhooks(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "limit", "cursor")
	req := p.page(pageDefault, pageMost)
	answerPage(s, w, r, p, func() (api.Page[api.Webhook], error) {
		page, err := s.deps.Queries.ListWebhooks(r.Context(), keyFrom(r).TenantID, req)
		for i := range page.Data {
			page.Data[i].Secret = "" // whatever the store says: shown at creation only
		}
		return page, err
	})
}

func (s *Server) handleWebhook(w http.ResponseWriter, r *http.Request) {
	if id, ok := s.pathID(w, r); ok {
		hook, err := s.deps.Queries.GetWebhook(r.Context(), keyFrom(r).TenantID, id)
		hook.Secret = ""
		s.answerWebhook(w, r, http.StatusOK, hook, err)
	}
}

func (s *Server) answerWebhook(w http.ResponseWriter, r *http.Request, status int, hook api.Webhook, err error) {
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	w.Header().Set("ETag", etag(hook.Version))
	if status == http.StatusCreated {
		w.Header().Set("Location", "/v1/webhooks/"+hook.ID)
	}
	s.writeJSON(w, r, status, hook)
}

func (s *Server) handleCreateWebhook(w http.ResponseWriter, r *http.Request) {
	var hook api.Webhook
	once, ok := s.readJSONOnce(w, r, &hook)
	if !ok {
		return
	}
	if p := s.webhookProblem(hook); p != nil {
		s.problem(w, r, p)
		return
	}
	hook, err := s.deps.Queries.CreateWebhook(r.Context(), keyFrom(r).TenantID, hook, once)
	s.answerWebhook(w, r, http.StatusCreated, hook, err)
}

// webhookProblem checks an endpoint as a client sends it.
func (s *Server) webhookProblem(hook api.Webhook) *problem {
	c := &checker{}
	c.that(hook.ID == "" && hook.Secret == "" && hook.Version == 0 && hook.CreatedAt == nil && hook.DisabledReason == "", "", "read_only",
		"id, secret, version, created_at and disabled_reason are set by the server")
	c.text("/description", hook.Description, 256)
	c.oneOf("/min_severity", hook.MinSeverity, severities)
	if why := webhookURLFault(hook.URL, s.cfg.WebhookAllow); why != "" {
		c.that(false, "/url", "bad_url", why)
	}
	return c.problem()
}

// handlePatchWebhook changes the fields that the body names (RFC 7396).
func (s *Server) handlePatchWebhook(w http.ResponseWriter, r *http.Request) {
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
	hook, err := s.deps.Queries.GetWebhook(r.Context(), tenant, id)
	if err == nil && want > 0 && want != hook.Version {
		err = ErrVersion
	}
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	changed := api.Webhook{URL: hook.URL, Description: hook.Description, MinSeverity: hook.MinSeverity, Enabled: hook.Enabled}
	if !s.readJSON(w, r, &changed) {
		return
	}
	if p := s.webhookProblem(changed); p != nil {
		s.problem(w, r, p)
		return
	}
	changed, err = s.deps.Queries.UpdateWebhook(r.Context(), tenant, id, changed, hook.Version)
	changed.Secret = ""
	s.answerWebhook(w, r, http.StatusOK, changed, err)
}

// handleRotateWebhook gives an endpoint a new secret and answers it, this once.
func (s *Server) handleRotateWebhook(w http.ResponseWriter, r *http.Request) {
	if id, ok := s.pathID(w, r); ok {
		hook, err := s.deps.Queries.RotateWebhookSecret(r.Context(), keyFrom(r).TenantID, id)
		s.answerWebhook(w, r, http.StatusOK, hook, err)
	}
}

// handleTestWebhook sends a test event now. It asks the outside world on behalf
// of a tenant, so it is bounded like signing in.
func (s *Server) handleTestWebhook(w http.ResponseWriter, r *http.Request) {
	id, ok := s.pathID(w, r)
	if !ok {
		return
	}
	tenant := keyFrom(r).TenantID
	if _, p := s.tests.take(tenant.String()); p != nil {
		s.problem(w, r, p)
		return
	}
	answerOne(s, w, r, func() (api.WebhookTest, error) { return s.deps.Queries.TestWebhook(r.Context(), tenant, id) })
}

func (s *Server) handleDeleteWebhook(w http.ResponseWriter, r *http.Request) {
	id, ok := s.pathID(w, r)
	if !ok {
		return
	}
	version, p := ifMatch(r)
	if p != nil {
		s.problem(w, r, p)
		return
	}
	if err := s.deps.Queries.DeleteWebhook(r.Context(), keyFrom(r).TenantID, id, version); err != nil {
		s.queryFailed(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// webhookURLFault says why a target is refused. This is the first gate only, for
// a clear answer: the deliverer judges the address it dials, at every attempt,
// because a name may mean another address then.
func webhookURLFault(raw string, allow []string) string {
	u, err := url.Parse(raw)
	switch {
	case raw == "" || err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" || len(raw) > 2048:
		return "expected an absolute https URL"
	case u.User != nil:
		return "expected a URL without user and password; requests are signed"
	case u.Fragment != "":
		return "expected a URL without a fragment"
	case allowListed(u, allow):
		if u.Scheme == "http" || u.Scheme == "https" {
			return ""
		}
		return "expected http or https"
	case u.Scheme != "https":
		return "expected https"
	case u.Port() != "" && u.Port() != "443":
		return "expected port 443"
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr = addr.Unmap(); !addr.IsGlobalUnicast() || addr.IsPrivate() || addr.Zone() != "" {
			return "expected a public address"
		}
		return ""
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") || strings.HasSuffix(host, ".local") || strings.HasSuffix(host, ".internal") || !strings.Contains(host, ".") {
		return "expected a public host name"
	}
	return ""
}

// allowListed: the operator of this installation has named the target.
func allowListed(u *url.URL, allow []string) bool {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return slices.ContainsFunc(allow, func(a string) bool {
		if prefix, perr := netip.ParsePrefix(a); perr == nil {
			return err == nil && prefix.Contains(addr.Unmap())
		}
		return strings.EqualFold(a, net.JoinHostPort(u.Hostname(), port))
	})
}
