// Package api holds the JSON shapes of EdgePulse's HTTP API (schemas/openapi.yaml
// is their contract). The store fills them, the gateway writes them.
//
// Times are RFC 3339 in UTC with microseconds; identifiers are UUID text.
package api

import (
	"encoding/json"
	"time"
)

// Page is one page of a list, newest first unless the route says otherwise.
type Page[T any] struct {
	Data       []T    `json:"data"`
	HasMore    bool   `json:"has_more"`
	NextCursor string `json:"next_cursor,omitempty"`
}

// PageRequest asks for a page. Cursor is opaque: the store made it.
type PageRequest struct {
	Limit  int
	Cursor string
}

// Range bounds event time: From inclusive, To exclusive; zero means open.
type Range struct{ From, To time.Time }

type Device struct {
	ID         string    `json:"id"`
	ExternalID string    `json:"device_external_id"`
	FirstSeen  time.Time `json:"first_seen"`
	Metrics    int       `json:"metrics"`
	// Tags were set by API. Those of the payload stand with the metrics.
	Tags map[string]string `json:"tags,omitempty"`
	// Version of what was set; 0 = nothing ever.
	Version uint64 `json:"-"`
	// LastSeen is the event time of its newest point; Silent, that one of its metrics is.
	LastSeen  *time.Time `json:"last_seen"`
	Silent    bool       `json:"silent"`
	Worst     string     `json:"worst_severity_24h,omitempty"`
	Anomalies int        `json:"anomalies_24h"` // that began
}

type Metric struct {
	ID               string    `json:"id"`
	DeviceID         string    `json:"device_id"`
	DeviceExternalID string    `json:"device_external_id"`
	Name             string    `json:"name"`
	Unit             string    `json:"unit,omitempty"`
	FirstSeen        time.Time `json:"first_seen"`
	// Tags are those of the payload, under those set by API on its device and on it.
	Tags map[string]string `json:"tags,omitempty"`
	// SetTags are those set on it by API; of one metric only.
	SetTags map[string]string `json:"set_tags,omitempty"`
	// Summary is given where it was asked for; settings of one metric only.
	*Summary
	Settings *MetricSettings `json:"settings,omitempty"`
	// Pinned is the model that the metric is held at; of one metric only.
	Pinned *ModelPin `json:"pinned,omitempty"`
}

// Summary is the state of a metric at a glance.
type Summary struct {
	LastValue *float64   `json:"last_value"`
	LastTS    *time.Time `json:"last_ts"`
	WarmUp    string     `json:"warm_up,omitempty"` // warming, calibrating, learning, trusted
	Silent    bool       `json:"silent"`
	Worst     string     `json:"worst_severity_24h,omitempty"`
	Anomalies int        `json:"anomalies_24h"`
	// Spark holds the last value of each of equal steps from SparkFrom to SparkTo;
	// null where a step has none.
	Spark     []*float64 `json:"spark"`
	SparkFrom *time.Time `json:"spark_from,omitempty"`
	SparkTo   *time.Time `json:"spark_to,omitempty"`
}

type Datapoint struct {
	TS    time.Time `json:"ts"`
	Value float64   `json:"value"`
	Flags []string  `json:"flags,omitempty"` // "late", "ts_missing", "behind"
	Root  uint64    `json:"root"`
}

type Contribution struct {
	Name  string  `json:"name"`
	Share float64 `json:"share"`
}

// Score is one evaluation. Anomalies are the scores whose severity is not "none".
type Score struct {
	MetricID         string         `json:"metric_id"`
	DeviceID         string         `json:"device_id"`
	DeviceExternalID string         `json:"device_external_id,omitempty"`
	MetricName       string         `json:"metric_name,omitempty"`
	TS               time.Time      `json:"ts"`
	WindowStart      time.Time      `json:"window_start"`
	WindowEnd        time.Time      `json:"window_end"`
	Value            float64        `json:"value"`
	Score            float64        `json:"score"`
	AlarmScore       float64        `json:"alarm_score"`
	Severity         string         `json:"severity"`
	Label            string         `json:"label,omitempty"`
	SubLabel         string         `json:"sub_label,omitempty"`
	Expected         *float64       `json:"expected"`
	Lower            *float64       `json:"lower"`
	Upper            *float64       `json:"upper"`
	Explanation      string         `json:"explanation,omitempty"`
	Contributors     []Contribution `json:"contributors,omitempty"`
	WarmUp           string         `json:"warm_up"`
	WarmUpETA        float64        `json:"warm_up_eta_seconds,omitempty"`
	ModelVersion     string         `json:"model_version,omitempty"`
	Tick             bool           `json:"tick,omitempty"`
	Backfill         bool           `json:"backfill,omitempty"`
	Root             uint64         `json:"root"`
}

