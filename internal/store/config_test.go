package store_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/schemas/apikey"
)

func TestKeysFromBirthToEnd(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	ctx := t.Context()
	expires := at(3600)
	plain, key, err := db.CreateKey(ctx, w.tenant, []string{store.ScopeIngest, store.ScopeRead}, store.KeyOptions{Env: "dev", Name: "line 1", ExpiresAt: expires})
	if err != nil || !strings.HasPrefix(plain, "ep_dev_"+key.KeyID+"_") {
		t.Fatalf("key %+v, %v", key, err)
	}
	id, secret, err := apikey.Parse(plain)
	if err != nil || id != key.KeyID {
		t.Fatalf("parse: %q, %v", id, err)
	}
	rec, err := db.LookupKey(ctx, id)
	if err != nil || rec.TenantID != w.tenant || !apikey.Verify(db.Config.Pepper, secret, rec.Hash) ||
		!slices.Equal(rec.Scopes, key.Scopes) || rec.PepperVersion != 1 || !rec.ExpiresAt.Equal(expires) || rec.RevokedAt != nil || rec.DisabledAt != nil || len(rec.EdgeHash) != 32 {
		t.Fatalf("record %+v, %v", rec, err)
	}
	if bytes.Contains(rec.Hash, secret) {
		t.Fatal("the secret is stored")
	}
	if err := db.RevokeKey(ctx, schemas.NewID(), id); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("revoke by another tenant: %v", err)
	}
	if err := errors.Join(db.RevokeKey(ctx, w.tenant, id), db.DisableTenant(ctx, w.tenant, true)); err != nil {
		t.Fatal(err)
	}
	if rec, err = db.LookupKey(ctx, id); err != nil || rec.RevokedAt == nil || rec.DisabledAt == nil {
		t.Fatalf("after: %+v, %v", rec, err)
	}
	if _, err := db.LookupKey(ctx, "nosuchkey234"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("unknown: %v", err)
	}
	if keys, err := db.ListKeys(ctx, w.tenant); err != nil || len(keys) != 1 || keys[0].Name != "line 1" {
		t.Fatalf("list %+v, %v", keys, err)
	}
	if _, err := db.CreateTenant(ctx, "acme"); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("second acme: %v", err)
	}
	for _, bad := range [][]string{nil, {"root"}} {
		if _, _, err := db.CreateKey(ctx, w.tenant, bad, store.KeyOptions{}); err == nil {
			t.Errorf("scopes %v accepted", bad)
		}
	}
	if _, _, err := db.CreateKey(ctx, schemas.NewID(), []string{"read"}, store.KeyOptions{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("key of no tenant: %v", err)
	}
}

func decode(t *testing.T, payload []byte) *schemas.Control {
	t.Helper()
	var c schemas.Control
	if err := c.UnmarshalVT(payload); err != nil {
		t.Fatal(err)
	}
	return &c
}

