package api

import (
	"encoding/hex"
	"fmt"
	"math"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
)

// AlertEventOf renders an event of ALERTS as the store would answer it, without
// deliveries; root and partition place it.
func AlertEventOf(e *schemas.AlertEvent, root uint64, partition int) (AlertEvent, error) {
	out := AlertEvent{
		RuleName: e.RuleName, DeviceExternalID: e.DeviceExternalId, MetricName: e.MetricName, Unit: e.Unit,
		State: e.State.Word(), Ordinal: e.Ordinal,
		OpenedAt: instant(e.OpenedAt), TS: instant(e.Ts), WindowStart: instant(e.WindowStart), WindowEnd: instant(e.WindowEnd),
		Value: orZero(e.Value), Score: orZero(e.Score), AlarmScore: orZero(e.AlarmScore),
		Expected: finite(e.Expected), Lower: finite(e.Lower), Upper: finite(e.Upper),
		Severity: e.Severity.Word(), Label: e.Label.Word(), SubLabel: some(e.SubLabel.Word()),
		Explanation: e.Explanation, Contributors: contributionsOf(e.Contributors), Backfill: e.Backfill, Notified: e.Notify,
		SuppressedBy: e.SuppressedBy, Root: root, Partition: partition,
	}
	err := texts([]idText{{&out.EventID, e.EventId}, {&out.AlertID, e.AlertId}, {&out.RuleID, e.RuleId},
		{&out.TenantID, e.TenantId}, {&out.DeviceID, e.DeviceId}, {&out.MetricID, e.MetricId}})
	return out, err
}

// ScoreOf renders an evaluation of SCORES as the store would answer it, without
// the names of metric and device, which the entry does not hold.
func ScoreOf(s *schemas.Score, root uint64) (Score, error) {
	out := Score{
		TS: instant(s.Ts), WindowStart: instant(s.WindowStart), WindowEnd: instant(s.WindowEnd),
		Value: orZero(s.Value), Score: orZero(s.Score), AlarmScore: orZero(s.AlarmScore),
		Severity: s.Severity.Word(), Label: some(s.Label.Word()), SubLabel: some(s.SubLabel.Word()),
		Expected: finite(s.Expected), Lower: finite(s.Lower), Upper: finite(s.Upper),
		Explanation: s.Explanation, Contributors: contributionsOf(s.Contributors),
		WarmUp: s.WarmUp.Word(), WarmUpETA: float64(s.WarmUpEtaUs) / 1e6, ModelVersion: hex.EncodeToString(s.ModelVersion),
		Tick: s.Tick, Backfill: s.Backfill, Root: root,
	}
	err := texts([]idText{{&out.MetricID, s.MetricId}, {&out.DeviceID, s.DeviceId}})
	return out, err
}

type idText struct {
	text *string
	raw  []byte
}

func texts(ids []idText) error {
	for _, id := range ids {
		parsed, err := schemas.IDFrom(id.raw)
		if err != nil {
			return fmt.Errorf("read entry: %w", err)
		}
		*id.text = parsed.String()
	}
	return nil
}

func contributionsOf(list []*schemas.Contribution) []Contribution {
	var out []Contribution
	for _, c := range list {
		if share := finite(c.Share); share != nil {
			out = append(out, Contribution{Name: c.Name, Share: *share})
		}
	}
	return out
}

func instant(us int64) time.Time { return time.UnixMicro(us).UTC() }

// some hides the zero value of an enumeration.
func some(word string) string {
	if word == "none" {
		return ""
	}
	return word
}

// JSON has no NaN: a band that does not exist is null.
func finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// orZero is for fields that always have a number; a metric that has been silent
// from the beginning has none.
func orZero(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}