// AlertRule is both the request and the answer of /v1/alert-rules.
type AlertRule struct {
	ID              string            `json:"id,omitempty"`
	Name            string            `json:"name"`
	DevicePattern   string            `json:"device_pattern,omitempty"` // glob; empty = any
	MetricPattern   string            `json:"metric_pattern,omitempty"` // glob; empty = any
	DeviceIDs       []string          `json:"device_ids,omitempty"`
	MetricIDs       []string          `json:"metric_ids,omitempty"`
	Tags            map[string]string `json:"tags,omitempty"`
	MinScore        float64           `json:"min_score,omitempty"`    // alarm score, [0,1]
	MinSeverity     string            `json:"min_severity,omitempty"` // info, warning, critical
	Labels          []string          `json:"labels,omitempty"`
	Direction       string            `json:"direction,omitempty"` // both, up, down
	MinAbsDeviation float64           `json:"min_abs_deviation,omitempty"`
	MinRelDeviation float64           `json:"min_rel_deviation,omitempty"`
	For             string            `json:"for,omitempty"` // Go duration, event time
	ResolveScore    float64           `json:"resolve_score,omitempty"`
	ResolveAfter    string            `json:"resolve_after,omitempty"`
	Cooldown        string            `json:"cooldown,omitempty"`
	UpdateEvery     string            `json:"update_every,omitempty"`
	Enabled         *bool             `json:"enabled,omitempty"` // default true
	NotifyBackfill  bool              `json:"notify_backfill,omitempty"`
	Version         uint64            `json:"version,omitempty"`
	CreatedAt       *time.Time        `json:"created_at,omitempty"`
	UpdatedAt       *time.Time        `json:"updated_at,omitempty"`
}

// Webhook is an endpoint. Secret is present in the answer to its creation only.
type Webhook struct {
	ID             string     `json:"id,omitempty"`
	URL            string     `json:"url"`
	Description    string     `json:"description,omitempty"`
	MinSeverity    string     `json:"min_severity,omitempty"`
	Enabled        *bool      `json:"enabled,omitempty"`
	DisabledReason string     `json:"disabled_reason,omitempty"`
	Secret         string     `json:"secret,omitempty"`
	Version        uint64     `json:"version,omitempty"`
	CreatedAt      *time.Time `json:"created_at,omitempty"`
}

// Delivery is one attempt to send an event, or its plan (attempt 0).
type Delivery struct {
	WebhookID  string     `json:"webhook_id"` // the webhook-id header
	EndpointID string     `json:"endpoint_id"`
	Attempt    uint32     `json:"attempt"`
	At         time.Time  `json:"at"`
	Outcome    string     `json:"outcome"` // planned, delivered, retry, gave_up
	Status     uint32     `json:"status,omitempty"`
	Error      string     `json:"error,omitempty"`
	NextAt     *time.Time `json:"next_at,omitempty"`
}

