package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

func (w *world) event(rows *stream.RowSet, alert schemas.ID, ordinal uint32, state schemas.AlertState, second int, root uint64) schemas.ID {
	id := schemas.EventID(alert, ordinal)
	rows.Add(alertSpec, id, alert, alert, "rule", w.tenant, w.device, w.metric, "press-1", "temperature", state, ordinal,
		us(0), us(second), us(second-10), us(second), us(second), 20.5, 0.9, 0.8, nil, schemas.Severity_SEVERITY_WARNING,
		schemas.Label_LABEL_SPIKE, schemas.SubLabel_SUB_LABEL_LEVEL, "why", []byte(`[{"name":"fast","share":1}]`), true, uint64(5), root, 0)
	return id
}

func TestAlertEventsWithDeliveries(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	alert, endpoint := schemas.NewID(), schemas.NewID()
	var opened schemas.ID
	w.apply(stream.Alerts, func(rows *stream.RowSet) {
		opened = w.event(rows, alert, 0, schemas.AlertState_ALERT_STATE_OPENED, 10, 5)
		w.event(rows, alert, 1, schemas.AlertState_ALERT_STATE_RESOLVED, 20, 6)
		w.event(rows, schemas.NewID(), 0, schemas.AlertState_ALERT_STATE_OPENED, 20, 6)
	})
	hook := schemas.WebhookID(opened, endpoint)
	w.apply(stream.Deliveries, func(rows *stream.RowSet) {
		add := func(kind schemas.DeliveryKind, attempt uint32, second int, outcome schemas.DeliveryOutcome, status uint32, next *time.Time) {
			rows.Add(deliverySpec, w.tenant, endpoint, hook, opened, kind, attempt, us(second), outcome, status, "", next, uint64(attempt), 0)
		}
		add(schemas.DeliveryKind_DELIVERY_KIND_PLANNED, 0, 30, schemas.DeliveryOutcome_DELIVERY_OUTCOME_UNSPECIFIED, 0, nil)
		add(schemas.DeliveryKind_DELIVERY_KIND_ATTEMPTED, 1, 31, schemas.DeliveryOutcome_DELIVERY_OUTCOME_RETRY, 503, new(at(36)))
		add(schemas.DeliveryKind_DELIVERY_KIND_ATTEMPTED, 2, 36, schemas.DeliveryOutcome_DELIVERY_OUTCOME_DELIVERED, 200, nil)
	})
	ctx := t.Context()
	v, err := db.AlertEvent(ctx, w.tenant, opened.String())
	if err != nil {
		t.Fatal(err)
	}
	if v.State != "opened" || v.Severity != "warning" || v.SubLabel != "level" || v.Expected != nil || v.Root != 5 || !v.Notified || len(v.Contributors) != 1 {
		t.Fatalf("got %+v", v)
	}
	if len(v.Deliveries) != 3 || v.Deliveries[0].Outcome != "planned" || v.Deliveries[1].Outcome != "retry" || !v.Deliveries[1].NextAt.Equal(at(36)) ||
		v.Deliveries[2].Outcome != "delivered" || v.Deliveries[2].Status != 200 || v.Deliveries[2].WebhookID != hook.String() {
		t.Fatalf("deliveries %+v", v.Deliveries)
	}
	for _, limit := range []int{1, 2, 3} {
		all := pages(t, limit, func(p api.PageRequest) (api.Page[api.AlertEvent], error) {
			return db.ListAlertEvents(ctx, w.tenant, store.AlertFilter{}, api.Range{}, p)
		})
		if len(all) != 3 || all[2].EventID != opened.String() {
			t.Fatalf("limit %d: %d events", limit, len(all))
		}
	}
	for _, c := range []struct {
		f    store.AlertFilter
		want int
	}{
		{store.AlertFilter{AlertID: alert.String()}, 2}, {store.AlertFilter{State: "opened"}, 2},
		{store.AlertFilter{MinSeverity: "critical"}, 0}, {store.AlertFilter{RuleID: "x"}, 0},
	} {
		p, err := db.ListAlertEvents(ctx, w.tenant, c.f, api.Range{}, api.PageRequest{})
		if err != nil || len(p.Data) != c.want || p.Data == nil {
			t.Errorf("%+v: %d, %v", c.f, len(p.Data), err)
		}
	}
	if _, err := db.AlertEvent(ctx, schemas.NewID(), opened.String()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("foreign event: %v", err)
	}
}

func TestTraceLeadsBackToTheRequests(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.declare()
	var opened schemas.ID
	w.apply(stream.Points, func(rows *stream.RowSet) {
		for i := range 20 {
			w.point(rows, i, float64(i), uint64(i+1))
			rows.Add(batchSpec, w.tenant, "req", uint32(i), uint32(20), 0, uint64(i+1), us(i), "key", "http",
				uint32(1), uint32(1), uint32(0), uint32(0), nil, nil)
		}
		w.point(rows, 15, 99, 40) // accepted again later: not what the alert saw
	})
	w.apply(stream.Features, func(rows *stream.RowSet) {
		w.feature(rows, 18, 19)
	})
	w.apply(stream.Scores, func(rows *stream.RowSet) {
		w.score(rows, 18, schemas.Severity_SEVERITY_WARNING, 19)
		w.score(rows, 19, schemas.Severity_SEVERITY_CRITICAL, 20)
	})
	w.apply(stream.Alerts, func(rows *stream.RowSet) {
		opened = w.event(rows, schemas.NewID(), 0, schemas.AlertState_ALERT_STATE_OPENED, 18, 19)
	})
	tr, received, err := db.TraceEvent(t.Context(), w.tenant, opened.String())
	if err != nil {
		t.Fatal(err)
	}
	if !received.Equal(at(18)) {
		t.Fatalf("received %s", received)
	}
	if tr.Score == nil || tr.Score.Root != 19 || len(tr.Features) == 0 || len(tr.Points) != 10 || tr.Points[3].Value != 15 || len(tr.Parts) != 10 {
		t.Fatalf("score %+v, features %s, %d points, %d receipts", tr.Score, tr.Features, len(tr.Points), len(tr.Parts))
	}
	if last := tr.Parts[9]; last.Root.Sequence != 19 || last.RequestID != "req" || last.KeyID != "key" {
		t.Fatalf("last receipt %+v", last)
	}
	if _, _, err := db.TraceEvent(t.Context(), schemas.NewID(), opened.String()); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("foreign trace: %v", err)
	}
}
