package store

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// rotationOverlap is how long the previous secret still signs.
const rotationOverlap = 24 * time.Hour

// secretPrefix begins the text of a secret (Standard Webhooks).
const secretPrefix = "whsec_"

// Endpoint is a webhook as the deliverer needs it.
type Endpoint struct {
	ID          schemas.ID
	URL         string
	Secrets     [][]byte // raw; the newest first, every one signs
	MinSeverity schemas.Severity
	Enabled     bool
	// LastDelivered is the newest success that is projected; zero without one.
	LastDelivered time.Time
}

// CreateWebhook stores an endpoint. The answer holds its secret, this once: but a
// repeat of the Idempotency-Key is answered alike, since the first answer may have
// been lost on its way.
func (s *Store) CreateWebhook(ctx context.Context, tenant schemas.ID, w api.Webhook, once api.RequestKey) (api.Webhook, error) {
	id := schemas.NewID()
	if _, err := enumNumber(schemas.Severity_value, "SEVERITY_", "min_severity", w.MinSeverity); err != nil {
		return api.Webhook{}, fmt.Errorf("create webhook: %w", err)
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	sealed, err := s.seal(secret, id[:])
	if err != nil {
		return api.Webhook{}, fmt.Errorf("create webhook: %w", err)
	}
	var out api.Webhook
	err = s.write(ctx, tenant, func(tx pgx.Tx) error {
		before, repeat, err := createdBefore(ctx, tx, tenant, "webhook", once, id)
		if err != nil {
			return err
		}
		if repeat {
			out, secret, err = s.webhookWithSecret(ctx, tx, tenant, before)
			return err
		}
		if err := withinPlan(ctx, tx, tenant, "webhooks"); err != nil {
			return err
		}
		return audited(ctx, tx, deed{tenant, "api", "webhook.create", "webhook", id.String()}, func() error {
			out, err = scanWebhook(tx.QueryRow(ctx, `INSERT INTO webhooks (endpoint_id, tenant_id, url, description, min_severity, enabled, secret)
				VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING `+webhookColumns,
				uuidOf(id), uuidOf(tenant), w.URL, w.Description, w.MinSeverity, w.Enabled == nil || *w.Enabled, sealed), &cursor{})
			return err
		})
	})
	if err != nil {
		return api.Webhook{}, fmt.Errorf("create webhook: %w", err)
	}
	out.Secret = secretPrefix + base64.StdEncoding.EncodeToString(secret)
	return out, nil
}

// RotateWebhookSecret gives an endpoint a new secret; the old one signs beside
// it for 24 hours. The answer holds the new one, this once.
func (s *Store) RotateWebhookSecret(ctx context.Context, tenant schemas.ID, webhookID string) (api.Webhook, error) {
	secret := make([]byte, 32)
	rand.Read(secret)
	out, err := s.changeWebhook(ctx, tenant, webhookID, 0, "webhook.rotate", func(id schemas.ID) (string, []any, error) {
		sealed, err := s.seal(secret, id[:])
		return `previous_secret = secret, previous_secret_until = now() + $3::interval, secret = $4`, []any{rotationOverlap, sealed}, err
	})
	if err != nil {
		return api.Webhook{}, fmt.Errorf("rotate webhook secret: %w", err)
	}
	out.Secret = secretPrefix + base64.StdEncoding.EncodeToString(secret)
	return out, nil
}

// SetWebhookEnabled turns an endpoint off or on again.
func (s *Store) SetWebhookEnabled(ctx context.Context, tenant schemas.ID, webhookID string, enabled bool, reason string) (api.Webhook, error) {
	out, err := s.changeWebhook(ctx, tenant, webhookID, 0, "webhook.set_enabled", func(schemas.ID) (string, []any, error) {
		return `enabled = $3, disabled_reason = CASE WHEN $3 THEN '' ELSE $4 END`, []any{enabled, reason}, nil
	})
	if err != nil {
		return api.Webhook{}, fmt.Errorf("enable webhook: %w", err)
	}
	return out, nil
}

// UpdateWebhook replaces what a person sets of an endpoint. One that is turned on
// again has no reason any more to be off.
// ifVersion other than 0 must be its version, else ErrConflict.
func (s *Store) UpdateWebhook(ctx context.Context, tenant schemas.ID, webhookID string, w api.Webhook, ifVersion uint64) (api.Webhook, error) {
	if _, err := enumNumber(schemas.Severity_value, "SEVERITY_", "min_severity", w.MinSeverity); err != nil {
		return api.Webhook{}, fmt.Errorf("update webhook: %w", err)
	}
	out, err := s.changeWebhook(ctx, tenant, webhookID, ifVersion, "webhook.update", func(schemas.ID) (string, []any, error) {
		return `url = $3, description = $4, min_severity = $5, enabled = $6, disabled_reason = CASE WHEN $6 THEN '' ELSE disabled_reason END`,
			[]any{w.URL, w.Description, w.MinSeverity, w.Enabled == nil || *w.Enabled}, nil
	})
	if err != nil {
		return api.Webhook{}, fmt.Errorf("update webhook: %w", err)
	}
	return out, nil
}

// DeleteWebhook ends an endpoint and forgets its secrets; its deliveries stay.
func (s *Store) DeleteWebhook(ctx context.Context, tenant schemas.ID, webhookID string, ifVersion uint64) error {
	_, err := s.changeWebhook(ctx, tenant, webhookID, ifVersion, "webhook.delete", func(schemas.ID) (string, []any, error) {
		return `deleted_at = now(), enabled = false, secret = '', previous_secret = NULL`, nil, nil
	})
	if err != nil {
		return fmt.Errorf("delete webhook: %w", err)
	}
	return nil
}

// changeWebhook updates one endpoint; set has the arguments from $3 on.
func (s *Store) changeWebhook(ctx context.Context, tenant schemas.ID, webhookID string, ifVersion uint64, action string, change func(schemas.ID) (set string, args []any, err error)) (api.Webhook, error) {
	id, err := parseID(webhookID)
	if err != nil {
		return api.Webhook{}, err
	}
	set, args, err := change(id)
	if err != nil {
		return api.Webhook{}, err
	}
	var out api.Webhook
	err = s.write(ctx, tenant, func(tx pgx.Tx) error {
		var version int64
		err := tx.QueryRow(ctx, `SELECT version FROM webhooks WHERE tenant_id = $1 AND endpoint_id = $2 AND deleted_at IS NULL FOR UPDATE`,
			uuidOf(tenant), uuidOf(id)).Scan(&version)
		if err != nil {
			return orNotFound(err)
		}
		if ifVersion != 0 && uint64(version) != ifVersion {
			return ErrConflict
		}
		return audited(ctx, tx, deed{tenant, "api", action, "webhook", id.String()}, func() error {
			out, err = scanWebhook(tx.QueryRow(ctx, `UPDATE webhooks SET version = version + 1, `+set+
				` WHERE tenant_id = $1 AND endpoint_id = $2 AND deleted_at IS NULL RETURNING `+webhookColumns,
				append([]any{uuidOf(tenant), uuidOf(id)}, args...)...), &cursor{})
			return orNotFound(err)
		})
	})
	return out, err
}

// Webhook finds one endpoint, without its secret.
func (s *Store) Webhook(ctx context.Context, tenant schemas.ID, webhookID string) (api.Webhook, error) {
	id, err := parseID(webhookID)
	if err != nil {
		return api.Webhook{}, fmt.Errorf("find webhook: %w", err)
	}
	var out api.Webhook
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		out, err = scanWebhook(tx.QueryRow(ctx, `SELECT `+webhookColumns+` FROM webhooks WHERE tenant_id = $1 AND endpoint_id = $2 AND deleted_at IS NULL`,
			uuidOf(tenant), uuidOf(id)), &cursor{})
		return orNotFound(err)
	})
	if err != nil {
		return api.Webhook{}, fmt.Errorf("find webhook: %w", err)
	}
	return out, nil
}

