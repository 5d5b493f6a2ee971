// Package contract holds HTTP requests and answers against schemas/openapi.yaml.
// It is for tests: only they import it.
//
// What comes in: a handler of the API, wrapped. What goes out: a failure for every
// answer that the document does not foresee (status, content type, a field that is
// missing, unknown or of another type) and for every request that was answered with
// success though the document refuses it. State: which operations have been
// answered with which status, so that a test can tell which never were.
package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/errors"
	"go.yaml.in/yaml/v3"

	"github.com/edgepulse/edgepulse/schemas"
)

// Operation is one method of one path of the document.
type Operation struct {
	Method, Path string
	Scope        string // "" = public
	Optional     string // served only so; "" = always
	Body         bool   // takes a JSON body
	Partial      bool   // a success may refuse some items of the body
	Query        []Parameter
	Success      []int            // documented statuses below 300
	Kinds        map[int][]string // content types by status
}

// Parameter is one of the query.
type Parameter struct {
	Name     string
	Required bool
}

// Name is the operation as the mux names it.
func (o Operation) Name() string { return o.Method + " " + o.Path }

// Contract is the document, and what has been seen of it.
type Contract struct {
	ops    map[string]Operation
	routes *http.ServeMux
	valid  validator.Validator
	parts  map[string]map[string]parts // of answers that are no one JSON value, by operation and content type

	mu     sync.Mutex
	seen   map[string]map[int]int
	events map[string]int
}

// Load reads the document of this tree.
func Load() (*Contract, error) { return Parse(schemas.OpenAPI()) }

// Parse reads a document. Answers are held against a stricter one: no schema with
// properties takes others than these.
func Parse(document []byte) (*Contract, error) {
	var root map[string]any
	if err := yaml.Unmarshal(document, &root); err != nil {
		return nil, fmt.Errorf("read document: %w", err)
	}
	c := &Contract{ops: map[string]Operation{}, routes: http.NewServeMux(), seen: map[string]map[int]int{}, events: map[string]int{}}
	for path, item := range object(root["paths"]) {
		for method, op := range object(item) {
			o := operation(root, strings.ToUpper(method), path, object(op))
			c.ops[o.Name()] = o
			c.routes.Handle(o.Name(), http.NotFoundHandler())
		}
	}
	var err error
	if c.parts, err = readParts(root, document); err != nil {
		return nil, err
	}
	closeObjects(root)
	strict, err := json.Marshal(root)
	if err != nil {
		return nil, fmt.Errorf("write strict document: %w", err)
	}
	doc, err := libopenapi.NewDocument(strict)
	if err != nil {
		return nil, fmt.Errorf("parse document: %w", err)
	}
	v, errs := validator.NewValidator(doc, config.WithFormatAssertions(), config.WithoutSecurityValidation())
	if len(errs) > 0 {
		return nil, fmt.Errorf("build validator: %w", errs[0])
	}
	if ok, errs := v.ValidateDocument(); !ok {
		return nil, fmt.Errorf("document is not OpenAPI 3.1: %s", describe(errs))
	}
	c.valid = v
	return c, nil
}

func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

func operation(root map[string]any, method, path string, op map[string]any) Operation {
	o := Operation{Method: method, Path: path, Kinds: map[int][]string{}}
	o.Scope, _ = op["x-scope"].(string)
	o.Optional, _ = op["x-optional"].(string)
	o.Partial, _ = op["x-partial"].(bool)
	_, o.Body = object(object(op["requestBody"])["content"])["application/json"]
	for _, p := range list(op["parameters"]) {
		ref, _ := object(p)["$ref"].(string)
		found := object(object(object(root["components"])["parameters"])[strings.TrimPrefix(ref, "#/components/parameters/")])
		if found["in"] == "query" {
			required, _ := found["required"].(bool)
			o.Query = append(o.Query, Parameter{found["name"].(string), required})
		}
	}
	for code, answer := range object(op["responses"]) {
		n, _ := strconv.Atoi(code)
		r := object(answer)
		if ref, ok := r["$ref"].(string); ok {
			r = object(object(object(root["components"])["responses"])[strings.TrimPrefix(ref, "#/components/responses/")])
		}
		o.Kinds[n] = []string{}
		for kind := range object(r["content"]) {
			o.Kinds[n] = append(o.Kinds[n], kind)
		}
		if n < 300 {
			o.Success = append(o.Success, n)
		}
	}
	slices.Sort(o.Success)
	return o
}

// closeObjects adds additionalProperties: false to every schema that names properties.
func closeObjects(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, named := v["properties"].(map[string]any); named && v["type"] == "object" {
			if _, said := v["additionalProperties"]; !said {
				v["additionalProperties"] = false
			}
		}
		for _, child := range v {
			closeObjects(child)
		}
	case []any:
		for _, child := range v {
			closeObjects(child)
		}
	}
}

// Operations are all of the document, in the order of their names.
func (c *Contract) Operations() []Operation {
	var out []Operation
	for _, o := range c.ops {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b Operation) int { return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method) })
	return out
}

// Unseen are the operations and successes that no request has had.
func (c *Contract) Unseen() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, o := range c.Operations() {
		for _, status := range o.Success {
			if c.seen[o.Name()][status] == 0 {
				out = append(out, fmt.Sprintf("%s -> %d", o.Name(), status))
			}
		}
	}
	return out
}

