package scorer

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// Projection writes SCORES to Postgres: every evaluation, and the anomalies apart.
type Projection struct{}

var scoreColumns = []string{"partition", "root", "tenant_id", "device_id", "metric_id", "ts", "window_start", "window_end", "tick", "backfill",
	"silent", "value", "score", "alarm_score", "severity", "label", "sub_label", "expected", "lower", "upper", "explanation",
	"contributors", "warm_up", "warm_up_eta_seconds", "model_version"}

var (
	scoresTable    = &stream.TableSpec{Name: "anomaly_scores", Columns: scoreColumns}
	anomaliesTable = &stream.TableSpec{Name: "anomalies", Columns: scoreColumns}
)

// Project implements stream.Projection.
func (Projection) Project(at stream.Position, e *schemas.Entry, rows *stream.RowSet) error {
	s := e.GetScore()
	if s == nil {
		return nil
	}
	tenant, err := schemas.IDFrom(s.TenantId)
	if err != nil {
		return fmt.Errorf("read tenant: %w", err)
	}
	device, err := schemas.IDFrom(s.DeviceId)
	if err != nil {
		return fmt.Errorf("read device: %w", err)
	}
	metric, err := schemas.IDFrom(s.MetricId)
	if err != nil {
		return fmt.Errorf("read metric: %w", err)
	}
	contributors := json.RawMessage("[]")
	if len(s.Contributors) > 0 {
		if contributors, err = contributions(s.Contributors); err != nil {
			return err
		}
	}
	row := []any{int32(at.Partition), int64(at.Root), tenant, device, metric, instant(s.Ts), instant(s.WindowStart), instant(s.WindowEnd),
		s.Tick, s.Backfill, s.Silent, s.Value, s.Score, s.AlarmScore, s.Severity.Word(), s.Label.Word(), s.SubLabel.Word(),
		s.Expected, s.Lower, s.Upper, s.Explanation, contributors, s.WarmUp.Word(), float64(s.WarmUpEtaUs) / 1e6, s.ModelVersion}
	rows.Add(scoresTable, row...)
	if s.Severity != schemas.Severity_SEVERITY_NONE {
		rows.Add(anomaliesTable, row...)
	}
	return nil
}

type contribution struct {
	Name  string  `json:"name"`
	Share float64 `json:"share"`
}

func contributions(list []*schemas.Contribution) (json.RawMessage, error) {
	out := make([]contribution, len(list))
	for i, c := range list {
		out[i] = contribution{c.Name, c.Share}
	}
	b, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode contributors: %w", err)
	}
	return b, nil
}

func instant(us int64) time.Time { return time.UnixMicro(us).UTC() }