// ListWebhooks lists endpoints, the newest first, without their secrets.
func (s *Store) ListWebhooks(ctx context.Context, tenant schemas.ID, pr api.PageRequest) (api.Page[api.Webhook], error) {
	var out api.Page[api.Webhook]
	p, err := readPage("webhooks", pr, maxLimit)
	if err != nil {
		return out, err
	}
	var q query
	q.add(`SELECT `+webhookColumns+` FROM webhooks WHERE tenant_id = ? AND deleted_at IS NULL`, uuidOf(tenant))
	if p.after != nil {
		q.add(" AND (created_at, endpoint_id) < (?, ?)", p.after.time(), uuidOf(p.id))
	}
	q.add(" ORDER BY created_at DESC, endpoint_id DESC")
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		out, err = collect(ctx, tx, &q, p, scanWebhook)
		return err
	})
	if err != nil {
		return out, fmt.Errorf("list webhooks: %w", err)
	}
	return out, nil
}

// webhookWithSecret finds an endpoint and the secret that it was made with or has now.
func (s *Store) webhookWithSecret(ctx context.Context, tx pgx.Tx, tenant, id schemas.ID) (api.Webhook, []byte, error) {
	var sealed []byte
	w, err := scanWebhook(withFirst{tx.QueryRow(ctx, `SELECT secret, `+webhookColumns+` FROM webhooks
		WHERE tenant_id = $1 AND endpoint_id = $2 AND deleted_at IS NULL`, uuidOf(tenant), uuidOf(id)), []any{&sealed}}, &cursor{})
	if err != nil {
		return w, nil, orNotFound(err)
	}
	secret, err := s.open(sealed, id[:])
	return w, secret, err
}

