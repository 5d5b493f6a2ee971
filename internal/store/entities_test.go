package store_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

func TestMetricSettingsTravelThroughTheOutbox(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.declare()
	ctx := t.Context()
	m, err := db.Metric(ctx, w.tenant, w.metric.String(), at(0))
	if err != nil || !reflect.DeepEqual(*m.Settings, api.DefaultMetricSettings()) {
		t.Fatalf("before any: %+v, %v", m.Settings, err)
	}
	want := api.MetricSettings{DisplayUnit: "K", ExpectedInterval: 2.5, Direction: "up", MinAbsDeviation: 3, Enabled: false,
		Timezone: "Europe/Berlin", Window: 600, Hop: 2.5, Sensitivity: 2, Tags: map[string]string{"site": "berlin", "hall": "7"}}
	v, err := db.UpdateMetricSettings(ctx, w.tenant, w.metric, want, new(uint64(0)))
	if err != nil || v.Version == 0 {
		t.Fatal(v, err)
	}
	if _, err := db.UpdateMetricSettings(ctx, w.tenant, w.metric, want, new(uint64(0))); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("an old version: %v", err)
	}
	want.Version = v.Version
	if m, err = db.Metric(ctx, w.tenant, w.metric.String(), at(0)); err != nil || !reflect.DeepEqual(*m.Settings, want) {
		t.Fatalf("read back %+v, %v", m.Settings, err)
	}
	pending, err := db.PendingControls(ctx, 10)
	if err != nil || len(pending) != 1 {
		t.Fatal(pending, err)
	}
	s := decode(t, pending[0].Payload).GetMetricSettings()
	if schemas.ID(s.MetricId) != w.metric || s.ExpectedIntervalUs != 2.5e6 || s.Direction != schemas.Direction_DIRECTION_UP || s.MinAbsDeviation != 3 || s.Enabled ||
		s.Timezone != "Europe/Berlin" || s.WindowUs != 600e6 || s.HopUs != 2.5e6 || s.Sensitivity != 2 || len(s.Tags) != 2 || s.Tags[0].Key != "hall" || s.Tags[1].Value != "berlin" {
		t.Fatalf("control %v", s)
	}
	if all, err := db.AllControls(ctx); err != nil || len(all) != 1 || all[0].GetMetricSettings().GetExpectedIntervalUs() != 2.5e6 || all[0].Version != v.Version {
		t.Fatalf("checkpoint %v, %v", all, err)
	}
	if _, err := db.UpdateMetricSettings(ctx, schemas.NewID(), w.metric, want, nil); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("of another tenant: %v", err)
	}
}

// A request that is sent again with its Idempotency-Key makes nothing twice, also
// when both come at once.
func TestIdempotencyKeyMakesOneThing(t *testing.T) {
	db := storetest.New(t)
	a, b := newWorld(t, db, "a"), newWorld(t, db, "b")
	once := api.RequestKey{Key: "k", Sum: [32]byte{1}}
	var wg sync.WaitGroup
	var mu sync.Mutex
	hooks := map[string]string{}
	for range 8 {
		wg.Go(func() {
			h, err := db.CreateWebhook(t.Context(), a.tenant, api.Webhook{URL: "https://example.com"}, once)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			hooks[h.ID] = h.Secret
		})
	}
	wg.Wait()
	if len(hooks) != 1 || count(t, db, "webhooks") != 1 {
		t.Fatalf("%d endpoints of one key", len(hooks))
	}
	for _, secret := range hooks {
		rawSecret(t, secret)
	}
	for range 2 {
		if _, err := db.CreateAlertRule(t.Context(), a.tenant, api.AlertRule{Name: "r"}, once); err != nil { // another kind of thing
			t.Fatal(err)
		}
		if _, err := db.CreateSilence(t.Context(), b.tenant, api.Silence{StartsAt: at(0), EndsAt: at(1)}, once); err != nil { // another tenant
			t.Fatal(err)
		}
	}
	if n := count(t, db, "alert_rules") + count(t, db, "silences") + count(t, db, "control_outbox"); n != 4 {
		t.Fatalf("%d rows, want a rule, a silence and their controls", n)
	}
	if _, err := db.CreateWebhook(t.Context(), a.tenant, api.Webhook{URL: "https://example.org"}, api.RequestKey{Key: "k", Sum: [32]byte{2}}); !errors.Is(err, store.ErrOtherBody) {
		t.Fatalf("another body: %v", err)
	}
}

