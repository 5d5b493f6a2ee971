package deliverer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// payload is the body of a webhook. It depends on the event alone, so every
// attempt sends the same bytes.
type payload struct {
	Type      string         `json:"type"` // alert.opened, alert.updated, alert.resolved; webhook.test
	Timestamp time.Time      `json:"timestamp"`
	Data      api.AlertEvent `json:"data"`
}

// encodeBody renders an event; root and partition place it.
func encodeBody(e *schemas.AlertEvent, root uint64, partition uint32) ([]byte, error) {
	data, err := api.AlertEventOf(e, root, int(partition))
	if err != nil {
		return nil, fmt.Errorf("encode webhook: %w", err)
	}
	body, err := json.Marshal(payload{"alert." + data.State, data.TS, data})
	if err != nil {
		return nil, fmt.Errorf("encode webhook: %w", err)
	}
	return body, nil
}

func instant(us int64) time.Time { return time.UnixMicro(us).UTC() }

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
