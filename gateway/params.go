package gateway

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/schemas/payload"
)

// params reads query parameters and remembers the first that can't be accepted.
type params struct {
	values  url.Values
	problem *problem
}

// readParams reads those of known; knownQuery has refused what the contract does not
// have, and this refuses what goes with other parameters only. A name with * may be
// given several times.
func readParams(r *http.Request, known ...string) *params {
	values, err := url.ParseQuery(r.URL.RawQuery)
	p := &params{values: values}
	if err != nil {
		p.problem = newProblem(http.StatusBadRequest, "bad_query", "the query string is not URL-encoded")
		return p
	}
	for name, v := range values {
		switch {
		case slices.Contains(known, name+"*"):
			if slices.ContainsFunc(v, func(v string) bool { return len(v) > 1024 }) {
				p.refuse(name, "is longer than 1024 bytes")
			}
		case !slices.Contains(known, name):
			p.refuse(name, unknownParameter(strings.Split(strings.ReplaceAll(strings.Join(known, ","), "*", ""), ",")))
		case len(v) > 1:
			p.refuse(name, "is given more than once")
		case len(v[0]) > 1024:
			p.refuse(name, "is longer than 1024 bytes")
		}
	}
	return p
}

func (p *params) refuse(name, detail string) {
	if p.problem == nil {
		p.problem = badParameter(name, detail)
	}
}

func (p *params) text(name string) string { return p.values.Get(name) }

// page reads limit and cursor.
func (p *params) page(def, most int) api.PageRequest {
	return api.PageRequest{Limit: p.number("limit", def, 1, most), Cursor: p.text("cursor")}
}

func (p *params) id(name string, required bool) schemas.ID {
	v := p.text(name)
	if v == "" {
		if required {
			p.refuse(name, "is required: a UUID")
		}
		return schemas.Nil
	}
	id, ok := parseID(v)
	if !ok {
		p.refuse(name, fmt.Sprintf("expected a UUID, got %q", v))
	}
	return id
}

// between reads from (inclusive) and to (exclusive).
func (p *params) between() api.Range {
	rg := api.Range{From: p.instant("from"), To: p.instant("to")}
	if !rg.From.IsZero() && !rg.To.IsZero() && !rg.From.Before(rg.To) {
		p.refuse("to", "expected an instant after from")
	}
	return rg
}

func (p *params) instant(name string) time.Time {
	v := p.text(name)
	if v == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil || t.Year() < 1 || t.Year() > 9999 {
		hint := ""
		if strings.Contains(v, " ") {
			hint = " (a + must be written %2B in a URL)"
		}
		p.refuse(name, fmt.Sprintf("expected an RFC 3339 time such as 2026-11-23T08:45:00Z, got %q%s", v, hint))
	}
	return t.UTC()
}

func (p *params) oneOf(name string, allowed ...string) string {
	v := p.text(name)
	if v != "" && !slices.Contains(allowed, v) {
		p.refuse(name, fmt.Sprintf("expected one of %s, got %q", strings.Join(allowed, ", "), v))
	}
	return v
}

// name reads a device or metric name as the payload would.
func (p *params) name(name string) string {
	v := p.text(name)
	if v == "" {
		return ""
	}
	n, why := payload.NormaliseName(v)
	if why != "" {
		p.refuse(name, "expected 1 to 128 characters, got "+why)
	}
	return n
}

// search reads a part of a name; it may be anything a name can hold.
func (p *params) search(name string) string {
	v := strings.TrimSpace(p.text(name))
	if !utf8.ValidString(v) || strings.ContainsFunc(v, unicode.IsControl) || utf8.RuneCountInString(v) > 128 {
		p.refuse(name, "expected at most 128 characters without control characters")
	}
	return v
}

// tags reads parameters of the form key:value; the key ends at the first colon.
func (p *params) tags(name string) map[string]string {
	if len(p.values[name]) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, v := range p.values[name] {
		key, value, ok := strings.Cut(v, ":")
		if _, again := out[key]; again {
			p.refuse(name, fmt.Sprintf("is given twice with the key %q", key))
		}
		if why := payload.TagFault(key, value); !ok || why != "" {
			p.refuse(name, fmt.Sprintf("expected key:value, such as site:berlin, got %q", v))
		}
		out[key] = value
	}
	if len(out) > payload.MaxTags {
		p.refuse(name, fmt.Sprintf("expected at most %d tags", payload.MaxTags))
	}
	return out
}

// number reads a whole number within bounds.
func (p *params) number(name string, def, least, most int) int {
	v := p.text(name)
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		p.refuse(name, fmt.Sprintf("expected a number from %d to %d, got %q", least, most, v))
	}
	return n
}

// parseID takes the canonical form only: one thing has one name.
func parseID(s string) (schemas.ID, bool) {
	if len(s) != 36 {
		return schemas.Nil, false
	}
	id, err := schemas.ParseID(s)
	return id, err == nil
}

// pathID reads {id}. What is not an id names nothing.
func (s *Server) pathID(w http.ResponseWriter, r *http.Request) (schemas.ID, bool) {
	id, ok := parseID(r.PathValue("id"))
	if !ok {
		s.problem(w, r, queryProblem(ErrNotFound))
	}
	return id, ok
}

// maxConfigBody bounds the bodies of rules and webhooks.
const maxConfigBody = 64 << 10

// readJSON decodes a strict JSON body over what v holds: absent fields stay as
// they are, null empties one (RFC 7396). It answers itself when it returns false.
func (s *Server) readJSON(w http.ResponseWriter, r *http.Request, v any) bool {
	_, ok := s.readJSONOnce(w, r, v)
	return ok
}

// readJSONOnce is readJSON for requests that make something: it returns their
// Idempotency-Key too.
func (s *Server) readJSONOnce(w http.ResponseWriter, r *http.Request, v any) (api.RequestKey, bool) {
	var once api.RequestKey
	body, p := s.readBody(w, r, keyFrom(r).TenantID, maxConfigBody, maxConfigBody)
	defer body.release()
	if p == nil {
		once.Key, p = idempotencyKey(r)
		once.Sum = sha256.Sum256(body.buf)
	}
	if p == nil {
		if err := json.Unmarshal(bytes.Clone(body.buf), v, json.RejectUnknownMembers(true)); err != nil {
			p = jsonProblem(err)
		}
	}
	if p != nil {
		s.problem(w, r, p)
	}
	return once, p == nil
}

func jsonProblem(err error) *problem {
	var syntax *jsontext.SyntacticError
	var semantic *json.SemanticError
	item := api.ItemError{Code: payload.CodeMalformed, Detail: "expected one JSON object"}
	switch {
	case errors.As(err, &syntax):
		item.Pointer = string(syntax.JSONPointer)
		item.Detail = "not JSON: " + strings.ToValidUTF8(syntax.Err.Error(), "?")
		if errors.Is(err, jsontext.ErrDuplicateName) {
			item.Code = payload.CodeDuplicateKey
		}
	case errors.As(err, &semantic):
		item.Pointer, item.Code = string(semantic.JSONPointer), payload.CodeWrongType
		item.Detail = "a value of another type is expected here"
		if errors.Is(err, json.ErrUnknownName) {
			item.Code, item.Detail = payload.CodeUnknownField, "there is no such field"
		}
	}
	p := newProblem(http.StatusBadRequest, item.Code, item.Detail)
	p.errors = []api.ItemError{item}
	return p
}