// Seen counts the answers that were checked, and the pairs of operation and status they had.
func (c *Contract) Seen() (answers, pairs int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, statuses := range c.seen {
		for _, n := range statuses {
			answers, pairs = answers+n, pairs+1
		}
	}
	return answers, pairs
}

// Handler serves with next and reports each breach of the contract to fail, as
// soon as an answer is complete. Its requests must be those of one test at a time.
func (c *Contract) Handler(next http.Handler, fail func(string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, name := c.routes.Handler(r)
		o, known := c.ops[name]
		if !known || r.Method == http.MethodHead {
			rec := &recorder{ResponseWriter: w}
			next.ServeHTTP(rec, r)
			if !known && rec.status < 400 && strings.HasPrefix(r.URL.Path, "/v1/") {
				fail(fmt.Sprintf("%s %s was answered with %d: the document does not have it", r.Method, r.URL.Path, rec.status))
			}
			return
		}
		sent := &teeBody{ReadCloser: r.Body}
		if r.Body != nil {
			r.Body = sent
		}
		rec := &recorder{ResponseWriter: w}
		asked := r.Clone(r.Context()) // handlers change what they are given
		next.ServeHTTP(rec, r)
		if rec.status == 0 {
			rec.status = http.StatusOK
		}
		for _, why := range c.check(o, asked, sent.b.Bytes(), rec) {
			fail(fmt.Sprintf("%s %s -> %d %s: %s\n  answer: %.600s", r.Method, r.URL, rec.status, rec.Header().Get("Content-Type"), why, rec.b.String()))
		}
	})
}

func (c *Contract) check(o Operation, r *http.Request, sent []byte, rec *recorder) []string {
	c.mu.Lock()
	if c.seen[o.Name()] == nil {
		c.seen[o.Name()] = map[int]int{}
	}
	c.seen[o.Name()][rec.status]++
	c.mu.Unlock()
	var out []string
	if o.Optional != "" && rec.status == http.StatusNotFound {
		return nil // not served here
	}
	if rec.Header().Get("X-Request-Id") == "" {
		out = append(out, "no X-Request-Id")
	}
	answer := &http.Response{StatusCode: rec.status, Header: rec.Header().Clone(), Body: io.NopCloser(bytes.NewReader(rec.b.Bytes())), Request: r}
	if kind := answer.Header.Get("Content-Type"); rec.cut || kind != "" && !strings.Contains(kind, "json") || strings.Contains(kind, "ndjson") {
		out = append(out, kindOnly(o, rec.status, kind)...)
		base, _, _ := strings.Cut(kind, ";")
		if p, ok := c.parts[o.Name()][base]; ok && rec.status == http.StatusOK {
			out = append(out, c.checkParts(p, rec.b.Bytes(), rec.cut)...)
		}
	} else if ok, errs := c.valid.ValidateHttpResponse(r, answer); !ok {
		out = append(out, describe(errs))
	}
	if rec.status >= 400 {
		return out
	}
	for name := range r.URL.Query() {
		if !slices.ContainsFunc(o.Query, func(p Parameter) bool { return p.Name == name }) {
			out = append(out, "the parameter "+name+" is not documented")
		}
	}
	if !o.Body || r.Header.Get("Content-Encoding") != "" {
		sent = nil
	}
	r.Body = io.NopCloser(bytes.NewReader(sent))
	r.ContentLength = int64(len(sent))
	if o.Body && sent == nil || o.Partial && refusedItems(rec.b.Bytes()) { // compressed bodies are judged by those that are not
		return out
	}
	if ok, errs := c.valid.ValidateHttpRequest(r); !ok && o.Body || !ok && len(sent) == 0 && !onlyBody(errs) {
		out = append(out, "the request: "+describe(errs))
	}
	return out
}

// refusedItems says whether an answer counts items that were refused.
func refusedItems(answer []byte) bool {
	var a struct{ Rejected int }
	return json.Unmarshal(answer, &a) == nil && a.Rejected > 0
}

// kindOnly checks status and content type of what is no JSON or has no end.
func kindOnly(o Operation, status int, kind string) []string {
	kinds, ok := o.Kinds[status]
	if !ok {
		return []string{"the status is not documented"}
	}
	if base, _, _ := strings.Cut(kind, ";"); !slices.Contains(kinds, base) {
		return []string{"the content type is not documented"}
	}
	return nil
}

func onlyBody(errs []*errors.ValidationError) bool {
	return !slices.ContainsFunc(errs, func(e *errors.ValidationError) bool { return e.ValidationType != "requestBody" })
}

func describe(errs []*errors.ValidationError) string {
	var out []string
	for _, e := range errs {
		text := e.Message + ": " + e.Reason
		for _, s := range e.SchemaValidationErrors {
			text += "; " + s.FieldPath + " " + s.Reason
		}
		out = append(out, text)
	}
	return strings.Join(out, " | ")
}

// teeBody remembers what a handler has read.
type teeBody struct {
	io.ReadCloser
	b bytes.Buffer
}

func (t *teeBody) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	t.b.Write(p[:n])
	return n, err
}

const recorded = 8 << 20

// recorder remembers an answer while it is sent.
type recorder struct {
	http.ResponseWriter
	status int
	b      bytes.Buffer
	cut    bool
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	if r.cut = r.cut || r.b.Len()+len(p) > recorded; !r.cut {
		r.b.Write(p)
	}
	return r.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach flushing and deadlines.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
