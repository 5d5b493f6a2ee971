package api

import (
	"encoding/json"
	"time"
)

// The shapes behind the dashboard: answers that gather what a page shows.

// Session says who is signed in.
type Session struct {
	TenantID   string    `json:"tenant_id"`
	TenantName string    `json:"tenant_name"`
	KeyID      string    `json:"key_id"`
	KeyName    string    `json:"key_name"`
	Scopes     []string  `json:"scopes"`
	ExpiresAt  time.Time `json:"expires_at"`
}

// Overview is a tenant at a glance.
type Overview struct {
	Now              time.Time      `json:"now"` // of the service's clock
	Devices          int            `json:"devices"`
	Metrics          int            `json:"metrics"`
	OpenAlerts       int            `json:"open_alerts"`
	PointsPerSecond  float64        `json:"points_per_second"` // over the last ten seconds
	Points24h        int64          `json:"points_24h"`
	AnomaliesPerHour []AnomalyHour  `json:"anomalies_per_hour"`
	IngestPerMinute  []IngestMinute `json:"ingest_per_minute"` // the last 60, oldest first
	Silent           []SilentMetric `json:"silent"`            // longest first, at most 100
	Worst            []Metric       `json:"worst"`             // of the last 24 h, at most 10, with summaries
}

// AnomalyHour counts the anomalies that began in an hour, by label: evaluations
// whose severity is not none, without those that go on from the one before.
type AnomalyHour struct {
	Hour        time.Time `json:"hour"`
	Spike       int       `json:"spike"`
	Drop        int       `json:"drop"`
	Drift       int       `json:"drift"`
	Missingness int       `json:"missingness"`
	Stuck       int       `json:"stuck"`
}

// IngestMinute counts what was received in a minute and has passed the normaliser.
type IngestMinute struct {
	Minute   time.Time `json:"minute"`
	Points   int64     `json:"points"` // accepted
	Requests int64     `json:"requests"`
	Rejected int64     `json:"rejected"` // points
}

// SilentMetric has not been heard for longer than it usually pauses.
type SilentMetric struct {
	MetricID         string    `json:"metric_id"`
	DeviceID         string    `json:"device_id"`
	DeviceExternalID string    `json:"device_external_id"`
	MetricName       string    `json:"metric_name"`
	LastTS           time.Time `json:"last_ts"`
	SilentFor        float64   `json:"silent_for_seconds"`
}

// Alert is the latest event of an alert with what its events add up to.
type Alert struct {
	AlertEvent
	ResolvedAt *time.Time   `json:"resolved_at"` // event time
	Events     int          `json:"events"`
	History    []AlertEvent `json:"history,omitempty"` // oldest first, with deliveries; of one alert only
}

// Series is a metric over a range, cut for a chart.
type Series struct {
	MetricID     string        `json:"metric_id"`
	From         time.Time     `json:"from"`
	To           time.Time     `json:"to"`
	StepSeconds  float64       `json:"step_seconds"`
	Raw          bool          `json:"raw"` // every point as it is
	Points       []SeriesPoint `json:"points"`
	Anomalies    []Score       `json:"anomalies"`     // oldest first
	AnomaliesCut bool          `json:"anomalies_cut"` // there are more; the newest are here
}

// SeriesPoint is a bucket, or a point of a raw series. Empty buckets are absent.
type SeriesPoint struct {
	TS         time.Time `json:"ts"` // where the bucket begins
	Min        float64   `json:"min"`
	Max        float64   `json:"max"`
	Avg        float64   `json:"avg"`
	Last       float64   `json:"last"`
	Count      int       `json:"count"`
	Expected   *float64  `json:"expected"` // mean over the bucket, as Lower and Upper
	Lower      *float64  `json:"lower"`
	Upper      *float64  `json:"upper"`
	Score      *float64  `json:"score"` // highest of the bucket, as AlarmScore
	AlarmScore *float64  `json:"alarm_score"`
}

// EventTrace is the way of an alert event back to the bytes that caused it.
type EventTrace struct {
	Event    AlertEvent      `json:"event"`
	Rule     *AlertRule      `json:"rule"`     // as it is now; null when it is deleted
	Score    *Score          `json:"score"`    // null: not projected, or thrown away
	Features json.RawMessage `json:"features"` // null likewise
	Points   []TracePoint    `json:"points"`   // of the evaluated window, newest first, at most 1000
	Request  *TraceRequest   `json:"request"`  // that carried the event's root; null when a tick caused it
	Raw      *RawPayload     `json:"raw"`      // null likewise
	Parts    []TracePart     `json:"parts"`    // of requests, at the roots of event and points
	Stages   []StageTime     `json:"stages"`
}

// TracePoint is a sample of the evaluated window.
type TracePoint struct {
	Datapoint
	Partition int `json:"partition"`
}

// TracePart names the part of a request that stands at a root.
type TracePart struct {
	Root      Root   `json:"root"`
	RequestID string `json:"request_id"`
	Part      int    `json:"part"`
	Parts     int    `json:"parts"`
	KeyID     string `json:"key_id"`
	Source    string `json:"source"`
}

// TraceRequest is the receipt of a request, and who sent it.
type TraceRequest struct {
	Receipt
	KeyID string `json:"key_id"`
}

// RawPayload is a device object as it was received.
type RawPayload struct {
	Partition  int    `json:"partition"`
	Root       uint64 `json:"root"`
	DeviceJSON string `json:"device_json"` // at most 64 KiB
	Truncated  bool   `json:"truncated"`
	Bytes      int    `json:"bytes"`
	BodySHA256 string `json:"body_sha256"` // of the whole body, in hex
	Source     string `json:"source"`      // log, archive
}

// StageTime says when an event had passed a stage: received, stored, scored, decided, delivered.
type StageTime struct {
	Stage string    `json:"stage"`
	At    time.Time `json:"at"`
}

// EndpointDelivery is an attempt to deliver to one endpoint, with what it carried.
type EndpointDelivery struct {
	Delivery
	EventID          string `json:"event_id"`
	AlertID          string `json:"alert_id"`
	State            string `json:"state"`
	Severity         string `json:"severity"`
	Label            string `json:"label"`
	DeviceExternalID string `json:"device_external_id"`
	MetricName       string `json:"metric_name"`
}

// WebhookTest is what came of a test event.
type WebhookTest struct {
	Outcome    string  `json:"outcome"` // delivered, failed
	Status     int     `json:"status,omitempty"`
	Error      string  `json:"error,omitempty"`
	DurationMS float64 `json:"duration_ms"`
}

// LivePoints are points of a metric as they come: unix milliseconds and value.
type LivePoints struct {
	MetricID string       `json:"metric_id"`
	Points   [][2]float64 `json:"points"`
}

// LiveIngest is what a tenant sends, over the last second.
type LiveIngest struct {
	PointsPerSecond   float64 `json:"points_per_second"`
	RequestsPerSecond float64 `json:"requests_per_second"`
}

// LiveDropped counts scores and points that a slow reader did not get since the last such event.
type LiveDropped struct {
	Count uint64 `json:"count"`
}
