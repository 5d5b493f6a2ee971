//go:build unix

package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// row is one row of a projected table, known by a hash of its columns.
type row struct {
	log       stream.LogName // from which it is projected
	metric    uuid.UUID
	partition int
	root      uint64
	hash      [2]uint64
}

func rowOf(log stream.LogName, metric []byte, partition int, root uint64, columns ...any) row {
	sum := sha256.Sum256(fmt.Appendf(nil, "%v", columns))
	return row{log, uuid.UUID(metric), partition, root, [2]uint64{binary.LittleEndian.Uint64(sum[:8]), binary.LittleEndian.Uint64(sum[8:16])}}
}

// bits keeps what %v would round; NULL and what is no number are one.
func bits(v *float64) uint64 {
	if v == nil || math.IsNaN(*v) || math.IsInf(*v, 0) {
		return math.Float64bits(math.NaN())
	}
	return math.Float64bits(*v)
}

// appendRows says which rows an entry of a derived log becomes.
func appendRows(rows []row, p int, root uint64, e *schemas.Entry) []row {
	switch k := e.Kind.(type) {
	case *schemas.Entry_Points:
		for _, s := range k.Points.Series {
			ts := int64(0)
			for i, d := range s.Ts {
				ts += d
				flags := uint32(0)
				if len(s.Flags) > 0 {
					flags = s.Flags[i]
				}
				rows = append(rows, rowOf(stream.Points, s.MetricId, p, root, ts, bits(&s.Values[i]), flags))
			}
		}
	case *schemas.Entry_Features:
		f := k.Features
		rows = append(rows, rowOf(stream.Features, f.MetricId, p, root, f.Ts, f.WindowStart, f.WindowEnd, f.LastTs, f.ReceivedAt,
			bits(&f.Value), bits(&f.Extreme), bits(&f.Last), bits(&f.Mean), bits(&f.Std), bits(&f.Median), bits(&f.Mad), bits(&f.Min), bits(&f.Max),
			bits(&f.Range), bits(&f.Slope), bits(&f.MissingRate), bits(&f.Step), f.Count, f.StuckRun, f.Tick, f.Backfill, f.LowVariance, f.Silent))
	case *schemas.Entry_Score:
		s := k.Score
		rows = append(rows, rowOf(stream.Scores, s.MetricId, p, root, s.Ts, s.WindowStart, s.WindowEnd, s.ReceivedAt,
			bits(&s.Value), bits(&s.Score), bits(&s.AlarmScore), bits(&s.Expected), bits(&s.Lower), bits(&s.Upper), s.WarmUpEtaUs,
			s.Tick, s.Backfill, s.Silent, s.Severity.Word(), s.Label.Word(), s.SubLabel.Word(), s.WarmUp.Word(), s.Explanation,
			fmt.Sprintf("%x", s.ModelVersion)))
	case *schemas.Entry_AlertEvent:
		a := k.AlertEvent
		rows = append(rows, rowOf(stream.Alerts, a.MetricId, p, root, uuid.UUID(a.EventId), uuid.UUID(a.AlertId), uuid.UUID(a.RuleId), a.RuleName,
			a.DeviceExternalId, a.MetricName, a.State.Word(), int64(a.Ordinal), a.OpenedAt, a.Ts, a.ReceivedAt,
			bits(&a.Value), bits(&a.Score), bits(&a.AlarmScore), a.Severity.Word(), a.Label.Word(), a.Explanation, a.Notify, a.SuppressedBy,
			int64(a.OpeningRoot)))
	}
	return rows
}

// queries name the columns of each table in the order of appendRows, behind
// metric, partition and root.
var queries = map[stream.LogName]string{
	stream.Points: `SELECT metric_id, partition, root, ts, value, flags FROM datapoint_samples`,
	stream.Features: `SELECT metric_id, partition, root, ts, window_start, window_end, last_ts, received_at, value, extreme, last, mean, std,
		median, mad, min, max, range, slope, missing_rate, step, count, stuck_run, tick, backfill, low_variance, silent FROM features`,
	stream.Scores: `SELECT metric_id, partition, root, ts, window_start, window_end, received_at, value, score, alarm_score, expected, lower,
		upper, warm_up_eta_us, tick, backfill, silent, severity, label, sub_label, warm_up, explanation, coalesce(encode(model_version, 'hex'), '')
		FROM anomaly_scores`,
	stream.Alerts: `SELECT metric_id, partition, root, event_id, alert_id, rule_id, rule_name, device_external_id, metric_name, state, ordinal,
		opened_at, ts, received_at, value, score, alarm_score, severity, label, explanation, notify, suppressed_by, opening_root FROM alert_events`,
}

// projectedRows reads the rows of one log's table back from Postgres.
func (w *world) projectedRows(ctx context.Context, log stream.LogName) (out []row, err error) {
	rows, err := w.db.Query(ctx, queries[log])
	if err != nil {
		return nil, fmt.Errorf("read rows of %s: %w", log, err)
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (row, error) {
		v, err := r.Values()
		if err != nil {
			return row{}, err
		}
		for i := range v {
			switch x := v[i].(type) {
			case time.Time:
				v[i] = x.UnixMicro()
			case float64:
				v[i] = bits(&x)
			case nil:
				v[i] = bits(nil)
			case [16]byte:
				v[i] = uuid.UUID(x)
			}
		}
		metric := v[0].(uuid.UUID)
		return rowOf(log, metric[:], int(v[1].(int16)), uint64(v[2].(int64)), v[3:]...), nil
	})
}
