package store_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

func TestPlansBoundWhatATenantMakes(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	ctx := t.Context()
	small := api.Plan{Name: "small", MaxWebhooks: new(int64(1)), MaxRules: new(int64(2)), PointsPerMonth: new(int64(1000)), PointsPerSecond: new(int64(5)), RetentionDays: 30}
	if err := errors.Join(db.PutPlan(ctx, small), db.SetTenantPlan(ctx, w.tenant, "small")); err != nil {
		t.Fatal(err)
	}
	if got, err := db.TenantPlan(ctx, w.tenant); err != nil || got.Name != "small" || *got.MaxRules != 2 || got.MaxMetrics != nil {
		t.Fatalf("plan %+v, %v", got, err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	made, refused := 0, 0
	for range 8 { // at once: the last two places must not be given three times
		wg.Go(func() {
			_, err := db.CreateAlertRule(ctx, w.tenant, api.AlertRule{Name: "r"}, api.RequestKey{})
			var limit *store.LimitError
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made++
			case errors.Is(err, store.ErrLimit) && errors.As(err, &limit) && limit.Most == 2 && limit.Plan == "small":
				refused++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made != 2 || refused != 6 {
		t.Fatalf("%d rules made, %d refused", made, refused)
	}
	hook, err := db.CreateWebhook(ctx, w.tenant, api.Webhook{URL: "https://example.com/"}, api.RequestKey{})
	if err != nil {
		t.Fatal(err)
	}
	if err := second(db.CreateWebhook(ctx, w.tenant, api.Webhook{URL: "https://example.com/"}, api.RequestKey{})); !errors.Is(err, store.ErrLimit) {
		t.Fatalf("second webhook: %v", err)
	}
	if err := db.DeleteWebhook(ctx, w.tenant, hook.ID, 0); err != nil {
		t.Fatal(err)
	}
	if err := second(db.CreateWebhook(ctx, w.tenant, api.Webhook{URL: "https://example.com/"}, api.RequestKey{})); err != nil {
		t.Fatalf("a place was given back: %v", err)
	}
	for _, err := range []error{db.SetTenantPlan(ctx, w.tenant, "none"), db.PutPlan(ctx, api.Plan{Name: "bad", RetentionDays: 0}), db.PutPlan(ctx, api.Plan{Name: "a b", RetentionDays: 1})} {
		if !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%v", err)
		}
	}
	if plans, err := db.ListPlans(ctx); err != nil || len(plans) != 2 {
		t.Fatalf("plans %v, %v", plans, err)
	}
}

// tenantActs is a context in which a key of the API acts.
func tenantActs(t *testing.T) context.Context {
	return schemas.WithActor(t.Context(), schemas.KeyActor("abcdefghijkl", "req-1"))
}

func TestKeysThroughTheTenantsRole(t *testing.T) {
	db := storetest.New(t)
	a, b := newWorld(t, db, "a"), newWorld(t, db, "b")
	cfg := db.Config
	cfg.OwnerDSN = "" // as a gateway in a cluster
	db.Open(t, cfg)
	ctx := tenantActs(t)
	plain, key, err := db.CreateKey(ctx, a.tenant, []string{"ingest"}, store.KeyOptions{Name: "hall 7", DevicePattern: "hall7-*"})
	if err != nil || plain == "" {
		t.Fatal(err)
	}
	rec, err := db.LookupKey(ctx, key.KeyID)
	if err != nil || rec.DevicePattern != "hall7-*" || rec.Plan != "default" || rec.PointsPerMonth != nil {
		t.Fatalf("record %+v, %v", rec, err)
	}
	// The other tenant meets nothing of it.
	if err := db.RevokeKey(ctx, b.tenant, key.KeyID); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("revoke of a foreign key: %v", err)
	}
	if _, _, _, err := db.RotateKey(ctx, b.tenant, key.KeyID, time.Hour); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("rotation of a foreign key: %v", err)
	}
	if err := second(db.FindKey(ctx, b.tenant, key.KeyID)); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("a foreign key: %v", err)
	}
	if _, _, err := db.CreateKey(ctx, schemas.NewID(), []string{"read"}, store.KeyOptions{}); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("key of no tenant: %v", err)
	}
	if _, _, err := db.CreateKey(ctx, a.tenant, []string{"read"}, store.KeyOptions{DevicePattern: "[a"}); !errors.Is(err, store.ErrInvalid) {
		t.Fatalf("bad pattern: %v", err)
	}

	before := time.Now()
	plain2, next, old, err := db.RotateKey(ctx, a.tenant, key.KeyID, time.Hour)
	if err != nil || plain2 == plain || next.Name != "hall 7" || next.DevicePattern != "hall7-*" || next.ExpiresAt != nil {
		t.Fatalf("rotated %+v, %v", next, err)
	}
	if left := old.ExpiresAt.Sub(before); left < 59*time.Minute || left > 61*time.Minute {
		t.Fatalf("the old key works for %s more", left)
	}
	if _, _, again, err := db.RotateKey(ctx, a.tenant, key.KeyID, 9*time.Hour); err != nil || !again.ExpiresAt.Equal(*old.ExpiresAt) {
		t.Fatalf("a second rotation prolonged the old key to %v, %v", again.ExpiresAt, err)
	}

	used := time.Now().UTC().Truncate(time.Microsecond)
	if err := db.NoteKeyUses(ctx, map[string]time.Time{key.KeyID: used, "nosuchkey234": used}); err != nil {
		t.Fatal(err)
	}
	if err := db.NoteKeyUses(ctx, map[string]time.Time{key.KeyID: used.Add(-time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if k, err := db.FindKey(ctx, a.tenant, key.KeyID); err != nil || !k.LastUsedAt.Equal(used) {
		t.Fatalf("last used %v, %v", k.LastUsedAt, err)
	}
	got := pages(t, 1, func(p api.PageRequest) (api.Page[store.Key], error) { return db.KeyPage(ctx, a.tenant, p) })
	if len(got) != 3 {
		t.Fatalf("%d keys in pages", len(got))
	}
}

func TestTheAuditLogSaysWhatChanged(t *testing.T) {
	db := storetest.New(t)
	a, b := newWorld(t, db, "a"), newWorld(t, db, "b")
	ctx := tenantActs(t)
	rule, err := db.CreateAlertRule(ctx, a.tenant, api.AlertRule{Name: "r"}, api.RequestKey{})
	if err != nil {
		t.Fatal(err)
	}
	rule.Name = "s"
	_, uerr := db.UpdateAlertRule(ctx, a.tenant, rule.ID, rule, 0)
	hook, herr := db.CreateWebhook(ctx, a.tenant, api.Webhook{URL: "https://example.com/"}, api.RequestKey{})
	_, rerr := db.RotateWebhookSecret(ctx, a.tenant, hook.ID)
	_, key, kerr := db.CreateKey(ctx, a.tenant, []string{"read"}, store.KeyOptions{})
	if err := errors.Join(uerr, herr, rerr, kerr, db.RevokeKey(ctx, a.tenant, key.KeyID), db.DeleteAlertRule(ctx, a.tenant, rule.ID, 0)); err != nil {
		t.Fatal(err)
	}
	// What fails leaves no line.
	if err := db.RevokeKey(ctx, a.tenant, "nosuchkey234"); !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	log, err := db.Audit(ctx, a.tenant, api.PageRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, e := range log.Data {
		actions = append(actions, e.Action)
		if e.Action == "tenant.create" {
			if e.Actor != "owner" || e.Before != "" || len(e.After) != 64 {
				t.Errorf("%+v", e)
			}
			continue
		}
		created, ended := strings.HasSuffix(e.Action, ".create"), strings.HasSuffix(e.Action, ".delete")
		if e.Actor != "key:abcdefghijkl" || e.RequestID != "req-1" || (e.Before == "") != created || (e.After == "") != ended || e.Before == e.After {
			t.Errorf("%+v", e)
		}
	}
	want := "alert_rule.delete key.revoke key.create webhook.rotate webhook.create alert_rule.update alert_rule.create tenant.create"
	if got := strings.Join(actions, " "); got != want {
		t.Fatalf("actions %s", got)
	}
	if other, err := db.Audit(ctx, b.tenant, api.PageRequest{}); err != nil || len(other.Data) != 1 {
		t.Fatalf("the other tenant reads %d lines, %v", len(other.Data), err)
	}
	if all, err := db.AuditOfAll(t.Context(), schemas.Nil, api.PageRequest{Limit: 4}); err != nil || len(all.Data) != 4 || !all.HasMore {
		t.Fatalf("the owner reads %d lines, %v", len(all.Data), err)
	}
}

func TestUsageIsReadByDay(t *testing.T) {
	db := storetest.New(t)
	a, b := newWorld(t, db, "a"), newWorld(t, db, "b")
	evaluations := &stream.TableSpec{Name: "usage_evaluations", Columns: []string{"tenant_id", "day", "evaluations"}, Key: []string{"tenant_id", "day"}, Add: []string{"evaluations"}}
	deliveries := &stream.TableSpec{Name: "usage_deliveries", Columns: []string{"tenant_id", "day", "attempts", "delivered"}, Key: []string{"tenant_id", "day"}, Add: []string{"attempts", "delivered"}}
	for _, w := range []*world{a, b} {
		w.apply(stream.Points, func(rows *stream.RowSet) {
			rows.Add(usageSpec, w.tenant, us(0), int64(1), int64(10), int64(100))
			rows.Add(usageSpec, w.tenant, us(86400*40), int64(1), int64(7), int64(70))
		})
		w.apply(stream.Scores, func(rows *stream.RowSet) { rows.Add(evaluations, w.tenant, us(0), int64(3)) })
		w.apply(stream.Deliveries, func(rows *stream.RowSet) { rows.Add(deliveries, w.tenant, us(86400), int64(2), int64(1)) })
	}
	days, err := db.Usage(t.Context(), a.tenant, base, at(86400*30))
	if err != nil || len(days) != 2 || days[0].Day != "2026-11-01" || days[0].Used != (api.Used{Requests: 1, Points: 10, Bytes: 100, Evaluations: 3}) ||
		days[1].Used != (api.Used{WebhookAttempts: 2, WebhooksDelivered: 1}) {
		t.Fatalf("%+v, %v", days, err)
	}
	points, through, err := db.MonthPoints(t.Context(), a.tenant, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), 2)
	if err != nil || points != 10 || len(through) != 2 || through[0] != 2 || through[1] != 0 {
		t.Fatalf("%d points through %v, %v", points, through, err)
	}
	a.declare()
	a.apply(stream.Points, func(rows *stream.RowSet) { a.point(rows, 1, 20, 1) })
	for since, want := range map[time.Time]int{base.Add(-time.Hour): 1, at(86400): 0} {
		if list, err := db.ActiveMetrics(t.Context(), a.tenant, since); err != nil || len(list) != want {
			t.Fatalf("%v active metrics since %s, %v", list, since, err)
		}
	}
	if all, err := db.UsageOfAll(t.Context(), base, at(86400*60)); err != nil || len(all) != 6 || all[0].Tenant != "a" {
		t.Fatalf("%+v, %v", all, err)
	}
	list, err := db.TenantsForOwner(t.Context(), base, at(10))
	if err != nil || len(list) != 2 || list[0].Month.Points != 17 {
		t.Fatalf("%+v, %v", list, err)
	}
	// Deriving one log again empties its counts, and no others.
	if err := db.TruncateProjected(t.Context(), stream.Scores); err != nil {
		t.Fatal(err)
	}
	if days, err = db.Usage(t.Context(), a.tenant, base, base); err != nil || days[0].Used != (api.Used{Requests: 1, Points: 10, Bytes: 100}) {
		t.Fatalf("%+v, %v", days, err)
	}
}
