package store_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// pages follows cursors to the end, limit rows at a time.
func pages[T any](t *testing.T, limit int, get func(api.PageRequest) (api.Page[T], error)) []T {
	t.Helper()
	var out []T
	req := api.PageRequest{Limit: limit}
	for {
		p, err := get(req)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p.Data...)
		if len(p.Data) > limit || p.HasMore != (p.NextCursor != "") || (p.HasMore && len(p.Data) != limit) {
			t.Fatalf("page of %d rows, limit %d, has_more %v, cursor %q", len(p.Data), limit, p.HasMore, p.NextCursor)
		}
		if !p.HasMore {
			return out
		}
		req.Cursor = p.NextCursor
	}
}

func TestDatapointsLowestRootWinsOnEveryPage(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.declare()
	w.apply(stream.Points, func(rows *stream.RowSet) {
		for i := range 25 {
			for _, root := range []uint64{9, 5, 7} { // accepted three times, in any order
				w.point(rows, i, float64(root), root)
			}
		}
		w.pointAt(rows, us(25), 1, 9, schemas.PointFlag_POINT_FLAG_LATE|schemas.PointFlag_POINT_FLAG_BEHIND)
	})
	for _, order := range []store.Order{store.Newest, store.Oldest} {
		for _, limit := range []int{1, 5, 26, 100} {
			got := pages(t, limit, func(p api.PageRequest) (api.Page[api.Datapoint], error) {
				return db.Datapoints(t.Context(), w.tenant, w.metric.String(), api.Range{}, p, order)
			})
			if order == store.Newest {
				slices.Reverse(got)
			}
			if len(got) != 26 {
				t.Fatalf("order %d, limit %d: %d points", order, limit, len(got))
			}
			for i, d := range got[:25] {
				if !d.TS.Equal(at(i)) || d.Value != 5 || d.Root != 5 {
					t.Fatalf("point %d: %+v", i, d)
				}
			}
			if !slices.Equal(got[25].Flags, []string{"late", "behind"}) {
				t.Fatalf("flags %v", got[25].Flags)
			}
		}
	}
	got, err := db.Datapoints(t.Context(), w.tenant, w.metric.String(), api.Range{From: at(3), To: at(6)}, api.PageRequest{}, store.Oldest)
	if err != nil || len(got.Data) != 3 || !got.Data[0].TS.Equal(at(3)) {
		t.Fatalf("range: %+v, %v", got, err)
	}
	var viaView int
	c := db.Conn(t, db.OwnerDSN)
	if err := c.QueryRow(t.Context(), `SELECT count(*) FROM datapoints WHERE root = 5 AND metric_id = $1`, w.metric.String()).Scan(&viaView); err != nil || viaView != 25 {
		t.Fatalf("view shows %d points of root 5, %v", viaView, err)
	}
}

func TestScoresAndAnomalies(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.declare()
	other := schemas.MetricID(w.device, "pressure") // same instants: pages must not lose ties
	w.apply(stream.Scores, func(rows *stream.RowSet) {
		for i := range 20 {
			w.score(rows, i, severityOf(i), uint64(i+1))
			one := *w
			one.metric = other
			one.score(rows, i, severityOf(i), uint64(i+1))
		}
	})
	w.apply(stream.Points, func(rows *stream.RowSet) {
		rows.Add(metricSpec, other, w.tenant, w.device, "pressure", "bar", nil, us(1), uint64(1), 0)
	})
	ctx := t.Context()
	scores := pages(t, 7, func(p api.PageRequest) (api.Page[api.Score], error) {
		return db.Scores(ctx, w.tenant, w.metric.String(), api.Range{}, p, store.Newest)
	})
	if len(scores) != 20 || scores[0].Severity != "critical" || scores[3].Severity != "none" || !scores[0].TS.Equal(at(19)) {
		t.Fatalf("%d scores, first %+v", len(scores), scores[0])
	}
	v := scores[0]
	if v.DeviceExternalID != "press-1" || v.MetricName != "temperature" || v.Label != "spike" || v.SubLabel != "" || v.WarmUp != "trusted" ||
		*v.Expected != 21 || v.Upper != nil || v.ModelVersion != "ab" || len(v.Contributors) != 1 || v.Contributors[0].Name != "fast" || v.Root != 20 {
		t.Fatalf("got %+v", v)
	}
	anomalies := pages(t, 4, func(p api.PageRequest) (api.Page[api.Score], error) {
		return db.Anomalies(ctx, w.tenant, store.AnomalyFilter{}, api.Range{}, p)
	})
	seen := map[string]bool{}
	for _, a := range anomalies {
		seen[fmt.Sprint(a.MetricID, a.TS)] = true
	}
	if len(anomalies) != 30 || len(seen) != 30 {
		t.Fatalf("%d anomalies, %d different, want 30", len(anomalies), len(seen))
	}
	for _, c := range []struct {
		f    store.AnomalyFilter
		want int
	}{
		{store.AnomalyFilter{MetricID: w.metric.String()}, 15},
		{store.AnomalyFilter{MinSeverity: "warning"}, 20},
		{store.AnomalyFilter{Labels: []string{"drop"}}, 0},
		{store.AnomalyFilter{DeviceID: w.device.String(), MinSeverity: "critical"}, 10},
	} {
		p, err := db.Anomalies(ctx, w.tenant, c.f, api.Range{}, api.PageRequest{})
		if err != nil || len(p.Data) != c.want {
			t.Errorf("%+v: %d rows, %v; want %d", c.f, len(p.Data), err, c.want)
		}
	}
}

