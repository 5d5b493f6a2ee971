package gateway

import (
	"math"
	"net/http"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

var directions = []string{"both", "up", "down"}

// maxExpectedInterval is the longest pause between points that can be set.
const maxExpectedInterval = 31 * 86400 // seconds

func (s *Server) handleMetric(w http.ResponseWriter, r *http.Request) {
	if id, ok := s.pathID(w, r); ok {
		s.answerMetric(w, r, id)
	}
}

// answerMetric answers a metric. Its ETag is that of its settings; its model is a
// thing of its own.
func (s *Server) answerMetric(w http.ResponseWriter, r *http.Request, id schemas.ID) {
	m, err := s.deps.Queries.GetMetric(r.Context(), keyFrom(r).TenantID, id, s.now())
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	if m.Settings != nil {
		w.Header().Set("ETag", etag(m.Settings.Version))
	}
	s.writeJSON(w, r, http.StatusOK, m)
}

// handlePatchMetric changes the settings that the body names (RFC 7396).
func (s *Server) handlePatchMetric(w http.ResponseWriter, r *http.Request) {
	id, ok := s.pathID(w, r)
	if !ok {
		return
	}
	want, p := ifMatchAny(r)
	if p != nil {
		s.problem(w, r, p)
		return
	}
	tenant := keyFrom(r).TenantID
	m, err := s.deps.Queries.GetMetric(r.Context(), tenant, id, s.now())
	now := api.MetricSettings{Direction: "both", Enabled: true}
	if m.Settings != nil {
		now = *m.Settings
	}
	if err == nil && want != nil && *want != now.Version {
		err = ErrVersion
	}
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	var body struct {
		Settings struct {
			DisplayUnit      string  `json:"display_unit"`
			ExpectedInterval float64 `json:"expected_interval_seconds"`
			Direction        string  `json:"direction"`
			MinAbsDeviation  float64 `json:"min_abs_deviation"`
			Enabled          *bool   `json:"enabled"`
		} `json:"settings"`
	}
	v := &body.Settings
	v.DisplayUnit, v.ExpectedInterval, v.Direction, v.MinAbsDeviation, v.Enabled = now.DisplayUnit, now.ExpectedInterval, now.Direction, now.MinAbsDeviation, &now.Enabled
	if !s.readJSON(w, r, &body) {
		return
	}
	changed := api.MetricSettings{DisplayUnit: v.DisplayUnit, ExpectedInterval: v.ExpectedInterval, Direction: v.Direction, MinAbsDeviation: v.MinAbsDeviation,
		Enabled: v.Enabled == nil || *v.Enabled} // null is what holds without a setting
	if changed.Direction == "" {
		changed.Direction = "both"
	}
	if p := settingsProblem(changed); p != nil {
		s.problem(w, r, p)
		return
	}
	if _, err := s.deps.Queries.UpdateMetricSettings(r.Context(), tenant, id, changed, &now.Version); err != nil {
		s.queryFailed(w, r, err)
		return
	}
	s.answerMetric(w, r, id)
}

func settingsProblem(v api.MetricSettings) *problem {
	c := &checker{}
	c.text("/settings/display_unit", v.DisplayUnit, 32)
	c.within("/settings/expected_interval_seconds", v.ExpectedInterval, 0, maxExpectedInterval)
	c.oneOf("/settings/direction", v.Direction, directions)
	c.within("/settings/min_abs_deviation", v.MinAbsDeviation, 0, math.MaxFloat64)
	return c.problem()
}