func TestRulesTravelThroughTheOutbox(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	ctx := t.Context()
	rule := api.AlertRule{Name: "hot", MetricPattern: "temp*", MinScore: 0.8, MinSeverity: "warning", Labels: []string{"spike", "drift"},
		Direction: "up", For: "90s", Cooldown: "5m", Tags: map[string]string{"hall": "A", "b": "c"}, DeviceIDs: []string{w.device.String()}}
	created, err := db.CreateAlertRule(ctx, w.tenant, rule, api.RequestKey{})
	if err != nil || created.ID == "" || created.Version == 0 || !*created.Enabled {
		t.Fatalf("created %+v, %v", created, err)
	}
	got, err := db.AlertRule(ctx, w.tenant, created.ID)
	if err != nil || got.For != "90s" || got.Version != created.Version || got.Tags["hall"] != "A" {
		t.Fatalf("got %+v, %v", got, err)
	}
	got.Name = "hotter"
	updated, err := db.UpdateAlertRule(ctx, w.tenant, got.ID, got, got.Version)
	if err != nil || updated.Version <= created.Version {
		t.Fatalf("updated %+v, %v", updated, err)
	}
	if _, err := db.UpdateAlertRule(ctx, w.tenant, got.ID, got, created.Version); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("update of an old version: %v", err)
	}
	pending, err := db.PendingControls(ctx, 10)
	if err != nil || len(pending) != 2 || pending[0].TenantID != w.tenant {
		t.Fatalf("pending %v, %v", pending, err)
	}
	c := decode(t, pending[0].Payload)
	r := c.GetAlertRule()
	if c.Version != created.Version || schemas.ID(c.TenantId) != w.tenant || r.ForUs != 90e6 || r.CooldownUs != 300e6 ||
		r.MinSeverity != schemas.Severity_SEVERITY_WARNING || r.Direction != schemas.Direction_DIRECTION_UP || len(r.Labels) != 2 ||
		r.Tags[0].Key != "b" || !r.Enabled || schemas.ID(r.DeviceIds[0]) != w.device {
		t.Fatalf("control %v", c)
	}
	if err := db.DeleteAlertRule(ctx, w.tenant, got.ID, 0); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		second(db.AlertRule(ctx, w.tenant, got.ID)), db.DeleteAlertRule(ctx, w.tenant, got.ID, 0),
		second(db.UpdateAlertRule(ctx, schemas.NewID(), got.ID, got, 0)),
	} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("deleted or foreign rule: %v", err)
		}
	}
	all, err := db.AllControls(ctx)
	if err != nil || len(all) != 1 || all[0].GetAlertRuleDeleted() == nil {
		t.Fatalf("checkpoint %v, %v", all, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestBadRulesAreRefused(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	for _, r := range []api.AlertRule{{For: "soon"}, {For: "-1s"}, {MinSeverity: "WARNING"}, {Labels: []string{"odd"}}, {MetricIDs: []string{"x"}}, {Direction: "left"}} {
		if _, err := db.CreateAlertRule(t.Context(), w.tenant, r, api.RequestKey{}); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if n := count(t, db, "control_outbox") + count(t, db, "alert_rules"); n != 0 {
		t.Errorf("%d rows of refused rules", n)
	}
	if err := second(db.CreateAlertRule(t.Context(), schemas.NewID(), api.AlertRule{}, api.RequestKey{})); err == nil {
		t.Error("a rule of no tenant was taken")
	}
}

func TestRulePages(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	for range 5 {
		if _, err := db.CreateAlertRule(t.Context(), w.tenant, api.AlertRule{Name: "r"}, api.RequestKey{}); err != nil {
			t.Fatal(err)
		}
	}
	got := pages(t, 2, func(p api.PageRequest) (api.Page[api.AlertRule], error) {
		return db.ListAlertRules(t.Context(), w.tenant, p)
	})
	if len(got) != 5 || got[0].Version < got[4].Version {
		t.Fatalf("%d rules", len(got))
	}
}

func TestRelayPublishesOnceInOrder(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	for range 10 {
		if _, err := db.CreateAlertRule(t.Context(), w.tenant, api.AlertRule{Name: "r"}, api.RequestKey{}); err != nil {
			t.Fatal(err)
		}
	}
	failed := errors.New("log is full")
	n, err := db.RelayControls(t.Context(), 3, func(context.Context, []store.PendingControl) error { return failed })
	if n != 0 || !errors.Is(err, failed) {
		t.Fatalf("failed publish: %d, %v", n, err)
	}
	var mu sync.Mutex
	var got []uint64
	var wg sync.WaitGroup
	for range 3 { // several relays at once
		wg.Go(func() {
			for {
				mu.Lock()
				done := len(got) >= 10
				mu.Unlock()
				if done {
					return
				}
				_, err := db.RelayControls(context.Background(), 3, func(_ context.Context, cs []store.PendingControl) error {
					mu.Lock()
					defer mu.Unlock()
					for _, c := range cs {
						got = append(got, c.Version)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if len(got) != 10 || !slices.IsSorted(got) {
		t.Fatalf("published %v", got)
	}
	if p, err := db.PendingControls(t.Context(), 1); err != nil || len(p) != 0 {
		t.Fatalf("left over %v, %v", p, err)
	}
}

func TestSilences(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	ctx := t.Context()
	v, err := db.CreateSilence(ctx, w.tenant, api.Silence{DevicePattern: "press-*", StartsAt: at(0), EndsAt: at(60)}, api.RequestKey{})
	if err != nil {
		t.Fatal(err)
	}
	id, _ := schemas.ParseID(v.ID)
	v.Comment, v.EndsAt = "longer", at(90)
	changed, err := db.UpdateSilence(ctx, w.tenant, id, v, v.Version)
	if err != nil || changed.Version <= v.Version || changed.Comment != "longer" {
		t.Fatalf("changed %+v, %v", changed, err)
	}
	if _, err := db.UpdateSilence(ctx, w.tenant, id, v, v.Version); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("an old version: %v", err)
	}
	all, err := db.AllControls(ctx)
	if err != nil || len(all) != 1 || all[0].GetSilence().EndsAt != us(90) || len(all[0].GetSilence().RuleId) != 0 || all[0].Version != changed.Version {
		t.Fatalf("checkpoint %v, %v", all, err)
	}
	for second, want := range map[int]int{-1: 0, 0: 1, 89: 1, 90: 0} {
		if p, err := db.ListSilences(ctx, w.tenant, api.PageRequest{}, at(second)); err != nil || len(p.Data) != want {
			t.Errorf("%d silences at second %d, want %d, %v", len(p.Data), second, want, err)
		}
	}
	for _, err := range []error{db.DeleteSilence(ctx, schemas.NewID(), id, 0), second(db.Silence(ctx, schemas.NewID(), id))} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("of another tenant: %v", err)
		}
	}
	if err := db.DeleteSilence(ctx, w.tenant, id, v.Version); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("delete of an old version: %v", err)
	}
	if err := db.DeleteSilence(ctx, w.tenant, id, 0); err != nil {
		t.Fatal(err)
	}
	if err := db.DeleteSilence(ctx, w.tenant, id, 0); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("twice: %v", err)
	}
	if all, err := db.AllControls(ctx); err != nil || len(all) != 1 || all[0].GetSilenceDeleted() == nil {
		t.Fatalf("checkpoint of a deleted one %v, %v", all, err)
	}
	if _, err := db.CreateSilence(ctx, w.tenant, api.Silence{StartsAt: at(1), EndsAt: at(1)}, api.RequestKey{}); !errors.Is(err, store.ErrInvalid) {
		t.Fatalf("empty silence: %v", err)
	}
}

func rawSecret(t *testing.T, text string) []byte {
	t.Helper()
	rest, ok := strings.CutPrefix(text, "whsec_")
	b, err := base64.StdEncoding.DecodeString(rest)
	if !ok || err != nil || len(b) != 32 {
		t.Fatalf("secret of %d bytes, %v", len(b), err)
	}
	return b
}

func TestWebhooksKeepTheirSecrets(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	ctx := t.Context()
	hook, err := db.CreateWebhook(ctx, w.tenant, api.Webhook{URL: "https://example.com/in", MinSeverity: "warning"}, api.RequestKey{})
	if err != nil {
		t.Fatal(err)
	}
	first := rawSecret(t, hook.Secret)
	if got, err := db.Webhook(ctx, w.tenant, hook.ID); err != nil || got.Secret != "" || !*got.Enabled {
		t.Fatalf("got %+v, %v", got, err)
	}
	var stored []byte
	if err := db.Conn(t, db.OwnerDSN).QueryRow(ctx, `SELECT secret FROM webhooks`).Scan(&stored); err != nil || bytes.Contains(stored, first) {
		t.Fatalf("stored in the clear, %v", err)
	}
	rotated, err := db.RotateWebhookSecret(ctx, w.tenant, hook.ID)
	if err != nil {
		t.Fatal(err)
	}
	eps, err := db.Endpoints(ctx, w.tenant)
	if err != nil || len(eps) != 1 || len(eps[0].Secrets) != 2 || !bytes.Equal(eps[0].Secrets[0], rawSecret(t, rotated.Secret)) ||
		!bytes.Equal(eps[0].Secrets[1], first) || eps[0].MinSeverity != schemas.Severity_SEVERITY_WARNING || !eps[0].Enabled {
		t.Fatalf("endpoints %+v, %v", eps, err)
	}
	if err := db.DisableEndpoint(ctx, w.tenant, eps[0].ID, "410 gone"); err != nil {
		t.Fatal(err)
	}
	if got, err := db.Webhook(ctx, w.tenant, hook.ID); err != nil || *got.Enabled || got.DisabledReason != "410 gone" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if got, err := db.SetWebhookEnabled(ctx, w.tenant, hook.ID, true, ""); err != nil || !*got.Enabled || got.DisabledReason != "" {
		t.Fatalf("enabled again: %+v, %v", got, err)
	}
	if p, err := db.ListWebhooks(ctx, w.tenant, api.PageRequest{}); err != nil || len(p.Data) != 1 || p.Data[0].Secret != "" {
		t.Fatalf("list %+v, %v", p, err)
	}
	if err := db.DeleteWebhook(ctx, schemas.NewID(), hook.ID, 0); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("delete by another tenant: %v", err)
	}
	if err := db.DeleteWebhook(ctx, w.tenant, hook.ID, 0); err != nil {
		t.Fatal(err)
	}
	if eps, err := db.Endpoints(ctx, w.tenant); err != nil || len(eps) != 0 {
		t.Fatalf("endpoints after delete %+v, %v", eps, err)
	}
}

func TestSecretsDoNotOpenElsewhere(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	for range 2 {
		if _, err := db.CreateWebhook(t.Context(), w.tenant, api.Webhook{URL: "https://example.com"}, api.RequestKey{}); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, db.Conn(t, db.OwnerDSN), `UPDATE webhooks SET secret = (SELECT secret FROM webhooks ORDER BY endpoint_id LIMIT 1)`)
	if _, err := db.Endpoints(t.Context(), w.tenant); err == nil {
		t.Fatal("a secret moved to another endpoint still opens")
	}
}

func TestMigrateIsRepeatable(t *testing.T) {
	db := storetest.Bare(t)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := store.Migrate(context.Background(), store.MigrateConfig{OwnerDSN: db.OwnerDSN, WriterPassword: "test", AppPassword: "test"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestSegments(t *testing.T) {
	db := storetest.New(t)
	seg := func(first, last uint64) store.Segment {
		return store.Segment{Log: "INGEST", Partition: 1, FirstRoot: first, LastRoot: last, FirstAt: at(int(first)), LastAt: at(int(last)),
			ObjectKey: "raw/x", Bytes: 10, Entries: 5, SHA256: []byte{1}}
	}
	for _, g := range []store.Segment{seg(11, 20), seg(1, 10), seg(21, 30), seg(1, 10)} {
		if err := db.InsertSegment(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.InsertSegment(t.Context(), seg(1, 9)); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("other segment at the same root: %v", err)
	}
	for _, c := range []struct {
		r    store.SegmentRange
		want []uint64
	}{
		{store.SegmentRange{}, []uint64{1, 11, 21}},
		{store.SegmentRange{FromRoot: 10, ToRoot: 11}, []uint64{1, 11}},
		{store.SegmentRange{Time: api.Range{From: at(21), To: at(21).Add(time.Second)}}, []uint64{21}},
	} {
		got, err := db.ListSegments(t.Context(), "INGEST", 1, c.r)
		var firsts []uint64
		for _, g := range got {
			firsts = append(firsts, g.FirstRoot)
		}
		if err != nil || !slices.Equal(firsts, c.want) {
			t.Errorf("%+v: %v, %v; want %v", c.r, firsts, err, c.want)
		}
	}
}