// AlertEvent is one transition of an alert. The same object, without
// deliveries, is the "data" of a webhook.
type AlertEvent struct {
	EventID          string         `json:"event_id"`
	AlertID          string         `json:"alert_id"`
	RuleID           string         `json:"rule_id"`
	RuleName         string         `json:"rule_name"`
	TenantID         string         `json:"tenant_id"`
	DeviceID         string         `json:"device_id"`
	DeviceExternalID string         `json:"device_external_id"`
	MetricID         string         `json:"metric_id"`
	MetricName       string         `json:"metric_name"`
	Unit             string         `json:"unit,omitempty"`
	State            string         `json:"state"` // opened, updated, resolved
	Ordinal          uint32         `json:"ordinal"`
	OpenedAt         time.Time      `json:"opened_at"`
	TS               time.Time      `json:"ts"`
	WindowStart      time.Time      `json:"window_start"`
	WindowEnd        time.Time      `json:"window_end"`
	Value            float64        `json:"value"`
	Score            float64        `json:"score"`
	AlarmScore       float64        `json:"alarm_score"`
	Expected         *float64       `json:"expected"`
	Lower            *float64       `json:"lower"`
	Upper            *float64       `json:"upper"`
	Severity         string         `json:"severity"`
	Label            string         `json:"label"`
	SubLabel         string         `json:"sub_label,omitempty"`
	Explanation      string         `json:"explanation"`
	Contributors     []Contribution `json:"contributors,omitempty"`
	Backfill         bool           `json:"backfill,omitempty"`
	Notified         bool           `json:"notified"`
	SuppressedBy     string         `json:"suppressed_by,omitempty"`
	Root             uint64         `json:"root"`
	Partition        int            `json:"partition"`
	Deliveries       []Delivery     `json:"deliveries,omitempty"`
}

// Rejection names one refused item of a batch.
type Rejection struct {
	Pointer string `json:"pointer"`
	Code    string `json:"code"`
	Detail  string `json:"detail,omitempty"`
}

// Receipt is the authoritative account of one ingest request. Until every part
// has passed the normaliser, Complete is false and the counts are partial.
type Receipt struct {
	BatchID     string      `json:"batch_id"`
	Complete    bool        `json:"complete"`
	Parts       int         `json:"parts"`
	PartsDone   int         `json:"parts_done"`
	ReceivedAt  time.Time   `json:"received_at"`
	Points      int         `json:"points"`
	Accepted    int         `json:"accepted"`
	Duplicate   int         `json:"duplicate"`
	Conflicting int         `json:"conflicting"`
	Late        int         `json:"late"`
	Rejected    int         `json:"rejected"`
	Rejections  []Rejection `json:"rejections,omitempty"`
	Repeat      bool        `json:"repeat,omitempty"` // repeats an Idempotency-Key
	Backfill    bool        `json:"backfill,omitempty"`
	Source      string      `json:"source,omitempty"`
	Roots       []Root      `json:"roots,omitempty"`
}

// Root is a position in the truth: message Sequence of INGEST_<Partition>.
type Root struct {
	Partition int    `json:"partition"`
	Sequence  uint64 `json:"sequence"`
}

// ItemError locates one fault of a request by JSON pointer (RFC 6901).
type ItemError struct {
	Pointer string `json:"pointer"`
	Code    string `json:"code"`
	Detail  string `json:"detail"`
}

// Problem is application/problem+json (RFC 9457) with EdgePulse's extensions.
type Problem struct {
	Type       string      `json:"type"`
	Title      string      `json:"title"`
	Status     int         `json:"status"`
	Detail     string      `json:"detail,omitempty"`
	Instance   string      `json:"instance,omitempty"`
	Code       string      `json:"code"`
	RequestID  string      `json:"request_id"`
	Errors     []ItemError `json:"errors,omitempty"`
	ErrorCount int         `json:"error_count,omitempty"` // all of them; at most 100 are listed
}

// IngestAnswer is the body of a 202.
type IngestAnswer struct {
	BatchID    string      `json:"batch_id"`
	Accepted   int         `json:"accepted"`
	Rejected   int         `json:"rejected"`
	Errors     []ItemError `json:"errors,omitempty"`
	ErrorCount int         `json:"error_count,omitempty"`
	Repeat     bool        `json:"repeat,omitempty"` // the gateway recognised the Idempotency-Key (best effort)
	Receipt    string      `json:"receipt"`          // path of the authoritative receipt
	// Status is "spilled" when the edge keeps the request until the gateway is back:
	// on disk, but not judged yet, so that the counts are zero.
	Status string `json:"status,omitempty"`
}

// DeadLetter is an entry that a stage could not take.
type DeadLetter struct {
	Stage     string          `json:"stage"`
	Partition int             `json:"partition"`
	Root      uint64          `json:"root"`
	Index     uint32          `json:"index"`
	Reason    string          `json:"reason"`
	Detail    string          `json:"detail"`
	TenantID  string          `json:"tenant_id,omitempty"`
	Entry     json.RawMessage `json:"entry,omitempty"`
}
