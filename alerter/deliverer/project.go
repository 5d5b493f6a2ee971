package deliverer

import (
	"fmt"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// webhookDeliveries is the table of facts: plans, attempts, disabled endpoints.
var webhookDeliveries = &stream.TableSpec{
	Name: "webhook_deliveries",
	Columns: []string{"tenant_id", "endpoint_id", "webhook_id", "event_id", "kind", "attempt", "at", "outcome", "status", "error",
		"next_at", "duration_us", "event_root", "root", "partition"},
}

// usageTable counts attempts per tenant and day.
var usageTable = &stream.TableSpec{Name: "usage_deliveries",
	Columns: []string{"tenant_id", "day", "attempts", "delivered"}, Key: []string{"tenant_id", "day"}, Add: []string{"attempts", "delivered"}}

// Projection turns DELIVERIES into rows of webhook_deliveries, and counts them.
type Projection struct{}

var kindWords = map[schemas.DeliveryKind]string{
	schemas.DeliveryKind_DELIVERY_KIND_PLANNED:           "planned",
	schemas.DeliveryKind_DELIVERY_KIND_ATTEMPTED:         "attempted",
	schemas.DeliveryKind_DELIVERY_KIND_ENDPOINT_DISABLED: "endpoint_disabled",
}

// Project implements stream.Projection.
func (Projection) Project(at stream.Position, e *schemas.Entry, rows *stream.RowSet) error {
	d := e.GetDelivery()
	if d == nil {
		return nil
	}
	var id [4]schemas.ID
	for i, raw := range [][]byte{d.TenantId, d.EndpointId, d.WebhookId, d.EventId} {
		var err error
		if id[i], err = schemas.IDFrom(raw); err != nil {
			return fmt.Errorf("project delivery: %w", err)
		}
	}
	kind, ok := kindWords[d.Kind]
	if !ok {
		return fmt.Errorf("project delivery: unknown kind %d", d.Kind)
	}
	var next *time.Time
	if d.NextAt != 0 {
		t := instant(d.NextAt)
		next = &t
	}
	rows.Add(webhookDeliveries, id[0], id[1], id[2], id[3], kind, int32(d.Attempt), instant(d.At), d.Outcome.Word(), int32(d.Status), d.Error,
		next, d.DurationUs, int64(d.Root), int64(at.Root), int32(at.Partition))
	if d.Kind == schemas.DeliveryKind_DELIVERY_KIND_ATTEMPTED {
		delivered := int64(0)
		if d.Outcome == schemas.DeliveryOutcome_DELIVERY_OUTCOME_DELIVERED {
			delivered = 1
		}
		rows.AddUp(usageTable, id[0], instant(d.At).Truncate(24*time.Hour), int64(1), delivered)
	}
	return nil
}
