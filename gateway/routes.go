package gateway

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// routes is the table of the API.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	with := func(scope, pattern string, h http.HandlerFunc) {
		s.table = append(s.table, Route{Pattern: pattern, Scope: scope, Handler: h})
		mux.Handle(pattern, s.scoped(scope, s.knownQuery(pattern, h)))
	}
	public := func(pattern string, h http.HandlerFunc) { with("", pattern, h) }

	public("GET /v1/health", s.handleHealth)
	public("GET /v1/ready", s.handleReady)
	public("GET /metrics", promhttp.HandlerFor(s.deps.Registry, promhttp.HandlerOpts{}).ServeHTTP)

	public("GET /v1/openapi.json", s.docs.serve(s.docs.spec))
	public("GET /v1/docs", s.docs.serve(s.docs.page))
	public("GET /v1/docs.css", s.docs.serve(s.docs.style))

	public("POST /v1/session", s.handleSignIn)
	with(ScopeRead, "GET /v1/session", s.handleSession)
	public("DELETE /v1/session", s.handleSignOut)

	with(ScopeIngest, "POST /v1/ingest", s.handleIngest)
	with(ScopeRead, "GET /v1/overview", s.handleOverview)
	with(ScopeRead, "GET /v1/batches", s.handleBatches)
	public("POST "+spillRoute, s.handleSpill) // what it carries is signed
	with(ScopeRead, "GET /v1/batches/{id}", s.handleReceipt)
	with(ScopeRead, "GET /v1/devices", s.handleDevices)
	with(ScopeRead, "GET /v1/devices/{id}", s.handleDevice)
	with(ScopeAdmin, "PATCH /v1/devices/{id}", s.handlePatchDevice)
	with(ScopeRead, "GET /v1/metrics", s.handleMetrics)
	with(ScopeRead, "GET /v1/metrics/{id}", s.handleMetric)
	with(ScopeAdmin, "PATCH /v1/metrics/{id}", s.handlePatchMetric)
	with(ScopeRead, "GET /v1/metrics/{id}/model", s.handleMetricModel)
	with(ScopeAdmin, "PUT /v1/metrics/{id}/model", s.handlePinModel)
	with(ScopeAdmin, "DELETE /v1/metrics/{id}/model", s.handleUnpinModel)
	with(ScopeAdmin, "POST /v1/metrics/{id}/model/rollback", s.handleRollBackModel)
	with(ScopeRead, "GET /v1/series", s.handleSeries)
	with(ScopeRead, "GET /v1/datapoints", s.handleDatapoints)
	with(ScopeRead, "GET /v1/features", s.handleFeatures)
	with(ScopeRead, "GET /v1/scores", s.handleScores)
	with(ScopeRead, "GET /v1/anomalies", s.handleAnomalies)
	with(ScopeRead, "GET /v1/models", s.handleModels)
	with(ScopeRead, "GET /v1/models/{version}", s.handleModel)
	with(ScopeRead, "GET /v1/models/{version}/diff", s.handleModelDiff)
	with(ScopeRead, "GET /v1/export", s.handleExport)
	with(ScopeRead, "GET /v1/alert-events", s.handleAlertEvents)
	with(ScopeRead, "GET /v1/alert-events/{id}", s.handleAlertEvent)
	with(ScopeRead, "GET /v1/alert-events/{id}/trace", s.handleTrace)
	with(ScopeRead, "GET /v1/alerts", s.handleAlerts)
	with(ScopeRead, "GET /v1/alerts/{id}", s.handleAlert)

	with(ScopeRead, "GET /v1/alert-rules", s.handleRules)
	with(ScopeAdmin, "POST /v1/alert-rules", s.handleCreateRule)
	with(ScopeRead, "GET /v1/alert-rules/{id}", s.handleRule)
	with(ScopeAdmin, "PATCH /v1/alert-rules/{id}", s.handlePatchRule)
	with(ScopeAdmin, "DELETE /v1/alert-rules/{id}", s.handleDeleteRule)

	with(ScopeRead, "GET /v1/silences", s.handleSilences)
	with(ScopeAdmin, "POST /v1/silences", s.handleCreateSilence)
	with(ScopeRead, "GET /v1/silences/{id}", s.handleSilence)
	with(ScopeAdmin, "PATCH /v1/silences/{id}", s.handlePatchSilence)
	with(ScopeAdmin, "DELETE /v1/silences/{id}", s.handleDeleteSilence)

	with(ScopeRead, "GET /v1/webhooks", s.handleWebhooks)
	with(ScopeAdmin, "POST /v1/webhooks", s.handleCreateWebhook)
	with(ScopeRead, "GET /v1/webhooks/{id}", s.handleWebhook)
	with(ScopeAdmin, "PATCH /v1/webhooks/{id}", s.handlePatchWebhook)
	with(ScopeAdmin, "DELETE /v1/webhooks/{id}", s.handleDeleteWebhook)
	with(ScopeRead, "GET /v1/webhooks/{id}/deliveries", s.handleDeliveries)
	with(ScopeAdmin, "POST /v1/webhooks/{id}/test", s.handleTestWebhook)
	with(ScopeAdmin, "POST /v1/webhooks/{id}/rotate", s.handleRotateWebhook)

	s.accountRoutes(with)
	s.ownerRoutes(mux)

	if s.live != nil {
		with(ScopeRead, "GET /v1/live", s.handleLive)
	}
	if s.sim != nil {
		with(ScopeAdmin, "POST /v1/clock", s.handleClock)
	}
	for _, route := range s.deps.Routes {
		with(route.Scope, route.Pattern, route.Handler.ServeHTTP)
	}
	return s.envelope(mux)
}

