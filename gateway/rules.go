package gateway

import (
	"fmt"
	"math"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/edgepulse/edgepulse/schemas/api"
)

func (s *Server) handleRules(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "limit", "cursor")
	req := p.page(pageDefault, pageMost)
	answerPage(s, w, r, p, func() (api.Page[api.AlertRule], error) {
		return s.deps.Queries.ListAlertRules(r.Context(), keyFrom(r).TenantID, req)
	})
}

func (s *Server) handleRule(w http.ResponseWriter, r *http.Request) {
	id, ok := s.pathID(w, r)
	if !ok {
		return
	}
	rule, err := s.deps.Queries.GetAlertRule(r.Context(), keyFrom(r).TenantID, id)
	s.answerRule(w, r, http.StatusOK, rule, err)
}

func (s *Server) answerRule(w http.ResponseWriter, r *http.Request, status int, rule api.AlertRule, err error) {
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	w.Header().Set("ETag", etag(rule.Version))
	if status == http.StatusCreated {
		w.Header().Set("Location", "/v1/alert-rules/"+rule.ID)
	}
	s.writeJSON(w, r, status, rule)
}

func (s *Server) handleCreateRule(w http.ResponseWriter, r *http.Request) {
	var rule api.AlertRule
	once, ok := s.readJSONOnce(w, r, &rule)
	if !ok {
		return
	}
	if p := ruleProblem(rule); p != nil {
		s.problem(w, r, p)
		return
	}
	rule, err := s.deps.Queries.CreateAlertRule(r.Context(), keyFrom(r).TenantID, rule, once)
	s.answerRule(w, r, http.StatusCreated, rule, err)
}

// handlePatchRule changes the fields that the body names (RFC 7396). The version
// that was read is the one that is replaced: two changes never mix unseen.
func (s *Server) handlePatchRule(w http.ResponseWriter, r *http.Request) {
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
	rule, err := s.deps.Queries.GetAlertRule(r.Context(), tenant, id)
	if err == nil && want > 0 && want != rule.Version {
		err = ErrVersion
	}
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	// Absent fields stay. Tags are replaced, not merged: a merge can't remove one.
	changed := rule
	changed.ID, changed.Version, changed.Tags, changed.CreatedAt, changed.UpdatedAt = "", 0, nil, nil, nil
	if !s.readJSON(w, r, &changed) {
		return
	}
	if changed.Tags == nil {
		changed.Tags = rule.Tags
	}
	if p := ruleProblem(changed); p != nil {
		s.problem(w, r, p)
		return
	}
	changed, err = s.deps.Queries.UpdateAlertRule(r.Context(), tenant, id, changed, rule.Version)
	s.answerRule(w, r, http.StatusOK, changed, err)
}