func TestNaNBecomesNull(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.declare()
	w.apply(stream.Scores, func(rows *stream.RowSet) {
		w.score(rows, 1, schemas.Severity_SEVERITY_INFO, 1)
		row := rows.Tables[0].Rows[0]
		row[7], row[10], row[11] = math.NaN(), math.NaN(), math.Inf(-1) // value, expected, lower
	})
	p, err := db.Scores(t.Context(), w.tenant, w.metric.String(), api.Range{}, api.PageRequest{}, store.Newest)
	if err != nil || len(p.Data) != 1 || p.Data[0].Expected != nil || p.Data[0].Lower != nil || p.Data[0].Value != 0 {
		t.Fatalf("got %+v, %v", p.Data, err)
	}
}

func TestDevicesAndMetrics(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	stranger := newWorld(t, db, "other")
	stranger.declare()
	w.apply(stream.Points, func(rows *stream.RowSet) {
		for i := range 9 {
			name := fmt.Sprintf("dev-%d", i)
			device := schemas.DeviceID(w.tenant, name)
			rows.Add(deviceSpec, device, w.tenant, name, us(i/3), uint64(1), 0)
			rows.Add(metricSpec, schemas.MetricID(device, "m"), w.tenant, device, "m", "", nil, us(i/3), uint64(1), 0)
		}
	})
	ctx := t.Context()
	devices := pages(t, 2, func(p api.PageRequest) (api.Page[api.Device], error) {
		return db.ListDevices(ctx, w.tenant, p, store.DeviceFilter{})
	})
	metrics := pages(t, 4, func(p api.PageRequest) (api.Page[api.Metric], error) {
		return db.ListMetrics(ctx, w.tenant, p, store.MetricFilter{})
	})
	if len(devices) != 9 || devices[0].Metrics != 1 || !devices[0].FirstSeen.Equal(at(2)) || len(metrics) != 9 {
		t.Fatalf("%d devices, %d metrics, first %+v", len(devices), len(metrics), devices[0])
	}
	for _, c := range []struct {
		f    store.MetricFilter
		want int
	}{
		{store.MetricFilter{DeviceExternalID: "dev-3", Name: "m"}, 1},
		{store.MetricFilter{DeviceID: devices[0].ID}, 1},
		{store.MetricFilter{DeviceID: "no id"}, 0},
		{store.MetricFilter{Name: "x"}, 0},
	} {
		p, err := db.ListMetrics(ctx, w.tenant, api.PageRequest{}, c.f)
		if err != nil || len(p.Data) != c.want || p.Data == nil {
			t.Errorf("%+v: %d, %v", c.f, len(p.Data), err)
		}
	}
	// What belongs to another tenant is not there.
	for _, id := range []string{stranger.metric.String(), schemas.NewID().String(), "no id", ""} {
		_, err1 := db.Datapoints(ctx, w.tenant, id, api.Range{}, api.PageRequest{}, store.Newest)
		_, err2 := db.Scores(ctx, w.tenant, id, api.Range{}, api.PageRequest{}, store.Newest)
		_, err3 := db.Metric(ctx, w.tenant, id, time.Now())
		if !errors.Is(err1, store.ErrNotFound) || !errors.Is(err2, store.ErrNotFound) || !errors.Is(err3, store.ErrNotFound) {
			t.Errorf("metric %q: %v, %v, %v", id, err1, err2, err3)
		}
	}
}

