package gateway

import (
	"cmp"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"

	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/schemas/payload"
)

// problem is an answer that is not a success (RFC 9457).
type problem struct {
	status  int
	code    string
	title   string // empty = that of the status
	detail  string
	errors  []api.ItemError
	count   int // of all item errors; 0 = len(errors)
	headers [][2]string
	quota   bool // the tenant has used what its plan allows
}

func newProblem(status int, code, detail string) *problem {
	return &problem{status: status, code: code, detail: detail}
}

// retry adds Retry-After, up to 2 s later than asked so that clients do not come back as one.
func (p *problem) retry(seconds int) *problem {
	return p.header("Retry-After", strconv.Itoa(seconds+rand.IntN(3)))
}

func (p *problem) header(name, value string) *problem {
	p.headers = append(p.headers, [2]string{name, value})
	return p
}

// invalid is a 422 about one place of a request body.
func invalid(pointer, code, detail string) *problem {
	p := newProblem(http.StatusUnprocessableEntity, "invalid_request", "the request is well-formed, but a value can't be accepted")
	p.errors = []api.ItemError{{Pointer: pointer, Code: code, Detail: detail}}
	return p
}

// faultProblem answers a body that the decoder refuses whole.
func faultProblem(f *payload.Fault) *problem {
	status := http.StatusBadRequest
	if f.Code == payload.CodeTooManyPoints {
		status = http.StatusRequestEntityTooLarge
	}
	p := newProblem(status, f.Code, f.Detail())
	p.errors = []api.ItemError{{Pointer: f.Pointer, Code: f.Code, Detail: f.Detail()}}
	return p
}

// logProblem answers what the log could not take. All of these mean: not
// acknowledged, perhaps stored, safe to send again.
func logProblem(err error) *problem {
	switch {
	case errors.Is(err, ErrLogFull):
		return newProblem(http.StatusServiceUnavailable, "log_full", "the ingest log is full; nothing was stored").retry(30)
	case errors.Is(err, errDraining):
		return newProblem(http.StatusServiceUnavailable, "draining", "this gateway is stopping; send the request again").retry(1)
	default:
		return newProblem(http.StatusServiceUnavailable, "log_unavailable",
			"the ingest log did not confirm; the request may or may not be stored, sending it again is safe").retry(1)
	}
}

// queryProblem answers what the store says.
func queryProblem(err error) *problem {
	var limit *LimitReached
	if p := modelProblem(err); p != nil {
		return p
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return newProblem(http.StatusNotFound, "not_found", "there is no such thing here")
	case errors.Is(err, ErrBadCursor):
		return badParameter("cursor", "expected the next_cursor of an earlier page of the same list")
	case errors.Is(err, ErrVersion):
		return newProblem(http.StatusPreconditionFailed, "version_mismatch", "it has changed since; read it again and repeat the change")
	case errors.Is(err, ErrConflict):
		return newProblem(http.StatusConflict, "conflict", "it conflicts with what exists")
	case errors.As(err, &limit):
		return newProblem(http.StatusUnprocessableEntity, "limit_reached", limit.Error())
	case errors.Is(err, ErrInvalid):
		return newProblem(http.StatusUnprocessableEntity, "invalid_request", invalidText(err))
	case errors.Is(err, ErrOtherBody):
		return newProblem(http.StatusUnprocessableEntity, "idempotency_key_reused", "this Idempotency-Key stands for another body; use a new one")
	default:
		return newProblem(http.StatusServiceUnavailable, "store_unavailable", "the store can't be asked now").retry(2)
	}
}

func badParameter(name, detail string) *problem {
	p := newProblem(http.StatusBadRequest, "bad_parameter", "parameter "+name+": "+detail)
	p.errors = []api.ItemError{{Pointer: "?" + name, Code: "bad_parameter", Detail: detail}}
	return p
}

// problem writes p.
func (s *Server) problem(w http.ResponseWriter, r *http.Request, p *problem) {
	h := w.Header()
	for _, kv := range p.headers {
		h.Set(kv[0], kv[1])
	}
	if p.status != http.StatusNotFound && p.status != http.StatusMethodNotAllowed {
		s.metrics.rejected.WithLabelValues(p.code).Inc()
	}
	body := api.Problem{Type: "urn:edgepulse:problem:" + p.code, Title: cmp.Or(p.title, http.StatusText(p.status)), Status: p.status, Detail: p.detail,
		Instance: r.URL.Path, Code: p.code, RequestID: requestID(r.Context()), Errors: p.errors}
	if len(p.errors) > 0 {
		body.ErrorCount = max(p.count, len(p.errors))
	}
	s.write(w, p.status, "application/problem+json", body)
}

func (s *Server) writeJSON(w http.ResponseWriter, _ *http.Request, status int, body any) {
	s.write(w, status, "application/json", body)
}

func (s *Server) write(w http.ResponseWriter, status int, contentType string, body any) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		s.logger.Debug("write answer failed", "error", err) // the client is gone
	}
}

// invalidText is what the store says behind the last "invalid: ".
func invalidText(err error) string {
	text, mark := err.Error(), ErrInvalid.Error()+": "
	return text[max(0, strings.LastIndex(text, mark)+len(mark)):]
}

// LimitReached says of what the tenant's plan allows no more.
type LimitReached struct{ Text string }

func (e *LimitReached) Error() string { return e.Text }
