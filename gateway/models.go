package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/schemas/payload"
)

// What the implementations of Queries say of models.
var (
	ErrUnknownModel   = errors.New("the metric has no such model")
	ErrOtherMetric    = errors.New("the models are of different metrics")
	ErrNoEarlierModel = errors.New("there is no model before the one in use")
	ErrModelGone      = errors.New("the model's artefact is gone")
	ErrModelUnfit     = errors.New("the model does not fit") // to the features that are made now
)

// Evaluations that a diff scores with both models.
const (
	diffDefault, diffMost = 500, 5000
)

// modelVersion reads a model's version: SHA-256 in lower-case hex, so that one thing
// has one name.
func modelVersion(text string) ([]byte, bool) {
	v, err := hex.DecodeString(text)
	return v, err == nil && len(v) == sha256.Size && hex.EncodeToString(v) == text
}

// handleModelDiff compares a model with another one of its metric, by default with
// the one in use.
func (s *Server) handleModelDiff(w http.ResponseWriter, r *http.Request) {
	p := readParams(r, "against", "evaluations")
	n := p.number("evaluations", diffDefault, 1, diffMost)
	var against []byte
	if v := p.text("against"); v != "" {
		var ok bool
		if against, ok = modelVersion(v); !ok {
			p.refuse("against", "expected the version of a model: 64 digits of lower-case hex")
		}
	}
	if p.problem != nil {
		s.problem(w, r, p.problem)
		return
	}
	version, ok := modelVersion(r.PathValue("version"))
	if !ok {
		s.problem(w, r, queryProblem(ErrNotFound))
		return
	}
	answerOne(s, w, r, func() (api.ModelDiff, error) {
		return s.deps.Queries.DiffModels(r.Context(), keyFrom(r).TenantID, version, against, n)
	})
}

func (s *Server) handleMetricModel(w http.ResponseWriter, r *http.Request) {
	if id, ok := s.pathID(w, r); ok {
		v, err := s.deps.Queries.GetMetricModel(r.Context(), keyFrom(r).TenantID, id)
		s.answerMetricModel(w, r, v, err)
	}
}

func (s *Server) answerMetricModel(w http.ResponseWriter, r *http.Request, v api.MetricModel, err error) {
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	w.Header().Set("ETag", etag(v.Version))
	s.writeJSON(w, r, http.StatusOK, v)
}

// pinRequest reads what the changes of a metric's model have in common.
func (s *Server) pinRequest(w http.ResponseWriter, r *http.Request) (metric schemas.ID, ifVersion *uint64, ok bool) {
	if metric, ok = s.pathID(w, r); !ok {
		return metric, nil, false
	}
	ifVersion, p := ifMatchAny(r)
	if p != nil {
		s.problem(w, r, p)
		return metric, nil, false
	}
	return metric, ifVersion, true
}

func (s *Server) handlePinModel(w http.ResponseWriter, r *http.Request) {
	metric, ifVersion, ok := s.pinRequest(w, r)
	if !ok {
		return
	}
	var body struct {
		Version string `json:"version"`
	}
	if !s.readJSON(w, r, &body) {
		return
	}
	version, ok := modelVersion(body.Version)
	switch {
	case body.Version == "":
		s.problem(w, r, invalid("/version", payload.CodeMissingField, "the version of a model is required; DELETE unpins"))
		return
	case !ok:
		s.problem(w, r, invalid("/version", "bad_version", "expected the version of a model: 64 digits of lower-case hex"))
		return
	}
	v, err := s.deps.Queries.PinModel(r.Context(), keyFrom(r).TenantID, metric, version, ifVersion)
	s.answerMetricModel(w, r, v, err)
}

func (s *Server) handleUnpinModel(w http.ResponseWriter, r *http.Request) {
	metric, ifVersion, ok := s.pinRequest(w, r)
	if !ok {
		return
	}
	if err := s.deps.Queries.UnpinModel(r.Context(), keyFrom(r).TenantID, metric, ifVersion); err != nil {
		s.queryFailed(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// handleRollBackModel pins the model before the one in use. Doing so twice goes back
// twice, hence the Idempotency-Key.
func (s *Server) handleRollBackModel(w http.ResponseWriter, r *http.Request) {
	metric, ifVersion, ok := s.pinRequest(w, r)
	if !ok {
		return
	}
	key, p := idempotencyKey(r)
	if p != nil {
		s.problem(w, r, p)
		return
	}
	once := api.RequestKey{Key: key, Sum: sha256.Sum256(metric[:])} // there is no body: the metric is what it asks for
	v, err := s.deps.Queries.RollBackModel(r.Context(), keyFrom(r).TenantID, metric, ifVersion, once)
	s.answerMetricModel(w, r, v, err)
}

// modelProblem answers what Queries says of models; nil for anything else.
func modelProblem(err error) *problem {
	switch {
	case errors.Is(err, ErrUnknownModel):
		return invalid("/version", "unknown_model", "this metric has no such model; GET /v1/models?metric_id= lists those that it has")
	case errors.Is(err, ErrOtherMetric):
		p := newProblem(http.StatusUnprocessableEntity, "invalid_request", "models of different metrics can't be compared")
		p.errors = []api.ItemError{{Pointer: "?against", Code: "other_metric", Detail: "expected a model of the same metric"}}
		return p
	case errors.Is(err, ErrNoEarlierModel):
		return newProblem(http.StatusConflict, "no_earlier_model", "there is no model before the one in use; GET /v1/models?metric_id= lists all")
	case errors.Is(err, ErrModelGone):
		return newProblem(http.StatusGone, "model_gone", "the model's artefact is no longer in the object store, or damaged there; choose another version")
	case errors.Is(err, ErrModelUnfit):
		return newProblem(http.StatusUnprocessableEntity, "model_unfit", "the model was made over other features than are computed now; choose a newer version")
	}
	return nil
}