func TestFeaturesInPages(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.declare()
	for part := range 3 {
		w.apply(stream.Features, func(rows *stream.RowSet) {
			for i := range 10 {
				w.feature(rows, part*10+i, uint64(part+1))
			}
		})
		if part == 0 {
			if _, err := db.Seal(t.Context(), stream.Features); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, o := range []store.Order{store.Newest, store.Oldest} {
		got := pages(t, 7, func(p api.PageRequest) (api.Page[api.Features], error) {
			return db.Features(t.Context(), w.tenant, w.metric, api.Range{From: at(2), To: at(28)}, p, o)
		})
		if len(got) != 26 {
			t.Fatalf("%d vectors, want 26", len(got))
		}
		for i, f := range got {
			want := at(27 - i)
			if o == store.Oldest {
				want = at(2 + i)
			}
			if !f.TS.Equal(want) || *f.Mean != 12.5 || *f.Step != 1.5 || f.Count != 10 || f.StuckRun != 3 || !f.LowVariance || !f.WindowStart.Equal(want.Add(-10*time.Second)) {
				t.Fatalf("%d: %+v", i, f)
			}
		}
	}
	if _, err := db.Features(t.Context(), schemas.NewID(), w.metric, api.Range{}, api.PageRequest{}, store.Newest); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("of another tenant: %v", err)
	}
}

func TestModelsInPages(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.declare()
	spec := &stream.TableSpec{Name: "models", Key: []string{"tenant_id", "metric_id", "version"}, Columns: []string{"tenant_id", "metric_id", "version", "ts", "rows", "root", "partition", "artefact"}}
	w.apply(stream.Scores, func(rows *stream.RowSet) {
		for i := range 5 {
			rows.Add(spec, w.tenant, w.metric, []byte{byte(i), 0xab}, us(i/2), int64(256), uint64(i+1), 0, []byte("model"))
		}
	})
	got := pages(t, 2, func(p api.PageRequest) (api.Page[api.Model], error) {
		return db.ListModels(t.Context(), w.tenant, w.metric, p)
	})
	if len(got) != 5 || got[0].Version != "04ab" || got[4].Version != "00ab" || got[0].MetricName != "temperature" || got[0].Archived {
		t.Fatalf("got %+v", got)
	}
	if err := db.ArtefactsStored(t.Context(), [][]byte{{3, 0xab}}); err != nil {
		t.Fatal(err)
	}
	if m, err := db.Model(t.Context(), w.tenant, []byte{3, 0xab}); err != nil || !m.Archived || m.Rows != 256 || !m.TS.Equal(at(1)) {
		t.Fatalf("got %+v, %v", m, err)
	}
	for _, err := range []error{second(db.Model(t.Context(), schemas.NewID(), []byte{3, 0xab})), second(db.Model(t.Context(), w.tenant, []byte{9})),
		second(db.ListModels(t.Context(), schemas.NewID(), w.metric, api.PageRequest{}))} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("foreign or unknown: %v", err)
		}
	}
}

// Downsampled points keep within the count asked for, keep order, and show every
// spike, whether they are chosen among points or roll-ups.
func TestDownsamplingShowsSpikes(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.declare()
	const n = 60_000
	spikes := map[int]float64{7: 900, 12_345: 1000, 15_500: -1000, 30_000: 1100, 59_990: -1200}
	value := func(i int) float64 {
		if v, ok := spikes[i]; ok {
			return v
		}
		return 10 * math.Sin(float64(i)/500)
	}
	for at := 0; at < n; at += 20_000 {
		w.apply(stream.Points, func(rows *stream.RowSet) {
			for i := at; i < at+20_000; i++ {
				w.point(rows, i, value(i), uint64(i+1))
			}
		})
		if _, err := db.Seal(t.Context(), stream.Points); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ from, to, n int }{{0, n, 2000}, {0, n, 500}, {0, n, 50}, {3, 17_011, 1000}, {12_000, 13_000, 100}, {12_000, 12_600, 2000}} {
		for _, method := range []string{store.LTTB, store.MinMax, store.Avg} {
			name := fmt.Sprint(method, c)
			got, err := db.Downsample(t.Context(), w.tenant, w.metric, api.Range{From: at(c.from), To: at(c.to)}, method, c.n)
			if err != nil {
				t.Fatal(name, err)
			}
			if got.Points != int64(c.to-c.from) || len(got.Data) > c.n || len(got.Data) < min(c.n, c.to-c.from)/3 {
				t.Errorf("%s: %d of %d points", name, len(got.Data), got.Points)
			}
			cell := time.Duration(0)
			if !got.Exact {
				cell = time.Duration(got.StepSeconds * float64(time.Second))
			}
			for i, p := range got.Data {
				if i > 0 && !got.Data[i-1].TS.Before(p.TS) {
					t.Fatalf("%s: %s is followed by %s", name, got.Data[i-1].TS, p.TS)
				}
			}
			if method == store.Avg {
				continue
			}
			for second, v := range spikes {
				if second < c.from || second >= c.to {
					continue
				}
				shown := false
				for _, p := range got.Data {
					shown = shown || p.Value == v && p.TS.Sub(at(second)).Abs() <= cell
				}
				if !shown {
					t.Errorf("%s: the spike at %d is not shown", name, second)
				}
			}
		}
	}
	if _, err := db.Downsample(t.Context(), schemas.NewID(), w.metric, api.Range{From: at(0), To: at(1)}, store.Avg, 10); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("of another tenant: %v", err)
	}
}
