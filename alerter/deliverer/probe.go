package deliverer

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// Probe sends test events to endpoints: the same guard, the same signature, the
// same judgement of the answer as of a delivery, and no record. A test is not an
// event, so DELIVERIES knows nothing of it and an endpoint is not disabled by it.
type Probe struct {
	cfg    Config
	sender sender
}

// NewProbe returns a Probe. A wrong allow-list is an error that names the entry.
func NewProbe(cfg Config) (*Probe, error) {
	guard, err := NewGuard(cfg.Allow)
	if err != nil {
		return nil, err
	}
	cfg.defaults()
	return &Probe{cfg: cfg, sender: newSender(guard, cfg)}, nil
}

// Test sends one event of type webhook.test, shaped like a real one, now.
func (p *Probe) Test(ctx context.Context, tenant schemas.ID, ep Endpoint) (api.WebhookTest, error) {
	at := p.cfg.Clock.Now().UTC()
	expected, lower, upper := 4.0, 3.5, 4.5
	event := schemas.NewID()
	body, err := json.Marshal(payload{Type: "webhook.test", Timestamp: at, Data: api.AlertEvent{
		EventID: event.String(), AlertID: schemas.NewID().String(), RuleID: schemas.Nil.String(), RuleName: "test", TenantID: tenant.String(),
		DeviceID: schemas.DeviceID(tenant, "test-device").String(), DeviceExternalID: "test-device",
		MetricID: schemas.MetricID(schemas.DeviceID(tenant, "test-device"), "temperature").String(), MetricName: "temperature", Unit: "degC",
		State: "opened", OpenedAt: at, TS: at, WindowStart: at.Add(-5 * time.Minute), WindowEnd: at,
		Value: 95, Score: 1, AlarmScore: 1, Expected: &expected, Lower: &lower, Upper: &upper, Severity: "info", Label: "spike",
		Explanation: "This is a test: nothing has happened.",
	}})
	if err != nil {
		return api.WebhookTest{}, fmt.Errorf("encode test event: %w", err)
	}
	a := answer{at: at}
	p.sender.send(ctx, &a, schemas.WebhookID(event, ep.ID).String(), ep, body)
	out := api.WebhookTest{Outcome: "delivered", Status: a.status, Error: a.err, DurationMS: float64(a.took.Microseconds()) / 1000}
	if a.err != "" {
		out.Outcome = "failed"
	}
	return out, nil
}
