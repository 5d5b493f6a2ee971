// Package gateway is the way in: it authenticates, validates and bounds requests,
// writes what it accepts to INGEST, and serves the API.
//
// What comes in: HTTP; control entries of the outbox relay (AppendControl); the
// clock. What goes out: one schemas.Group per publish and partition (entries
// batch, tick, control), HTTP answers, problems as application/problem+json.
//
// Order: per partition the order of gathering; received_at never goes back within
// a partition; controls and ticks go before batches gathered with them.
//
// State: none that matters. Caches of keys (seconds) and of idempotency keys
// (best effort; the normaliser is authoritative) may vanish at any time.
//
// Failure: a 202 is sent only after every part of a request is on disk. A publish
// that fails or whose result is unknown answers 503 to all its requests and is
// never repeated by the gateway: the client repeats, and point identity drops what
// was stored after all. When bytes in flight exceed their bound, requests are
// refused (429 for one tenant, 503 for all) before their body is read.
package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// Log is where accepted entries go.
type Log interface {
	// Append stores one encoded schemas.Group in INGEST_<partition> and returns its
	// sequence after the broker has it on disk (on a quorum where there is one). An
	// error means refused or unknown. It must not publish again by itself after an
	// unknown result, and must not keep group after it returns.
	Append(ctx context.Context, partition int, group []byte) (root uint64, err error)
}

// Keys finds API keys.
type Keys interface {
	// LookupKey returns ErrNotFound for an id that does not exist. Any other error
	// means that the store can't be asked now.
	LookupKey(ctx context.Context, keyID string) (KeyRecord, error)
}

// KeyRecord is what is stored about an API key and its tenant.
type KeyRecord struct {
	KeyID          string
	TenantID       schemas.ID
	Hash           []byte // apikey.Hash(pepper, secret)
	Scopes         []string
	EdgeHash       []byte // edge.Hash(pepper, secret); nil for a key the edge can't know
	Revoked        bool
	RevokedAt      time.Time // when Revoked
	ExpiresAt      time.Time // zero = never
	TenantDisabled bool
	DisabledAt     time.Time // of the tenant, when TenantDisabled
	DevicePattern  string    // glob over the devices that it may write; empty = any
	Limits                   // of the tenant's plan
}

// Scopes of API keys.
const (
	ScopeIngest   = "ingest"
	ScopeBackfill = "backfill" // with ingest: any past ts
	ScopeRead     = "read"
	ScopeAdmin    = "admin" // rules, webhooks, clock; includes read
	ScopeOwner    = "owner" // of the owner's token only: no key has it
)

// Clock tells the time of receipt, in microseconds.
type Clock interface{ Now() int64 }