func (s *Server) handleDeleteRule(w http.ResponseWriter, r *http.Request) {
	id, ok := s.pathID(w, r)
	if !ok {
		return
	}
	version, p := ifMatch(r)
	if p != nil {
		s.problem(w, r, p)
		return
	}
	if err := s.deps.Queries.DeleteAlertRule(r.Context(), keyFrom(r).TenantID, id, version); err != nil {
		s.queryFailed(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func etag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// ifMatch reads the version of If-Match; 0 = any.
func ifMatch(r *http.Request) (uint64, *problem) {
	n, p := ifMatchAny(r)
	if n == nil || p != nil {
		return 0, p
	}
	if *n == 0 { // nothing has this version
		return 0, newProblem(http.StatusBadRequest, "bad_if_match", "expected the ETag of an earlier answer")
	}
	return *n, nil
}

// ifMatchAny reads the version of If-Match, which may be 0; nil = any.
func ifMatchAny(r *http.Request) (*uint64, *problem) {
	v := r.Header.Get("If-Match")
	if v == "" || v == "*" {
		return nil, nil
	}
	n, err := strconv.ParseUint(strings.Trim(v, `"`), 10, 64)
	if err != nil || v != etag(n) {
		return nil, newProblem(http.StatusBadRequest, "bad_if_match", "expected the ETag of an earlier answer")
	}
	return &n, nil
}

// ruleProblem checks a rule as a client sends it.
func ruleProblem(rule api.AlertRule) *problem {
	c := &checker{}
	c.that(rule.ID == "", "/id", "read_only", "the id is made by the server")
	c.that(rule.Version == 0, "/version", "read_only", "the version is made by the server; use If-Match")
	c.that(rule.CreatedAt == nil, "/created_at", "read_only", "set by the server")
	c.that(rule.UpdatedAt == nil, "/updated_at", "read_only", "set by the server")
	c.that(rule.Name != "", "/name", "missing_field", "a name is required")
	c.text("/name", rule.Name, 128)
	c.pattern("/device_pattern", rule.DevicePattern)
	c.pattern("/metric_pattern", rule.MetricPattern)
	c.ids("/device_ids", rule.DeviceIDs)
	c.ids("/metric_ids", rule.MetricIDs)
	c.tags("/tags", rule.Tags)
	c.within("/min_score", rule.MinScore, 0, 1)
	c.within("/resolve_score", rule.ResolveScore, 0, 1)
	c.that(rule.ResolveScore <= rule.MinScore || rule.MinScore == 0, "/resolve_score", "out_of_range", "expected at most min_score: above it the rule would resolve and open at once")
	c.within("/min_abs_deviation", rule.MinAbsDeviation, 0, math.MaxFloat64)
	c.within("/min_rel_deviation", rule.MinRelDeviation, 0, math.MaxFloat64)
	c.oneOf("/min_severity", rule.MinSeverity, severities)
	c.oneOf("/direction", rule.Direction, []string{"both", "up", "down"})
	for i, l := range rule.Labels {
		c.that(l != "", "/labels/"+strconv.Itoa(i), "out_of_range", "expected one of "+strings.Join(labels, ", "))
		c.oneOf("/labels/"+strconv.Itoa(i), l, labels)
	}
	c.duration("/for", rule.For)
	c.duration("/resolve_after", rule.ResolveAfter)
	c.duration("/cooldown", rule.Cooldown)
	c.duration("/update_every", rule.UpdateEvery)
	return c.problem()
}

// checker collects all that is wrong with an object.
type checker struct{ errs []api.ItemError }

func (c *checker) that(ok bool, pointer, code, detail string) {
	if !ok {
		c.errs = append(c.errs, api.ItemError{Pointer: pointer, Code: code, Detail: detail})
	}
}

func (c *checker) problem() *problem {
	if len(c.errs) == 0 {
		return nil
	}
	p := invalid("", "", "")
	p.errors, p.count = c.errs[:min(len(c.errs), maxListed)], len(c.errs)
	return p
}

func (c *checker) text(pointer, v string, most int) {
	printable := !strings.ContainsFunc(v, func(r rune) bool { return r < 0x20 || r == 0x7f })
	c.that(utf8.RuneCountInString(v) <= most && printable, pointer, "bad_text", fmt.Sprintf("expected at most %d characters without control characters", most))
}

// pattern takes the globs of path.Match.
func (c *checker) pattern(pointer, v string) {
	_, err := path.Match(v, "")
	c.that(err == nil, pointer, "bad_pattern", `expected a glob: * ? [a-z], with \ before a character that stands for itself`)
	c.text(pointer, v, 256)
}

func (c *checker) ids(pointer string, ids []string) {
	c.that(len(ids) <= 1000, pointer, "too_many", "at most 1000 ids")
	for i, id := range ids[:min(len(ids), 1000)] {
		_, ok := parseID(id)
		c.that(ok, pointer+"/"+strconv.Itoa(i), "bad_id", "expected a UUID")
	}
}

func (c *checker) within(pointer string, v, low, high float64) {
	c.that(v >= low && v <= high, pointer, "out_of_range", fmt.Sprintf("expected a number from %g to %g", low, high))
}

func (c *checker) oneOf(pointer, v string, allowed []string) {
	c.that(v == "" || slices.Contains(allowed, v), pointer, "out_of_range", "expected one of "+strings.Join(allowed, ", "))
}

// maxRuleDuration bounds what a fold has to remember for a rule.
const maxRuleDuration = 30 * 24 * time.Hour

func (c *checker) duration(pointer, v string) {
	if v == "" {
		return
	}
	d, err := time.ParseDuration(v)
	c.that(err == nil && d >= 0 && d <= maxRuleDuration, pointer, "bad_duration", "expected a duration from 0s to 720h, such as 90s, 5m or 1h30m")
}
