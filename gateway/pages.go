package gateway

import (
	"net/http"
	"time"

	"github.com/edgepulse/edgepulse/schemas/api"
)

// Reads that gather what a page of the dashboard shows.

// now is the clock that received_at is taken from: with a simulated clock "the
// last hour" is the simulated one.
func (s *Server) now() time.Time { return time.UnixMicro(s.clock.Now()).UTC() }

func (s *Server) handleOverview(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "hours")
	hours := p.number("hours", 24, 1, 168)
	if p.problem != nil {
		s.problem(w, r, p.problem)
		return
	}
	answerOne(s, w, r, func() (api.Overview, error) {
		return s.deps.Queries.Overview(r.Context(), keyFrom(r).TenantID, s.now(), hours)
	})
}

func (s *Server) handleDevice(w http.ResponseWriter, r *http.Request) {
	if id, ok := s.pathID(w, r); ok {
		s.answerDevice(w, r, id)
	}
}

// Bounds of a chart.
const (
	bucketsDefault, bucketsLeast, bucketsMost = 600, 10, 2000
	chartDefault                              = 24 * time.Hour
)

// handleSeries answers a chart: without a range the last 24 hours.
func (s *Server) handleSeries(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "metric_id", "from", "to", "buckets")
	metric, rg, n := p.id("metric_id", true), p.between(), p.number("buckets", bucketsDefault, bucketsLeast, bucketsMost)
	switch {
	case rg.To.IsZero() && rg.From.IsZero():
		rg.To = s.now()
		rg.From = rg.To.Add(-chartDefault)
	case rg.To.IsZero():
		if rg.To = s.now(); !rg.From.Before(rg.To) {
			p.refuse("from", "expected an instant before now where to is not given")
		}
	case rg.From.IsZero():
		rg.From = rg.To.Add(-chartDefault)
	}
	if p.problem != nil {
		s.problem(w, r, p.problem)
		return
	}
	answerOne(s, w, r, func() (api.Series, error) {
		return s.deps.Queries.Series(r.Context(), keyFrom(r).TenantID, metric, rg, n)
	})
}

func (s *Server) handleAlerts(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "state", "min_severity", "label", "metric_id", "device_id", "tag*", "limit", "cursor")
	req := p.page(pageDefault, pageMost)
	f := AlertFilter{MetricID: p.id("metric_id", false), DeviceID: p.id("device_id", false),
		State: p.oneOf("state", "open", "resolved"), MinSeverity: p.oneOf("min_severity", severities...), Label: p.oneOf("label", labels...), Tags: p.tags("tag")}
	answerPage(s, w, r, p, func() (api.Page[api.Alert], error) {
		return s.deps.Queries.ListAlerts(r.Context(), keyFrom(r).TenantID, req, f)
	})
}

func (s *Server) handleAlert(w http.ResponseWriter, r *http.Request) {
	if id, ok := s.pathID(w, r); ok {
		answerOne(s, w, r, func() (api.Alert, error) { return s.deps.Queries.GetAlert(r.Context(), keyFrom(r).TenantID, id) })
	}
}

func (s *Server) handleTrace(w http.ResponseWriter, r *http.Request) {
	if id, ok := s.pathID(w, r); ok {
		answerOne(s, w, r, func() (api.EventTrace, error) {
			return s.deps.Queries.TraceEvent(r.Context(), keyFrom(r).TenantID, id)
		})
	}
}

func (s *Server) handleBatches(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "only", "limit", "cursor")
	req, rejected := p.page(pageDefault, pageMost), p.oneOf("only", "rejected") == "rejected"
	answerPage(s, w, r, p, func() (api.Page[api.Receipt], error) {
		return s.deps.Queries.ListBatches(r.Context(), keyFrom(r).TenantID, req, rejected)
	})
}

func (s *Server) handleDeliveries(w http.ResponseWriter, r *http.Request) {
	id, ok := s.pathID(w, r)
	if !ok {
		return
	}
	p := readParams(r, "limit", "cursor")
	req := p.page(pageDefault, pageMost)
	answerPage(s, w, r, p, func() (api.Page[api.EndpointDelivery], error) {
		return s.deps.Queries.ListDeliveries(r.Context(), keyFrom(r).TenantID, id, req)
	})
}
