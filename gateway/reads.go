package gateway

import (
	"net/http"

	"github.com/edgepulse/edgepulse/schemas/api"
)

var (
	severities = []string{"info", "warning", "critical"}
	labels     = []string{"spike", "drop", "drift", "missingness", "stuck"}
	states     = []string{"opened", "updated", "resolved"}
)

// Pages of series may be long: a chart wants a day of seconds in few requests.
const (
	pageDefault, pageMost     = 100, 1000
	seriesDefault, seriesMost = 1000, 10000
)

// answerPage answers a page or why there is none.
func answerPage[T any](s *Server, w http.ResponseWriter, r *http.Request, p *params, find func() (api.Page[T], error)) {
	if p.problem != nil {
		s.problem(w, r, p.problem)
		return
	}
	page, err := find()
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	if page.Data == nil {
		page.Data = []T{} // an empty list is [], never null
	}
	s.writeJSON(w, r, http.StatusOK, page)
}

// answerOne answers an object named by its path.
func answerOne[T any](s *Server, w http.ResponseWriter, r *http.Request, find func() (T, error)) {
	v, err := find()
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	s.writeJSON(w, r, http.StatusOK, v)
}

// queryFailed answers an error of Queries; what is not the client's doing is logged here.
func (s *Server) queryFailed(w http.ResponseWriter, r *http.Request, err error) {
	p := queryProblem(err)
	if p.status >= 500 {
		s.logger.Error("query failed", "request_id", requestID(r.Context()), "error", err)
	}
	s.problem(w, r, p)
}

func (s *Server) handleDevices(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "device_external_id", "q", "tag*", "limit", "cursor")
	req, f := p.page(pageDefault, pageMost), DeviceFilter{ExternalID: p.name("device_external_id"), Search: p.search("q"), Tags: p.tags("tag"), Now: s.now()}
	answerPage(s, w, r, p, func() (api.Page[api.Device], error) {
		return s.deps.Queries.ListDevices(r.Context(), keyFrom(r).TenantID, req, f)
	})
}

func (s *Server) handleMetrics(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "device_id", "device_external_id", "name", "q", "tag*", "summary", "limit", "cursor")
	req := p.page(pageDefault, pageMost)
	f := MetricFilter{DeviceID: p.id("device_id", false), DeviceExternalID: p.name("device_external_id"), Name: p.name("name"),
		Search: p.search("q"), Tags: p.tags("tag"), Summary: p.oneOf("summary", "true", "false") == "true"}
	if f.Summary {
		f.Now = s.now()
	}
	answerPage(s, w, r, p, func() (api.Page[api.Metric], error) {
		return s.deps.Queries.ListMetrics(r.Context(), keyFrom(r).TenantID, req, f)
	})
}

// seriesParams are those of datapoints and scores.
func seriesParams(r *http.Request) (*params, api.PageRequest, SeriesFilter) {
	p := readParams(r, "metric_id", "from", "to", "order", "limit", "cursor")
	return p, p.page(seriesDefault, seriesMost),
		SeriesFilter{MetricID: p.id("metric_id", true), Range: p.between(), OldestFirst: p.oneOf("order", "newest", "oldest") == "oldest"}
}

func (s *Server) handleDatapoints(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("downsample") {
		s.handleDownsampled(w, r)
		return
	}
	p, req, f := seriesParams(r)
	answerPage(s, w, r, p, func() (api.Page[api.Datapoint], error) {
		return s.deps.Queries.Datapoints(r.Context(), keyFrom(r).TenantID, req, f)
	})
}

