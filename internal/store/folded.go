package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// Alerts by their latest event. The pages are ordered by the opening, which does
// not change while an alert lives.

// FoldedFilter narrows ListAlerts; empty fields do not.
type FoldedFilter struct {
	State       string // open, resolved
	MinSeverity string // of the latest event, as Label
	Label       string
	MetricID    string
	DeviceID    string
	Tags        map[string]string // of the metric, all
}

const foldedColumns = `SELECT e.*, a.resolved_at, a.events, o.value, o.expected, coalesce(o.explanation, '') FROM alerts a
	JOIN LATERAL (` + alertColumns + ` v WHERE v.tenant_id = a.tenant_id AND v.event_id = a.event_id) e ON true
	LEFT JOIN LATERAL (SELECT value, expected, explanation FROM alert_events v
		WHERE v.tenant_id = a.tenant_id AND v.alert_id = a.alert_id AND v.ordinal = 0 LIMIT 1) o ON true
	WHERE a.tenant_id = ?`

// ListAlerts lists alerts, the last opened first.
func (s *Store) ListAlerts(ctx context.Context, tenant schemas.ID, f FoldedFilter, pr api.PageRequest) (api.Page[api.Alert], error) {
	var out api.Page[api.Alert]
	p, err := readPage("folded", pr, maxLimit)
	if err != nil {
		return out, err
	}
	var q query
	q.add(foldedColumns, uuidOf(tenant))
	switch f.State {
	case "open":
		q.add(" AND a.state <> 'resolved'")
	case "resolved":
		q.add(" AND a.state = 'resolved'")
	}
	if f.MinSeverity != "" {
		q.add(" AND a.severity = ANY(?)", severitiesFrom(f.MinSeverity))
	}
	if f.Label != "" {
		q.add(" AND a.label = ?", f.Label)
	}
	for _, c := range []struct{ column, text string }{{"a.metric_id", f.MetricID}, {"a.device_id", f.DeviceID}} {
		if c.text == "" {
			continue
		}
		id, err := parseID(c.text)
		if err != nil {
			return api.Page[api.Alert]{Data: []api.Alert{}}, nil
		}
		q.add(" AND "+c.column+" = ?", uuidOf(id))
	}
	q.addTags("a.metric_id IN (SELECT metric_id", f.Tags, tenant)
	if p.after != nil {
		q.add(" AND (a.opened_at, a.alert_id) < (?, ?)", p.after.time(), uuidOf(p.id))
	}
	q.add(" ORDER BY a.opened_at DESC, a.alert_id DESC")
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		out, err = collect(ctx, tx, &q, p, scanFolded)
		return err
	})
	if err != nil {
		return out, fmt.Errorf("list alerts: %w", err)
	}
	return out, nil
}

// Alert finds one alert with all its events and the attempts to deliver them.
func (s *Store) Alert(ctx context.Context, tenant schemas.ID, alertID string) (api.Alert, error) {
	id, err := parseID(alertID)
	if err != nil {
		return api.Alert{}, fmt.Errorf("find alert: %w", err)
	}
	var out api.Alert
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		var q query
		q.add(foldedColumns+" AND a.alert_id = ?", uuidOf(tenant), uuidOf(id))
		if out, err = scanFolded(tx.QueryRow(ctx, q.sql.String(), q.args...), &cursor{}); err != nil {
			return orNotFound(err)
		}
		if out.History, err = historyOf(ctx, tx, tenant, id); err != nil {
			return err
		}
		out.Deliveries = out.History[len(out.History)-1].Deliveries
		return nil
	})
	if err != nil {
		return api.Alert{}, fmt.Errorf("find alert: %w", err)
	}
	return out, nil
}

// maxHistory bounds the events that come with an alert: the newest.
const maxHistory = 1000

func historyOf(ctx context.Context, tx pgx.Tx, tenant, alert schemas.ID) ([]api.AlertEvent, error) {
	rows, err := tx.Query(ctx, `SELECT * FROM (`+alertColumns+` WHERE tenant_id = $1 AND alert_id = $2 ORDER BY ordinal DESC LIMIT $3) e ORDER BY ordinal`,
		uuidOf(tenant), uuidOf(alert), maxHistory)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (api.AlertEvent, error) { return scanAlert(r, &cursor{}) })
	if err != nil {
		return nil, err
	}
	of := map[schemas.ID]*api.AlertEvent{}
	for i := range list {
		id, err := schemas.ParseID(list[i].EventID)
		if err != nil {
			return nil, err
		}
		of[id] = &list[i]
	}
	rows, err = tx.Query(ctx, deliveryColumns+` WHERE tenant_id = $1 AND event_id = ANY($2) AND kind <> 'endpoint_disabled' ORDER BY at, endpoint_id, attempt`,
		uuidOf(tenant), ids(of))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		event, d, err := scanDelivery(rows)
		if err != nil {
			return nil, err
		}
		e := of[event]
		e.Deliveries = append(e.Deliveries, d)
	}
	return list, rows.Err()
}

