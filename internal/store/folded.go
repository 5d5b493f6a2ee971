package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// Alerts by their latest event. The pages are ordered by the opening, which does
// not change while an alert lives.

// FoldedFilter narrows ListAlerts; empty fields do not.
type FoldedFilter struct {
	State       string // open, resolved
	MinSeverity string // of the latest event
	MetricID    string
	DeviceID    string
}

const foldedColumns = `SELECT e.*, a.resolved_at, a.events FROM alerts a JOIN LATERAL (` + alertColumns + ` v
	WHERE v.tenant_id = a.tenant_id AND v.event_id = a.event_id) e ON true WHERE a.tenant_id = ?`

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

func scanFolded(r pgx.Row, c *cursor) (api.Alert, error) {
	var a api.Alert
	var err error
	a.AlertEvent, err = scanAlert(withMore{r, []any{&a.ResolvedAt, &a.Events}}, c)
	a.ResolvedAt = utcPtr(a.ResolvedAt)
	*c = cursor{List: "folded", TS: a.OpenedAt.UnixMicro(), ID: a.AlertID}
	return a, err
}

// withMore scans columns behind those that a scan function knows.
type withMore struct {
	pgx.Row
	more []any
}

func (w withMore) Scan(dest ...any) error { return w.Row.Scan(append(dest, w.more...)...) }

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