// handleDownsampled answers a range of a metric in few points.
func (s *Server) handleDownsampled(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "metric_id", "from", "to", "downsample", "buckets")
	metric, rg := p.id("metric_id", true), p.between()
	method, n := p.oneOf("downsample", "lttb", "minmax", "avg"), p.number("buckets", bucketsDefault, bucketsLeast, bucketsMost)
	switch {
	case p.text("downsample") == "":
		p.refuse("downsample", "expected one of lttb, minmax, avg")
	case rg.From.IsZero():
		p.refuse("from", "is required with downsample")
	case rg.To.IsZero():
		p.refuse("to", "is required with downsample")
	}
	if p.problem != nil {
		s.problem(w, r, p.problem)
		return
	}
	answerOne(s, w, r, func() (api.Downsampled, error) {
		return s.deps.Queries.Downsample(r.Context(), keyFrom(r).TenantID, metric, rg, method, n)
	})
}

func (s *Server) handleFeatures(w http.ResponseWriter, r *http.Request) {
	p, req, f := seriesParams(r)
	answerPage(s, w, r, p, func() (api.Page[api.Features], error) {
		return s.deps.Queries.Features(r.Context(), keyFrom(r).TenantID, req, f)
	})
}

func (s *Server) handleModels(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "metric_id", "limit", "cursor")
	req, metric := p.page(pageDefault, pageMost), p.id("metric_id", false)
	answerPage(s, w, r, p, func() (api.Page[api.Model], error) {
		return s.deps.Queries.ListModels(r.Context(), keyFrom(r).TenantID, metric, req)
	})
}

// handleModel answers a model by its version: what is no SHA-256 in hex names none.
func (s *Server) handleModel(w http.ResponseWriter, r *http.Request) {
	version, ok := modelVersion(r.PathValue("version"))
	if !ok {
		s.problem(w, r, queryProblem(ErrNotFound))
		return
	}
	answerOne(s, w, r, func() (api.Model, error) { return s.deps.Queries.GetModel(r.Context(), keyFrom(r).TenantID, version) })
}

func (s *Server) handleScores(w http.ResponseWriter, r *http.Request) {
	p, req, f := seriesParams(r)
	answerPage(s, w, r, p, func() (api.Page[api.Score], error) {
		return s.deps.Queries.Scores(r.Context(), keyFrom(r).TenantID, req, f)
	})
}

func (s *Server) handleAnomalies(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "metric_id", "device_id", "from", "to", "min_severity", "label", "tag*", "limit", "cursor")
	req := p.page(pageDefault, pageMost)
	f := AnomalyFilter{MetricID: p.id("metric_id", false), DeviceID: p.id("device_id", false), Range: p.between(),
		MinSeverity: p.oneOf("min_severity", severities...), Label: p.oneOf("label", labels...), Tags: p.tags("tag")}
	answerPage(s, w, r, p, func() (api.Page[api.Score], error) {
		return s.deps.Queries.Anomalies(r.Context(), keyFrom(r).TenantID, req, f)
	})
}

func (s *Server) handleAlertEvents(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "alert_id", "rule_id", "metric_id", "device_id", "from", "to", "state", "min_severity", "tag*", "limit", "cursor")
	req := p.page(pageDefault, pageMost)
	f := AlertEventFilter{AlertID: p.id("alert_id", false), RuleID: p.id("rule_id", false), MetricID: p.id("metric_id", false),
		DeviceID: p.id("device_id", false), Range: p.between(), State: p.oneOf("state", states...), MinSeverity: p.oneOf("min_severity", severities...),
		Tags: p.tags("tag")}
	answerPage(s, w, r, p, func() (api.Page[api.AlertEvent], error) {
		return s.deps.Queries.ListAlertEvents(r.Context(), keyFrom(r).TenantID, req, f)
	})
}

func (s *Server) handleAlertEvent(w http.ResponseWriter, r *http.Request) {
	if id, ok := s.pathID(w, r); ok {
		answerOne(s, w, r, func() (api.AlertEvent, error) {
			return s.deps.Queries.GetAlertEvent(r.Context(), keyFrom(r).TenantID, id)
		})
	}
}

func (s *Server) handleReceipt(w http.ResponseWriter, r *http.Request) {
	if id, ok := s.pathID(w, r); ok {
		answerOne(s, w, r, func() (api.Receipt, error) { return s.deps.Queries.Receipt(r.Context(), keyFrom(r).TenantID, id) })
	}
}
