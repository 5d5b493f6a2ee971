package deliverer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// payload is the body of a webhook. It depends on the event alone, so every
// attempt sends the same bytes.
type payload struct {
	Type      string         `json:"type"` // alert.opened, alert.updated, alert.resolved
	Timestamp time.Time      `json:"timestamp"`
	Data      api.AlertEvent `json:"data"`
}

// encodeBody renders an event; root and partition place it.
func encodeBody(e *schemas.AlertEvent, root uint64, partition uint32) ([]byte, error) {
	data := api.AlertEvent{
		RuleName: e.RuleName, DeviceExternalID: e.DeviceExternalId, MetricName: e.MetricName, Unit: e.Unit,
		State: e.State.Word(), Ordinal: e.Ordinal,
		OpenedAt: instant(e.OpenedAt), TS: instant(e.Ts), WindowStart: instant(e.WindowStart), WindowEnd: instant(e.WindowEnd),
		Value: orZero(e.Value), Score: orZero(e.Score), AlarmScore: orZero(e.AlarmScore),
		Expected: finite(e.Expected), Lower: finite(e.Lower), Upper: finite(e.Upper),
		Severity: e.Severity.Word(), Label: e.Label.Word(), SubLabel: e.SubLabel.Word(),
		Explanation: e.Explanation, Backfill: e.Backfill, Notified: e.Notify, SuppressedBy: e.SuppressedBy,
		Root: root, Partition: int(partition),
	}
	for _, id := range []struct {
		text *string
		raw  []byte
	}{{&data.EventID, e.EventId}, {&data.AlertID, e.AlertId}, {&data.RuleID, e.RuleId},
		{&data.TenantID, e.TenantId}, {&data.DeviceID, e.DeviceId}, {&data.MetricID, e.MetricId}} {
		parsed, err := schemas.IDFrom(id.raw)
		if err != nil {
			return nil, fmt.Errorf("encode webhook: %w", err)
		}
		*id.text = parsed.String()
	}
	for _, c := range e.Contributors {
		data.Contributors = append(data.Contributors, api.Contribution{Name: c.Name, Share: orZero(c.Share)})
	}
	body, err := json.Marshal(payload{"alert." + data.State, data.TS, data})
	if err != nil {
		return nil, fmt.Errorf("encode webhook: %w", err)
	}
	return body, nil
}

func instant(us int64) time.Time { return time.UnixMicro(us).UTC() }

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

// sign returns the webhook-signature header: one "v1" signature per secret, over
// "id.timestamp.body" (Standard Webhooks 1.0.0, "Signature scheme").
func sign(id string, at time.Time, body []byte, secrets [][]byte) string {
	var list []string
	for _, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
		mac.Write(body)
		list = append(list, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(list, " ")
}
