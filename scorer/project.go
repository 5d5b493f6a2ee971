package scorer

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// Projection writes SCORES to Postgres: normal evaluations as samples, all others
// as plain rows with the words that explain them.
type Projection struct{}

var anomaliesTable = &stream.TableSpec{Name: "anomaly_rows",
	Columns: []string{"tenant_id", "device_id", "metric_id", "ts", "window_start", "window_end", "received_at", "value", "score", "alarm_score",
		"expected", "lower", "upper", "root", "warm_up_eta_us", "partition", "tick", "backfill", "silent", "severity", "label", "sub_label",
		"warm_up", "explanation", "contributors", "model_version"}}

var silentTable = &stream.TableSpec{Name: "silent_metrics",
	Columns: []string{"metric_id", "tenant_id", "root", "received_at"}, Key: []string{"metric_id"}, Update: []string{"root", "received_at"}}

// usageTable counts evaluations per tenant and day of receipt.
var usageTable = &stream.TableSpec{Name: "usage_evaluations",
	Columns: []string{"tenant_id", "day", "evaluations"}, Key: []string{"tenant_id", "day"}, Add: []string{"evaluations"}}

// Project implements stream.Projection.
func (Projection) Project(at stream.Position, e *schemas.Entry, rows *stream.RowSet) error {
	if v := e.GetModelVersion(); v != nil {
		return projectModel(at, v, rows)
	}
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
	rows.AddUp(usageTable, tenant, instant(s.ReceivedAt).Truncate(24*time.Hour), int64(1))
	if s.Silent {
		rows.Add(silentTable, metric, tenant, int64(at.Root), instant(s.ReceivedAt))
	}
	if s.Severity == schemas.Severity_SEVERITY_NONE && s.Explanation == "" && len(s.Contributors) == 0 {
		projectNormal(at, stream.SeriesKey{Tenant: tenant, Device: device, Metric: metric}, s, rows)
		return nil
	}
	var contributors, version any
	if len(s.Contributors) > 0 {
		if contributors, err = contributions(s.Contributors); err != nil {
			return err
		}
	}
	if len(s.ModelVersion) > 0 {
		version = s.ModelVersion
	}
	rows.Add(anomaliesTable, tenant, device, metric, instant(s.Ts), instant(s.WindowStart), instant(s.WindowEnd), instant(s.ReceivedAt), s.Value,
		s.Score, s.AlarmScore, s.Expected, s.Lower, s.Upper, int64(at.Root), s.WarmUpEtaUs, int32(at.Partition), s.Tick, s.Backfill, s.Silent,
		s.Severity.Word(), s.Label.Word(), s.SubLabel.Word(), s.WarmUp.Word(), s.Explanation, contributors, version)
	return nil
}

func projectNormal(at stream.Position, key stream.SeriesKey, s *schemas.Score, rows *stream.RowSet) {
	flags := stream.SampleFlags(s.Tick, s.Backfill, s.Silent) | uint32(s.Label)<<stream.SampleLabelShift |
		uint32(s.SubLabel)<<stream.SampleSubLabelShift | uint32(s.WarmUp)<<stream.SampleWarmUpShift
	samples := rows.Series(stream.ScoreSeries, key)
	samples.Add(s.Ts, at.Root, flags)
	samples.Long(s.WindowStart-s.Ts, s.WindowEnd-s.Ts, s.ReceivedAt-s.Ts, s.WarmUpEtaUs)
	samples.Real(s.Value, s.Score, s.AlarmScore, s.Expected, s.Lower, s.Upper)
	word := "" // shared with the sample before: a version seldom changes
	if n := len(samples.Words); n > 0 && samples.Words[n-1] == string(s.ModelVersion) {
		word = samples.Words[n-1]
	} else {
		word = string(s.ModelVersion)
	}
	samples.Words = append(samples.Words, word)
}

var modelsTable = &stream.TableSpec{Name: "models",
	Columns: []string{"tenant_id", "metric_id", "version", "ts", "rows", "root", "partition", "artefact", "anchor"}, Key: []string{"tenant_id", "metric_id", "version"}}

func projectModel(at stream.Position, v *schemas.ModelVersion, rows *stream.RowSet) error {
	tenant, err := schemas.IDFrom(v.TenantId)
	if err != nil {
		return fmt.Errorf("read tenant: %w", err)
	}
	metric, err := schemas.IDFrom(v.MetricId)
	if err != nil {
		return fmt.Errorf("read metric: %w", err)
	}
	var anchor any
	if v.Anchor != nil {
		anchor = *v.Anchor
	}
	rows.Add(modelsTable, tenant, metric, v.Version, instant(v.Ts), int64(v.Rows), int64(at.Root), int32(at.Partition), v.Artefact, anchor)
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
