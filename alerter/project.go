package alerter

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// alertEvents is the table of transitions. An event never changes after it was
// made, so the first row of an id stays.
var alertEvents = &stream.TableSpec{
	Name: "alert_events",
	Columns: []string{
		"event_id", "alert_id", "rule_id", "rule_name", "tenant_id", "device_id", "metric_id",
		"device_external_id", "metric_name", "unit", "state", "ordinal", "opened_at", "ts", "window_start", "window_end", "received_at",
		"value", "score", "alarm_score", "expected", "lower", "upper", "severity", "label", "sub_label",
		"explanation", "contributors", "backfill", "notify", "suppressed_by",
		"opening_root", "root", "partition",
	},
	Key: []string{"event_id"},
}

// alerts is the table of alerts, each as its latest event left it.
var alerts = &stream.TableSpec{
	Name: "alerts",
	Columns: []string{"alert_id", "tenant_id", "rule_id", "device_id", "metric_id", "event_id", "state", "severity", "label",
		"opened_at", "resolved_at", "events"},
	Key:    []string{"alert_id"},
	Update: []string{"event_id", "state", "severity", "label", "resolved_at"},
	Add:    []string{"events"},
}

// Projection turns ALERTS into rows of alert_events and alerts.
type Projection struct{}

// Project implements stream.Projection.
func (Projection) Project(at stream.Position, e *schemas.Entry, rows *stream.RowSet) error {
	a := e.GetAlertEvent()
	if a == nil {
		return nil
	}
	var id [6]schemas.ID
	for i, raw := range [][]byte{a.EventId, a.AlertId, a.RuleId, a.TenantId, a.DeviceId, a.MetricId} {
		var err error
		if id[i], err = schemas.IDFrom(raw); err != nil {
			return fmt.Errorf("project alert event: %w", err)
		}
	}
	contributors, err := contributorsJSON(a.Contributors)
	if err != nil {
		return fmt.Errorf("project alert event: %w", err)
	}
	rows.Add(alertEvents,
		id[0], id[1], id[2], a.RuleName, id[3], id[4], id[5],
		a.DeviceExternalId, a.MetricName, a.Unit, a.State.Word(), int32(a.Ordinal),
		instant(a.OpenedAt), instant(a.Ts), instant(a.WindowStart), instant(a.WindowEnd), instant(a.ReceivedAt),
		finite(a.Value), a.Score, a.AlarmScore, finite(a.Expected), finite(a.Lower), finite(a.Upper),
		a.Severity.Word(), a.Label.Word(), a.SubLabel.Word(),
		a.Explanation, contributors, a.Backfill, a.Notify, a.SuppressedBy,
		int64(a.OpeningRoot), int64(at.Root), int32(at.Partition),
	)
	var resolved any
	if a.State == schemas.AlertState_ALERT_STATE_RESOLVED {
		resolved = instant(a.Ts)
	}
	rows.AddUp(alerts, id[1], id[3], id[2], id[4], id[5], id[0], a.State.Word(), a.Severity.Word(), a.Label.Word(), instant(a.OpenedAt), resolved, int64(1))
	return nil
}

func instant(us int64) time.Time { return time.UnixMicro(us).UTC() }

// finite is nil for what has no number: a band that does not exist.
func finite(v float64) any {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return v
}

func contributorsJSON(list []*schemas.Contribution) ([]byte, error) {
	type contribution struct {
		Name  string  `json:"name"`
		Share float64 `json:"share"`
	}
	out := make([]contribution, 0, len(list))
	for _, c := range list {
		if finite(c.Share) == nil {
			continue
		}
		out = append(out, contribution{c.Name, c.Share})
	}
	return json.Marshal(out)
}