const webhookColumns = `endpoint_id, url, description, min_severity, enabled, disabled_reason, version, created_at`

func scanWebhook(r pgx.Row, c *cursor) (api.Webhook, error) {
	var w api.Webhook
	var id pgtype.UUID
	var created time.Time
	var version int64
	err := r.Scan(&id, &w.URL, &w.Description, &w.MinSeverity, &w.Enabled, &w.DisabledReason, &version, &created)
	w.ID, w.Version, w.CreatedAt = uuidText(id), uint64(version), utcPtr(&created)
	*c = cursor{List: "webhooks", TS: created.UnixMicro(), ID: w.ID}
	return w, err
}

// Endpoints are a tenant's webhooks with their secrets, disabled ones included.
func (s *Store) Endpoints(ctx context.Context, tenant schemas.ID) ([]Endpoint, error) {
	var out []Endpoint
	err := within(ctx, s.writer, "begin read only", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT endpoint_id, url, min_severity, enabled, secret,
			CASE WHEN previous_secret_until > now() THEN previous_secret END,
			(SELECT max(d.at) FROM webhook_deliveries d WHERE d.tenant_id = w.tenant_id AND d.endpoint_id = w.endpoint_id AND d.outcome = 'delivered')
			FROM webhooks w WHERE tenant_id = $1 AND deleted_at IS NULL
				AND EXISTS (SELECT FROM tenants t WHERE t.id = w.tenant_id AND t.deleted_at IS NULL) ORDER BY endpoint_id`, uuidOf(tenant))
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, s.scanEndpoint)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read endpoints: %w", err)
	}
	return out, nil
}

func (s *Store) scanEndpoint(r pgx.CollectableRow) (Endpoint, error) {
	var e Endpoint
	var id pgtype.UUID
	var severity string
	var secret, previous []byte
	var delivered *time.Time
	if err := r.Scan(&id, &e.URL, &severity, &e.Enabled, &secret, &previous, &delivered); err != nil {
		return e, err
	}
	if delivered != nil {
		e.LastDelivered = *delivered
	}
	e.ID = id.Bytes
	n, err := enumNumber(schemas.Severity_value, "SEVERITY_", "min_severity", severity)
	if err != nil {
		return e, err
	}
	e.MinSeverity = schemas.Severity(n)
	for _, sealed := range [][]byte{secret, previous} {
		if len(sealed) == 0 {
			continue
		}
		raw, err := s.open(sealed, e.ID[:])
		if err != nil {
			return e, fmt.Errorf("endpoint %s: %w", e.ID, err)
		}
		e.Secrets = append(e.Secrets, raw)
	}
	return e, nil
}

// DisableEndpoint turns an endpoint off because it fails; ErrNotFound where it is gone.
func (s *Store) DisableEndpoint(ctx context.Context, tenant, endpoint schemas.ID, reason string) error {
	err := within(ctx, s.writer, "begin", func(tx pgx.Tx) error {
		return audited(ctx, tx, deed{tenant, "deliverer", "webhook.disable", "webhook", endpoint.String()}, func() error {
			tag, err := tx.Exec(ctx, `UPDATE webhooks SET enabled = false, disabled_reason = $3, version = version + 1 WHERE tenant_id = $1 AND endpoint_id = $2 AND deleted_at IS NULL`,
				uuidOf(tenant), uuidOf(endpoint), cleanText(reason))
			if err == nil && tag.RowsAffected() == 0 {
				return ErrNotFound
			}
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("disable endpoint: %w", err)
	}
	return nil
}
