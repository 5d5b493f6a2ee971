package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// AlertFilter narrows ListAlertEvents; empty fields do not.
type AlertFilter struct {
	AlertID     string
	RuleID      string
	MetricID    string
	DeviceID    string
	State       string            // opened, updated, resolved
	MinSeverity string            // info, warning, critical
	Tags        map[string]string // of the metric, all
}

// ListAlertEvents lists transitions of alerts, the newest first, without deliveries.
func (s *Store) ListAlertEvents(ctx context.Context, tenant schemas.ID, f AlertFilter, r api.Range, pr api.PageRequest) (api.Page[api.AlertEvent], error) {
	var out api.Page[api.AlertEvent]
	p, err := readPage("alerts", pr, maxLimit)
	if err != nil {
		return out, err
	}
	var q query
	q.add(alertColumns+` WHERE tenant_id = ?`, uuidOf(tenant))
	for _, c := range []struct{ column, text string }{
		{"alert_id", f.AlertID}, {"rule_id", f.RuleID}, {"metric_id", f.MetricID}, {"device_id", f.DeviceID},
	} {
		if c.text == "" {
			continue
		}
		id, err := parseID(c.text)
		if err != nil {
			return api.Page[api.AlertEvent]{Data: []api.AlertEvent{}}, nil
		}
		q.add(" AND "+c.column+" = ?", uuidOf(id))
	}
	if f.State != "" {
		q.add(" AND state = ?", f.State)
	}
	if f.MinSeverity != "" {
		q.add(" AND severity = ANY(?)", severitiesFrom(f.MinSeverity))
	}
	q.addTags("metric_id IN (SELECT metric_id", f.Tags, tenant)
	q.addRange("ts", r)
	if p.after != nil {
		q.add(" AND (ts, event_id) < (?, ?)", p.after.time(), uuidOf(p.id))
	}
	q.add(" ORDER BY ts DESC, event_id DESC")
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		out, err = collect(ctx, tx, &q, p, scanAlert)
		return err
	})
	if err != nil {
		return out, fmt.Errorf("list alert events: %w", err)
	}
	return out, nil
}

// AlertEvent finds one transition with all attempts to deliver it.
func (s *Store) AlertEvent(ctx context.Context, tenant schemas.ID, eventID string) (api.AlertEvent, error) {
	id, err := parseID(eventID)
	if err != nil {
		return api.AlertEvent{}, fmt.Errorf("find alert event: %w", err)
	}
	var out api.AlertEvent
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		out, err = scanAlert(tx.QueryRow(ctx, alertColumns+` WHERE tenant_id = $1 AND event_id = $2`, uuidOf(tenant), uuidOf(id)), &cursor{})
		if err != nil {
			return orNotFound(err)
		}
		out.Deliveries, err = deliveriesOf(ctx, tx, tenant, id)
		return err
	})
	if err != nil {
		return api.AlertEvent{}, fmt.Errorf("find alert event: %w", err)
	}
	return out, nil
}

const alertColumns = `SELECT event_id, alert_id, rule_id, rule_name, tenant_id, device_id, device_external_id, metric_id, metric_name, unit,
	state, ordinal, opened_at, ts, window_start, window_end, value, score, alarm_score, expected, lower, upper,
	severity, label, sub_label, explanation, contributors, backfill, notify, suppressed_by, root, partition FROM alert_events`

func scanAlert(r pgx.Row, c *cursor) (api.AlertEvent, error) {
	var v api.AlertEvent
	var event, alert, rule, tenant, device, metric pgtype.UUID
	var value *float64
	var contributors []byte
	var ordinal int32
	var root int64
	err := r.Scan(&event, &alert, &rule, &v.RuleName, &tenant, &device, &v.DeviceExternalID, &metric, &v.MetricName, &v.Unit,
		&v.State, &ordinal, &v.OpenedAt, &v.TS, &v.WindowStart, &v.WindowEnd, &value, &v.Score, &v.AlarmScore, &v.Expected, &v.Lower, &v.Upper,
		&v.Severity, &v.Label, &v.SubLabel, &v.Explanation, &contributors, &v.Backfill, &v.Notified, &v.SuppressedBy, &root, &v.Partition)
	if err != nil {
		return v, err
	}
	v.EventID, v.AlertID, v.RuleID = uuidText(event), uuidText(alert), uuidText(rule)
	v.TenantID, v.DeviceID, v.MetricID = uuidText(tenant), uuidText(device), uuidText(metric)
	v.Ordinal, v.Root = uint32(ordinal), uint64(root)
	v.OpenedAt, v.TS, v.WindowStart, v.WindowEnd = utc(v.OpenedAt), utc(v.TS), utc(v.WindowStart), utc(v.WindowEnd)
	v.Value, v.Expected, v.Lower, v.Upper = number(value), finite(v.Expected), finite(v.Lower), finite(v.Upper)
	v.Score, v.AlarmScore = number(&v.Score), number(&v.AlarmScore)
	v.SubLabel = notNone(v.SubLabel)
	if v.Contributors, err = decodeContributors(contributors); err != nil {
		return v, err
	}
	*c = cursor{List: "alerts", TS: v.TS.UnixMicro(), ID: v.EventID}
	return v, nil
}

func deliveriesOf(ctx context.Context, tx pgx.Tx, tenant, event schemas.ID) ([]api.Delivery, error) {
	rows, err := tx.Query(ctx, deliveryColumns+` WHERE tenant_id = $1 AND event_id = $2 AND kind <> 'endpoint_disabled' ORDER BY at, endpoint_id, attempt`,
		uuidOf(tenant), uuidOf(event))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (api.Delivery, error) {
		_, d, err := scanDelivery(r)
		return d, err
	})
}
