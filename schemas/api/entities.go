package api

import "time"

// Silence keeps alerts from being sent while it lasts: both the request and the
// answer of /v1/silences. Empty selectors match everything.
type Silence struct {
	ID            string     `json:"id,omitempty"`
	DevicePattern string     `json:"device_pattern,omitempty"` // glob
	MetricPattern string     `json:"metric_pattern,omitempty"` // glob
	RuleID        string     `json:"rule_id,omitempty"`
	StartsAt      time.Time  `json:"starts_at"` // event time, inclusive
	EndsAt        time.Time  `json:"ends_at"`   // event time, exclusive
	Comment       string     `json:"comment,omitempty"`
	Version       uint64     `json:"version,omitempty"`
	CreatedAt     *time.Time `json:"created_at,omitempty"`
	UpdatedAt     *time.Time `json:"updated_at,omitempty"`
}

// MetricSettings is what a person sets of a metric. The zero value is what holds
// without any, but for Enabled.
type MetricSettings struct {
	// DisplayUnit is shown instead of the unit in the payload; values stay as they are.
	DisplayUnit string `json:"display_unit"`
	// ExpectedInterval between points in seconds; 0 = learned.
	ExpectedInterval float64 `json:"expected_interval_seconds"`
	Direction        string  `json:"direction"`         // both, up, down: which deviations count
	MinAbsDeviation  float64 `json:"min_abs_deviation"` // in the metric's unit; smaller ones are not called anomalies
	Enabled          bool    `json:"enabled"`           // false: evaluated, never an alert
	// Timezone is the IANA name of the zone whose days the metric follows.
	Timezone string `json:"timezone"`
	// Window and Hop in seconds: the trailing span of the features and the distance
	// of evaluations; 0 = the service's.
	Window float64 `json:"window_seconds"`
	Hop    float64 `json:"hop_seconds"`
	// Sensitivity is about how many times as many alarms are wanted as by default.
	Sensitivity float64 `json:"sensitivity"`
	Version     uint64  `json:"version"` // 0 = nothing was ever set
	// Tags were set by API; on the wire they stand beside the settings.
	Tags map[string]string `json:"-"`
}

// DefaultMetricSettings hold where nothing was set.
func DefaultMetricSettings() MetricSettings {
	return MetricSettings{Direction: "both", Enabled: true, Timezone: "UTC", Sensitivity: 1}
}

// DeviceSettings are what was set on a device by API.
type DeviceSettings struct {
	Tags    map[string]string
	Version uint64
}

// Features is one evaluation's vector, before it is scored.
type Features struct {
	MetricID    string    `json:"metric_id"`
	TS          time.Time `json:"ts"`
	WindowStart time.Time `json:"window_start"` // exclusive
	WindowEnd   time.Time `json:"window_end"`   // inclusive
	LastTS      time.Time `json:"last_ts"`
	Value       *float64  `json:"value"`
	Extreme     *float64  `json:"extreme"`
	Last        *float64  `json:"last"`
	Count       int64     `json:"count"`
	Mean        *float64  `json:"mean"`
	Std         *float64  `json:"std"`
	Median      *float64  `json:"median"`
	MAD         *float64  `json:"mad"`
	Min         *float64  `json:"min"`
	Max         *float64  `json:"max"`
	Range       *float64  `json:"range"`
	Slope       *float64  `json:"slope"` // per second
	MissingRate *float64  `json:"missing_rate"`
	StuckRun    int64     `json:"stuck_run"`
	LowVariance bool      `json:"low_variance"`
	Step        *float64  `json:"step_seconds"` // learned; 0 = not known yet
	Silent      bool      `json:"silent"`
	Tick        bool      `json:"tick,omitempty"`
	Backfill    bool      `json:"backfill,omitempty"`
	Root        uint64    `json:"root"`
	ReceivedAt  time.Time `json:"received_at"`
}

// Model is one version of a metric's model. Version is the SHA-256 of its artefact.
type Model struct {
	Version          string    `json:"version"`
	MetricID         string    `json:"metric_id"`
	DeviceID         string    `json:"device_id"`
	DeviceExternalID string    `json:"device_external_id"`
	MetricName       string    `json:"metric_name"`
	TS               time.Time `json:"ts"`   // event time of the refit
	Rows             int64     `json:"rows"` // it was fitted to
	Root             uint64    `json:"root"`
	Partition        int       `json:"partition"`
	Archived         bool      `json:"archived"` // its artefact is in the object store
	InUse            bool      `json:"in_use"`   // the metric scores with it: it is pinned, or the newest of a metric without a pin
	Pinned           bool      `json:"pinned"`
}

// DownsampledPoint stands for the points about it.
type DownsampledPoint struct {
	TS    time.Time `json:"ts"`
	Value float64   `json:"value"`
}

// Downsampled is a range of a metric in few points, oldest first.
type Downsampled struct {
	Data        []DownsampledPoint `json:"data"`
	Method      string             `json:"method"` // lttb, minmax, avg
	Exact       bool               `json:"exact"`  // chosen among the points themselves, not among roll-ups of them
	Points      int64              `json:"points"` // that they stand for
	StepSeconds float64            `json:"step_seconds"`
}

// RequestKey is an Idempotency-Key with what it stands for.
type RequestKey struct {
	Key string   // empty = the client sent none
	Sum [32]byte // SHA-256 of the body
}