// AlertsFrom returns alert events of a partition from a root on, without the
// first skip of them, by root, event time, alert and ordinal. through is how far
// the projection certainly was: every event up to that root is among them, or
// beyond the limit.
func (s *Store) AlertsFrom(ctx context.Context, tenant schemas.ID, partition int, root uint64, skip, limit int) (events []api.AlertEvent, through uint64, err error) {
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		var done int64 // asked first: what is committed in between is only more
		if err := tx.QueryRow(ctx, `SELECT projected_root($1, $2)`, string(stream.Alerts), partition).Scan(&done); err != nil {
			return err
		}
		through = uint64(done)
		rows, err := tx.Query(ctx, alertColumns+` WHERE tenant_id = $1 AND partition = $2 AND root >= $3
			ORDER BY root, ts, alert_id, ordinal LIMIT $4 OFFSET $5`, uuidOf(tenant), partition, int64(root), limit, skip)
		if err != nil {
			return err
		}
		events, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (api.AlertEvent, error) { return scanAlert(r, &cursor{}) })
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read alerts of partition %d from root %d: %w", partition, root, err)
	}
	return events, through, nil
}

func scanFolded(r pgx.Row, c *cursor) (api.Alert, error) {
	var a api.Alert
	var err error
	a.AlertEvent, err = scanAlert(withMore{r, []any{&a.ResolvedAt, &a.Events, &a.OpenedValue, &a.OpenedExpected, &a.OpenedExplanation}}, c)
	a.ResolvedAt, a.OpenedValue, a.OpenedExpected = utcPtr(a.ResolvedAt), finite(a.OpenedValue), finite(a.OpenedExpected)
	*c = cursor{List: "folded", TS: a.OpenedAt.UnixMicro(), ID: a.AlertID}
	return a, err
}

// ListDeliveries lists the attempts to deliver to an endpoint, the newest first.
func (s *Store) ListDeliveries(ctx context.Context, tenant schemas.ID, webhookID string, pr api.PageRequest) (api.Page[api.EndpointDelivery], error) {
	var out api.Page[api.EndpointDelivery]
	p, err := readPage("deliveries", pr, maxLimit)
	if err != nil {
		return out, err
	}
	if _, err := s.Webhook(ctx, tenant, webhookID); err != nil {
		return out, fmt.Errorf("list deliveries: %w", err)
	}
	endpoint, err := parseID(webhookID)
	if err != nil {
		return out, fmt.Errorf("list deliveries: %w", err)
	}
	var q query
	q.add(`SELECT coalesce(e.alert_id::text, ''), coalesce(e.state, ''), coalesce(e.severity, ''), coalesce(e.label, ''),
		  coalesce(e.device_external_id, ''), coalesce(e.metric_name, ''), d.*
		FROM (`+deliveryColumns+` WHERE tenant_id = ? AND endpoint_id = ? AND kind = 'attempted'`, uuidOf(tenant), uuidOf(endpoint))
	if p.after != nil {
		q.add(" AND (at, webhook_id, attempt) < (?, ?, ?)", p.after.time(), uuidOf(p.id), p.after.Root)
	}
	q.add(` ORDER BY at DESC, webhook_id DESC, attempt DESC LIMIT ?) d
		LEFT JOIN alert_events e ON e.tenant_id = ? AND e.event_id = d.event_id ORDER BY d.at DESC, d.webhook_id DESC, d.attempt DESC`,
		p.limit+1, uuidOf(tenant))
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		out, err = collect(ctx, tx, &q, p, func(r pgx.Row, c *cursor) (v api.EndpointDelivery, err error) {
			event, d, err := scanDelivery(withFirst{r, []any{&v.AlertID, &v.State, &v.Severity, &v.Label, &v.DeviceExternalID, &v.MetricName}})
			v.Delivery, v.EventID = d, event.String()
			*c = cursor{List: "deliveries", TS: d.At.UnixMicro(), ID: d.WebhookID, Root: int64(d.Attempt)}
			return v, err
		})
		return err
	})
	if err != nil {
		return out, fmt.Errorf("list deliveries: %w", err)
	}
	return out, nil
}

const deliveryColumns = `SELECT event_id, webhook_id, endpoint_id, kind, attempt, at, outcome, status, error, next_at FROM webhook_deliveries`

func scanDelivery(r pgx.Row) (event schemas.ID, d api.Delivery, err error) {
	var of, webhook, endpoint pgtype.UUID
	var kind string
	var attempt, status int32
	err = r.Scan(&of, &webhook, &endpoint, &kind, &attempt, &d.At, &d.Outcome, &status, &d.Error, &d.NextAt)
	d.WebhookID, d.EndpointID, d.Attempt, d.Status = uuidText(webhook), uuidText(endpoint), uint32(attempt), uint32(status)
	d.At, d.NextAt = utc(d.At), utcPtr(d.NextAt)
	if kind == "planned" {
		d.Outcome = kind
	}
	return of.Bytes, d, err
}