// scoped asks for a key with a scope where there is one.
func (s *Server) scoped(scope string, h http.Handler) http.Handler {
	if scope == "" {
		return h
	}
	return s.authenticated(scope, h)
}

// Routes is the table of what this gateway serves, but for the web interface.
func (s *Server) Routes() []Route { return s.table }

// quiet routes are asked so often that their successes are told by metrics only.
var quiet = map[string]bool{"/v1/ingest": true, "/v1/health": true, "/v1/ready": true, "/metrics": true, "ui": true, "/v1/live": true}

// about is what is known about a request; one value of its context holds all of it.
type about struct {
	id            string
	key           KeyRecord
	authenticated bool // then key is set
}

type aboutKey struct{}

func aboutFrom(ctx context.Context) *about {
	a, _ := ctx.Value(aboutKey{}).(*about)
	return a
}

func requestID(ctx context.Context) string {
	if a := aboutFrom(ctx); a != nil {
		return a.id
	}
	return ""
}

// safe headers of every answer. Handlers may Set others in their place, nobody appends to these.
var safe = map[string][]string{
	"X-Content-Type-Options":    {"nosniff"},
	"Referrer-Policy":           {"no-referrer"},
	"X-Frame-Options":           {"DENY"},
	"Content-Security-Policy":   {"default-src 'none'; frame-ancestors 'none'"},
	"Strict-Transport-Security": {"max-age=31536000"},
}

// envelope is what every request gets: an id, safe headers, an access line, a
// measure, and an answer even when its handler panics.
func (s *Server) envelope(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := uuid.Must(uuid.NewV7()).String() // fails only without a source of randomness
		r, through, refused := s.edge.admit(r)
		if through != nil {
			id = through.claim.RequestID
		}
		r = r.WithContext(context.WithValue(r.Context(), aboutKey{}, &about{id: id}))
		rec := &recorder{ResponseWriter: w}
		h := rec.Header()
		h.Set("X-Request-Id", id)
		through.say(h, s.edge.wall)
		maps.Copy(h, safe)
		route := "none"
		defer func() {
			if v := recover(); v != nil {
				if v == http.ErrAbortHandler {
					panic(v)
				}
				s.metrics.panics.Inc()
				s.logger.Error("panic", "request_id", id, "route", route, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
				if rec.status == 0 {
					s.problem(rec, r, newProblem(http.StatusInternalServerError, "internal", "a bug of ours; quote the request id"))
				}
			}
			took := time.Since(start)
			s.metrics.request(route, rec.status, took)
			level := slog.LevelInfo
			if rec.status < 300 && quiet[route] {
				level = slog.LevelDebug
			}
			if !s.logger.Enabled(r.Context(), level) {
				return
			}
			s.logger.Log(r.Context(), level, "request", "request_id", id, "method", r.Method, "route", route, "status", rec.status,
				"bytes", rec.bytes, "ms", float64(took.Microseconds())/1000)
		}()
		handler, pattern := mux.Handler(r)
		switch {
		case refused != nil:
			s.problem(rec, r, refused)
		case pattern == "":
			if page := s.ui.find(r); page != nil {
				route = "ui"
				page.serve(rec, r)
				break
			}
			s.noRoute(rec, r, handler)
		case s.draining.Load() && r.Method == http.MethodPost:
			route = routeLabel(pattern)
			s.problem(rec, r, logProblem(errDraining))
		default:
			route = routeLabel(pattern)
			if strings.Contains(pattern, "{") {
				mux.ServeHTTP(rec, r) // sets the path's values
				break
			}
			handler.ServeHTTP(rec, r)
		}
		if rec.status == 0 {
			rec.status = http.StatusOK // net/http sends it
		}
	})
}

// noRoute answers a path that does not exist, or not with this method, as a problem.
func (s *Server) noRoute(w http.ResponseWriter, r *http.Request, fallback http.Handler) {
	probe := &probe{header: http.Header{}}
	fallback.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		allow := probe.header.Get("Allow")
		s.problem(w, r, newProblem(http.StatusMethodNotAllowed, "method_not_allowed", "this path takes "+allow).header("Allow", allow))
		return
	}
	s.problem(w, r, newProblem(http.StatusNotFound, "unknown_path", "there is no such path; the paths of the API begin with /v1/"))
}

// routeLabel is the pattern without its method: few values, whatever is asked for.
func routeLabel(pattern string) string {
	if _, path, ok := strings.Cut(pattern, " "); ok {
		return path
	}
	return pattern
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int
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
	n, err := r.ResponseWriter.Write(p)
	r.bytes += n
	return n, err
}

// Unwrap lets http.ResponseController reach flushing and deadlines.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Flush serves handlers that look for http.Flusher.
func (r *recorder) Flush() { _ = http.NewResponseController(r.ResponseWriter).Flush() }

// Hijack serves handlers that look for http.Hijacker.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(r.ResponseWriter).Hijack()
}

// probe asks a handler for its status without answering.
type probe struct {
	header http.Header
	status int
}

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) WriteHeader(status int)      { p.status = status }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
