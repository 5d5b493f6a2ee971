package api

import (
	"strconv"
	"time"
)

// Key is an API key. On creation a client sends name, scopes, expires_at and
// device_pattern; the rest is the server's. Key, the key itself, is present in
// the answers to creation and rotation only: it is stored nowhere.
type Key struct {
	ID            string     `json:"id,omitempty"`
	Name          string     `json:"name"`
	Scopes        []string   `json:"scopes"`                   // ingest, backfill, read, admin
	DevicePattern string     `json:"device_pattern,omitempty"` // glob over device_external_id at ingest; empty = any
	Env           string     `json:"env,omitempty"`            // live, dev
	Key           string     `json:"key,omitempty"`
	State         string     `json:"state,omitempty"` // active, expired, revoked
	CreatedAt     *time.Time `json:"created_at,omitempty"`
	ExpiresAt     *time.Time `json:"expires_at,omitempty"`
	RevokedAt     *time.Time `json:"revoked_at,omitempty"`
	LastUsedAt    *time.Time `json:"last_used_at,omitempty"` // up to a minute behind
}

// Rotation is the body of POST /v1/keys/{id}/rotate.
type Rotation struct {
	Overlap string `json:"overlap,omitempty"` // how long the old key still works: a Go duration, default 24h
}

// Rotated answers a rotation: the new key, and how long the old one works.
type Rotated struct {
	Key      Key `json:"key"`
	Replaced Key `json:"replaced"`
}

// Plan is what a tenant may use; null = unbounded.
type Plan struct {
	Name              string `json:"name"`
	PointsPerMonth    *int64 `json:"points_per_month"`
	RequestsPerSecond *int64 `json:"requests_per_second"`
	PointsPerSecond   *int64 `json:"points_per_second"`
	MaxMetrics        *int64 `json:"max_metrics"`
	MaxWebhooks       *int64 `json:"max_webhooks"`
	MaxRules          *int64 `json:"max_rules"`
	RetentionDays     int64  `json:"retention_days"`
}

// Used counts what was used.
type Used struct {
	Requests          int64 `json:"requests"`
	Points            int64 `json:"points"`             // accepted, each once
	Bytes             int64 `json:"bytes"`              // of payloads, as archived
	Evaluations       int64 `json:"evaluations"`        // scores
	WebhookAttempts   int64 `json:"webhook_attempts"`   // to deliver
	WebhooksDelivered int64 `json:"webhooks_delivered"` // with success
}

// UsageDay is a day of one tenant; the day is that of receipt, in UTC.
type UsageDay struct {
	TenantID string `json:"tenant_id,omitempty"` // in the owner's view only
	Tenant   string `json:"tenant,omitempty"`    // its name, likewise
	Day      string `json:"day"`                 // 2026-11-27
	Used
}

// Usage is the answer of GET /v1/usage.
type Usage struct {
	From  string     `json:"from"` // first day
	To    string     `json:"to"`   // last day, inclusive
	Plan  *Plan      `json:"plan,omitempty"`
	Total Used       `json:"total"`
	Data  []UsageDay `json:"data"`
}

// AuditEntry is one line of the audit log. The hashes are SHA-256 over what was
// changed, without secrets; empty = there was, or is, nothing.
type AuditEntry struct {
	ID        int64     `json:"id"`
	At        time.Time `json:"at"`
	TenantID  string    `json:"tenant_id,omitempty"`
	Actor     string    `json:"actor"`
	Action    string    `json:"action"`
	Target    string    `json:"target"`
	RequestID string    `json:"request_id,omitempty"`
	Before    string    `json:"before_hash,omitempty"`
	After     string    `json:"after_hash,omitempty"`
}

// OwnerTenant is a tenant as the owner of a deployment sees it.
type OwnerTenant struct {
	ID         string     `json:"id,omitempty"`
	Name       string     `json:"name"`
	Plan       string     `json:"plan"`
	CreatedAt  *time.Time `json:"created_at,omitempty"`
	DisabledAt *time.Time `json:"disabled_at,omitempty"`
	DeletedAt  *time.Time `json:"deleted_at,omitempty"` // its deletion began
	Month      *Used      `json:"month,omitempty"`      // used since the first of this month
	LastDay    string     `json:"last_day,omitempty"`
	Devices    int64      `json:"devices"`
	Metrics    int64      `json:"metrics"`
	Errors     int64      `json:"dead_letters"`
	Rejected   int64      `json:"rejected_24h"` // points refused within 24 hours
}

// TenantPatch is the body of PATCH /v1/owner/tenants/{id}.
type TenantPatch struct {
	Plan     *string `json:"plan,omitempty"`
	Disabled *bool   `json:"disabled,omitempty"`
}

// OwnerStatus is the owner's page of lag and errors.
type OwnerStatus struct {
	Logs        []LogStatus  `json:"logs"`
	DeadLetters []DeadLetter `json:"dead_letters"` // the newest, without entries
	Outbox      int64        `json:"outbox"`       // changes of configuration on their way into the logs
}

// LogStatus is a partition of a log: how far it is, and who reads it how far behind.
type LogStatus struct {
	Log           string    `json:"log"`
	Partition     int       `json:"partition"`
	Root          uint64    `json:"root"`
	Lag           uint64    `json:"lag"`            // roots behind INGEST
	ProjectionLag uint64    `json:"projection_lag"` // roots that Postgres is behind this log
	Bytes         uint64    `json:"bytes"`
	MaxBytes      int64     `json:"max_bytes"`
	LastAt        time.Time `json:"last_at"`
	Owner         string    `json:"owner,omitempty"`
}

// Add sums up.
func (u *Used) Add(v Used) {
	u.Requests += v.Requests
	u.Points += v.Points
	u.Bytes += v.Bytes
	u.Evaluations += v.Evaluations
	u.WebhookAttempts += v.WebhookAttempts
	u.WebhooksDelivered += v.WebhooksDelivered
}

// UsageRecords are the lines of a CSV of usage; the tenant is left out where there is one only.
func UsageRecords(days []UsageDay) [][]string {
	several := len(days) > 0 && days[0].TenantID != ""
	header := []string{"day", "requests", "points", "bytes", "evaluations", "webhook_attempts", "webhooks_delivered"}
	if several {
		header = append([]string{"tenant_id", "tenant"}, header...)
	}
	out := [][]string{header}
	for _, d := range days {
		line := []string{d.Day}
		if several {
			line = []string{d.TenantID, d.Tenant, d.Day}
		}
		for _, n := range []int64{d.Requests, d.Points, d.Bytes, d.Evaluations, d.WebhookAttempts, d.WebhooksDelivered} {
			line = append(line, strconv.FormatInt(n, 10))
		}
		out = append(out, line)
	}
	return out
}