// Queries answers the reading and configuring part of the API. Every method is
// scoped to the tenant: what belongs to another one is ErrNotFound.
type Queries interface {
	// Identity names a tenant and a key of it.
	Identity(ctx context.Context, tenant schemas.ID, keyID string) (api.Session, error)

	Overview(ctx context.Context, tenant schemas.ID, now time.Time, hours int) (api.Overview, error)
	ListDevices(ctx context.Context, tenant schemas.ID, p api.PageRequest, f DeviceFilter) (api.Page[api.Device], error)
	ListMetrics(ctx context.Context, tenant schemas.ID, p api.PageRequest, f MetricFilter) (api.Page[api.Metric], error)
	// GetDevice and GetMetric answer with their summaries.
	GetDevice(ctx context.Context, tenant, device schemas.ID, now time.Time) (api.Device, error)
	GetMetric(ctx context.Context, tenant, metric schemas.ID, now time.Time) (api.Metric, error)
	// UpdateMetricSettings replaces the settings of a metric; those of version *ifVersion only, else
	// ErrVersion. nil = of any.
	UpdateMetricSettings(ctx context.Context, tenant, metric schemas.ID, settings api.MetricSettings, ifVersion *uint64) (api.MetricSettings, error)
	// UpdateDeviceSettings is the same for a device.
	UpdateDeviceSettings(ctx context.Context, tenant, device schemas.ID, settings api.DeviceSettings, ifVersion *uint64) (api.DeviceSettings, error)
	// ListModels lists all models, or those of one metric where it is not Nil.
	ListModels(ctx context.Context, tenant, metric schemas.ID, p api.PageRequest) (api.Page[api.Model], error)
	GetModel(ctx context.Context, tenant schemas.ID, version []byte) (api.Model, error)
	// DiffModels compares a model with another of its metric, nil = with the one in use, over
	// the metric's last evaluations; a model of another metric is ErrOtherMetric.
	DiffModels(ctx context.Context, tenant schemas.ID, model, against []byte, evaluations int) (api.ModelDiff, error)
	// GetMetricModel says which model a metric scores with.
	GetMetricModel(ctx context.Context, tenant, metric schemas.ID) (api.MetricModel, error)
	// PinModel, UnpinModel and RollBackModel change that; ifVersion is as for the settings. See
	// ErrUnknownModel, ErrNoEarlierModel, ErrModelGone and ErrModelUnfit.
	PinModel(ctx context.Context, tenant, metric schemas.ID, model []byte, ifVersion *uint64) (api.MetricModel, error)
	UnpinModel(ctx context.Context, tenant, metric schemas.ID, ifVersion *uint64) error
	// RollBackModel pins the model before the one in use, once for one RequestKey.
	RollBackModel(ctx context.Context, tenant, metric schemas.ID, ifVersion *uint64, once api.RequestKey) (api.MetricModel, error)
	// Series cuts a range of a metric into at most buckets steps.
	Series(ctx context.Context, tenant, metric schemas.ID, r api.Range, buckets int) (api.Series, error)
	Datapoints(ctx context.Context, tenant schemas.ID, p api.PageRequest, f SeriesFilter) (api.Page[api.Datapoint], error)
	// Downsample shows a range with both ends in at most n points: lttb, minmax or avg.
	Downsample(ctx context.Context, tenant, metric schemas.ID, r api.Range, method string, n int) (api.Downsampled, error)
	Features(ctx context.Context, tenant schemas.ID, p api.PageRequest, f SeriesFilter) (api.Page[api.Features], error)
	Scores(ctx context.Context, tenant schemas.ID, p api.PageRequest, f SeriesFilter) (api.Page[api.Score], error)
	Anomalies(ctx context.Context, tenant schemas.ID, p api.PageRequest, f AnomalyFilter) (api.Page[api.Score], error)
	ListAlertEvents(ctx context.Context, tenant schemas.ID, p api.PageRequest, f AlertEventFilter) (api.Page[api.AlertEvent], error)
	GetAlertEvent(ctx context.Context, tenant, event schemas.ID) (api.AlertEvent, error)
	// TraceEvent follows an event back to the bytes that caused it.
	TraceEvent(ctx context.Context, tenant, event schemas.ID) (api.EventTrace, error)
	ListAlerts(ctx context.Context, tenant schemas.ID, p api.PageRequest, f AlertFilter) (api.Page[api.Alert], error)
	GetAlert(ctx context.Context, tenant, alert schemas.ID) (api.Alert, error)
	// ListBatches answers one receipt per request; onlyRejected leaves out those without a refused point.
	ListBatches(ctx context.Context, tenant schemas.ID, p api.PageRequest, onlyRejected bool) (api.Page[api.Receipt], error)
	Receipt(ctx context.Context, tenant, batch schemas.ID) (api.Receipt, error)

	// AlertsFrom and MetricNames serve the live stream; see live.Backlog and live.Names.
	AlertsFrom(ctx context.Context, tenant schemas.ID, partition int, root uint64, skip, limit int) (events []api.AlertEvent, through uint64, err error)
	MetricNames(ctx context.Context, tenant, metric schemas.ID) (device, metricName string, err error)

	ListAlertRules(ctx context.Context, tenant schemas.ID, p api.PageRequest) (api.Page[api.AlertRule], error)
	GetAlertRule(ctx context.Context, tenant, rule schemas.ID) (api.AlertRule, error)
	// CreateAlertRule, CreateSilence and CreateWebhook make nothing twice for one RequestKey: a repeat
	// is answered like the first, another body with ErrOtherBody.
	CreateAlertRule(ctx context.Context, tenant schemas.ID, rule api.AlertRule, once api.RequestKey) (api.AlertRule, error)
	// UpdateAlertRule replaces a rule. With ifVersion > 0 only that version, else ErrVersion.
	UpdateAlertRule(ctx context.Context, tenant, id schemas.ID, rule api.AlertRule, ifVersion uint64) (api.AlertRule, error)
	DeleteAlertRule(ctx context.Context, tenant, rule schemas.ID, ifVersion uint64) error

	// ListSilences lists all silences, or those in force at an instant.
	ListSilences(ctx context.Context, tenant schemas.ID, p api.PageRequest, activeAt time.Time) (api.Page[api.Silence], error)
	GetSilence(ctx context.Context, tenant, silence schemas.ID) (api.Silence, error)
	CreateSilence(ctx context.Context, tenant schemas.ID, silence api.Silence, once api.RequestKey) (api.Silence, error)
	UpdateSilence(ctx context.Context, tenant, id schemas.ID, silence api.Silence, ifVersion uint64) (api.Silence, error)
	DeleteSilence(ctx context.Context, tenant, silence schemas.ID, ifVersion uint64) error

	ListWebhooks(ctx context.Context, tenant schemas.ID, p api.PageRequest) (api.Page[api.Webhook], error)
	GetWebhook(ctx context.Context, tenant, webhook schemas.ID) (api.Webhook, error)
	// CreateWebhook makes the secret and returns it, this once.
	CreateWebhook(ctx context.Context, tenant schemas.ID, webhook api.Webhook, once api.RequestKey) (api.Webhook, error)
	// UpdateWebhook replaces url, description, min_severity and enabled.
	UpdateWebhook(ctx context.Context, tenant, id schemas.ID, webhook api.Webhook, ifVersion uint64) (api.Webhook, error)
	DeleteWebhook(ctx context.Context, tenant, webhook schemas.ID, ifVersion uint64) error
	// RotateWebhookSecret makes a new secret and returns it, this once; the old one signs beside it for a day.
	RotateWebhookSecret(ctx context.Context, tenant, webhook schemas.ID) (api.Webhook, error)
	// ListDeliveries lists the attempts to deliver to an endpoint.
	ListDeliveries(ctx context.Context, tenant, webhook schemas.ID, p api.PageRequest) (api.Page[api.EndpointDelivery], error)
	// TestWebhook sends a signed test event and says what came of it.
	TestWebhook(ctx context.Context, tenant, webhook schemas.ID) (api.WebhookTest, error)
}