func TestCursorsOfOthersAreRefused(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.declare()
	w.apply(stream.Points, func(rows *stream.RowSet) {
		w.point(rows, 1, 1, 1)
		w.point(rows, 2, 1, 1)
	})
	p, err := db.Datapoints(t.Context(), w.tenant, w.metric.String(), api.Range{}, api.PageRequest{Limit: 1}, store.Newest)
	if err != nil || p.NextCursor == "" {
		t.Fatal(p, err)
	}
	for _, bad := range []string{p.NextCursor, "%%%", "e30", "bnVsbA", p.NextCursor[:len(p.NextCursor)-3]} {
		if _, err := db.ListDevices(t.Context(), w.tenant, api.PageRequest{Cursor: bad}, store.DeviceFilter{}); !errors.Is(err, store.ErrBadCursor) {
			t.Errorf("cursor %q: %v", bad, err)
		}
	}
	// The same list in the other order is another list.
	_, err = db.Datapoints(t.Context(), w.tenant, w.metric.String(), api.Range{}, api.PageRequest{Cursor: p.NextCursor}, store.Oldest)
	if !errors.Is(err, store.ErrBadCursor) {
		t.Errorf("other order: %v", err)
	}
}

func TestReceiptAddsItsParts(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	part := func(i uint32) {
		w.apply(stream.Points, func(rows *stream.RowSet) {
			rows.Add(batchSpec, w.tenant, "r1", i, uint32(2), 0, uint64(10+i), us(int(i)), "key", "http",
				uint32(5), uint32(4), uint32(0), uint32(1), `[{"pointer":"/metrics/0","code":"ts_future"}]`, make([]byte, 32))
		})
	}
	if _, err := db.Receipt(t.Context(), w.tenant, "r1"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("before: %v", err)
	}
	part(1)
	r, err := db.Receipt(t.Context(), w.tenant, "r1")
	if err != nil || r.Complete || r.PartsDone != 1 || r.Parts != 2 {
		t.Fatalf("half: %+v, %v", r, err)
	}
	part(0)
	part(0) // projected again after a rebuild
	r, err = db.Receipt(t.Context(), w.tenant, "r1")
	if err != nil || !r.Complete || r.Accepted != 8 || r.Rejected != 2 || len(r.Rejections) != 2 || len(r.Roots) != 2 || !r.ReceivedAt.Equal(at(0)) {
		t.Fatalf("whole: %+v, %v", r, err)
	}
	if _, err := db.Receipt(t.Context(), schemas.NewID(), "r1"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("other tenant: %v", err)
	}
}

func TestDeadLetters(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	entry, err := (&schemas.Entry{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: 42}}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	w.apply(stream.Points, func(rows *stream.RowSet) {
		for i := range 5 {
			for _, stage := range []string{"normaliser", "scorer"} {
				rows.Add(deadSpec, stage, i%2, uint64(3), uint32(i), "bad", "why", w.tenant, entry)
			}
		}
		rows.Add(deadSpec, "normaliser", 0, uint64(9), uint32(0), "no tenant", "", nil, entry[:1])
	})
	got := pages(t, 3, func(p api.PageRequest) (api.Page[api.DeadLetter], error) {
		return db.ListDeadLetters(t.Context(), w.tenant, p)
	})
	if len(got) != 10 || got[0].Entry != nil || got[0].Stage != "scorer" {
		t.Fatalf("%d dead letters, first %+v", len(got), got[0])
	}
	d, err := db.DeadLetter(t.Context(), w.tenant, "scorer", 1, 3, 3)
	if err != nil || string(d.Entry) != `{"tick":{"second":"42"}}` && string(d.Entry) != `{"tick":{"second": "42"}}` {
		t.Fatalf("got %+v %s, %v", d, d.Entry, err)
	}
	if _, err := db.DeadLetter(t.Context(), w.tenant, "normaliser", 0, 9, 0); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("dead letter without tenant: %v", err)
	}
}

func TestRolesThatWereNotOpened(t *testing.T) {
	db := storetest.Bare(t)
	db.Open(t, store.Config{AppDSN: db.AppDSN})
	if _, err := db.Position(t.Context(), stream.Points, 0); !errors.Is(err, store.ErrNoRole) {
		t.Errorf("position: %v", err)
	}
	if _, err := db.ListTenants(t.Context()); !errors.Is(err, store.ErrNoRole) {
		t.Errorf("tenants: %v", err)
	}
	if err := db.Ping(context.Background()); err != nil {
		t.Errorf("ping: %v", err)
	}
}
