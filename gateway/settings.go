package gateway

import (
	"cmp"
	"fmt"
	"math"
	"net/http"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/schemas/zones"
)

var directions = []string{"both", "up", "down"}

// maxExpectedInterval is the longest pause between points that can be set.
const maxExpectedInterval = 31 * 86400 // seconds

// Bounds of what decides how a metric is evaluated. A window takes no more memory
// when it is longer; beyond a day the median says nothing of now.
const (
	minWindow, maxWindow, usualWindow = 10, 86400, 300 // seconds
	minHop, maxHop                    = 1, 3600        // seconds
	minSensitivity, maxSensitivity    = .1, 10
)

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
	now := api.DefaultMetricSettings()
	if m.Settings != nil {
		now = *m.Settings
		now.Tags = m.SetTags
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
			Timezone         string  `json:"timezone"`
			Window           float64 `json:"window_seconds"`
			Hop              float64 `json:"hop_seconds"`
			Sensitivity      float64 `json:"sensitivity"`
		} `json:"settings"`
		Tags tagsPatch `json:"tags"`
	}
	body.Tags = patchOf(now.Tags)
	v := &body.Settings
	v.DisplayUnit, v.ExpectedInterval, v.Direction, v.MinAbsDeviation, v.Enabled = now.DisplayUnit, now.ExpectedInterval, now.Direction, now.MinAbsDeviation, &now.Enabled
	v.Timezone, v.Window, v.Hop, v.Sensitivity = now.Timezone, now.Window, now.Hop, now.Sensitivity
	if !s.readJSON(w, r, &body) {
		return
	}
	changed := api.MetricSettings{DisplayUnit: v.DisplayUnit, ExpectedInterval: v.ExpectedInterval, Direction: v.Direction, MinAbsDeviation: v.MinAbsDeviation,
		Enabled:  v.Enabled == nil || *v.Enabled, // null is what holds without a setting
		Timezone: cmp.Or(v.Timezone, "UTC"), Window: v.Window, Hop: v.Hop, Sensitivity: cmp.Or(v.Sensitivity, 1), Tags: body.Tags.tags()}
	changed.Direction = cmp.Or(changed.Direction, "both")
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
	_, err := zones.Find(v.Timezone)
	c.that(err == nil, "/settings/timezone", "out_of_range", "expected the IANA name of a time zone, such as Europe/Berlin")
	c.that(v.Window == 0 || v.Window >= minWindow && v.Window <= maxWindow, "/settings/window_seconds", "out_of_range",
		fmt.Sprintf("expected a number from %d to %d, or 0 for the usual %d", minWindow, maxWindow, usualWindow))
	c.that(v.Hop == 0 || v.Hop >= minHop && v.Hop <= min(maxHop, cmp.Or(v.Window, usualWindow)), "/settings/hop_seconds", "out_of_range",
		fmt.Sprintf("expected a number from %d to %d and at most window_seconds, or 0 for the usual one", minHop, maxHop))
	c.within("/settings/sensitivity", v.Sensitivity, minSensitivity, maxSensitivity)
	c.tags("/tags", v.Tags)
	return c.problem()
}