// Filters: a zero field does not filter.
type (
	DeviceFilter struct {
		ExternalID string
		Search     string            // part of the name
		Tags       map[string]string // of one of its metrics, all
		Now        time.Time         // what "now" means for last_seen and silent; always set
	}
	MetricFilter struct {
		DeviceID         schemas.ID
		DeviceExternalID string
		Name             string
		Search           string            // part of the name of metric or device
		Tags             map[string]string // all
		Summary          bool              // with summaries
		Now              time.Time         // set with Summary
	}
	// SeriesFilter names one metric; MetricID is always set.
	SeriesFilter struct {
		MetricID    schemas.ID
		Range       api.Range
		OldestFirst bool // else newest first, as every list
	}
	AnomalyFilter struct {
		MetricID, DeviceID schemas.ID
		Range              api.Range
		MinSeverity        string // info, warning, critical
		Label              string
		Tags               map[string]string // of the metric, all
	}
	AlertFilter struct {
		MetricID, DeviceID schemas.ID
		State              string            // open, resolved
		MinSeverity, Label string            // of the latest event
		Tags               map[string]string // of the metric, all
	}
	AlertEventFilter struct {
		AlertID, RuleID, MetricID, DeviceID schemas.ID
		Range                               api.Range
		State                               string // opened, updated, resolved
		MinSeverity                         string
		Tags                                map[string]string // of the metric, all
	}
)

// Errors by which the implementations of the interfaces tell the gateway what to answer.
var (
	ErrNotFound  = errors.New("not found")
	ErrBadCursor = errors.New("cursor is not one of ours")
	ErrVersion   = errors.New("another version is current")
	ErrConflict  = errors.New("conflicts with what exists")
	ErrInvalid   = errors.New("invalid") // the text behind it is for the client
	ErrOtherBody = errors.New("the idempotency key stands for another body")
	ErrLogFull   = errors.New("log is full")
)
