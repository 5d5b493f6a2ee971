package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

func TestMain(m *testing.M) { storetest.Run(m) }

// base is the first instant of the data of these tests.
var base = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return base.Add(time.Duration(seconds) * time.Second) }
func us(seconds int) int64     { return at(seconds).UnixMicro() }

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
		if !p.HasMore {
			return out
		}
		if len(p.Data) != limit {
			t.Fatalf("page of %d rows, limit %d, and more", len(p.Data), limit)
		}
		req.Cursor = p.NextCursor
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// world is a tenant with a device, whose rows come through the stages' projections.
type world struct {
	t      testing.TB
	db     *storetest.DB
	tenant schemas.ID
	device schemas.ID
	metric schemas.ID
}

func newWorld(t testing.TB, db *storetest.DB, name string) *world {
	t.Helper()
	tenant, err := db.CreateTenant(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: db, tenant: tenant.ID}
	w.device = schemas.DeviceID(w.tenant, "press-1")
	w.metric = schemas.MetricID(w.device, "temperature")
	return w
}

// project applies entries at a root of partition 0, through the stages' own projections.
func (w *world) project(log stream.LogName, root uint64, entries ...*schemas.Entry) {
	w.t.Helper()
	w.projectAt(log, 0, root, entries...)
}

func (w *world) projectAt(log stream.LogName, partition int, root uint64, entries ...*schemas.Entry) {
	w.t.Helper()
	var rows stream.RowSet
	for _, e := range entries {
		i := slices.IndexFunc(projections, func(p projected) bool { return p.log == log })
		raw, err := e.MarshalVT()
		if err != nil {
			w.t.Fatal(err)
		}
		if err := stream.Project(projections[i].projection, stream.Position{Partition: partition, Root: root}, raw, &rows); err != nil {
			w.t.Fatal(err)
		}
	}
	from, err := w.db.Position(context.Background(), log, partition)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.db.Apply(context.Background(), log, partition, from, root, &rows); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) declared(name string) (schemas.ID, *schemas.Entry) {
	id := schemas.MetricID(w.device, name)
	return id, &schemas.Entry{Kind: &schemas.Entry_MetricDeclared{MetricDeclared: &schemas.MetricDeclared{TenantId: w.tenant[:], DeviceId: w.device[:],
		MetricId: id[:], DeviceExternalId: "press-1", Name: name, FirstSeen: us(0)}}}
}

func (w *world) samples(metric schemas.ID, ts []int64, value func(i int) float64) *schemas.Entry {
	s := &schemas.Series{MetricId: metric[:]}
	last := int64(0)
	for i, v := range ts {
		s.Ts, s.Values, last = append(s.Ts, v-last), append(s.Values, value(i)), v
	}
	return &schemas.Entry{Kind: &schemas.Entry_Points{Points: &schemas.Points{TenantId: w.tenant[:], DeviceId: w.device[:], Series: []*schemas.Series{s}}}}
}

func (w *world) scored(metric schemas.ID, second int, change func(*schemas.Score)) *schemas.Entry {
	s := &schemas.Score{TenantId: w.tenant[:], DeviceId: w.device[:], MetricId: metric[:], Ts: us(second), ReceivedAt: us(second),
		WindowStart: us(second - 300), WindowEnd: us(second), Value: 20, Expected: 21, Lower: 20, Upper: math.NaN(), Score: .25, AlarmScore: .125,
		WarmUp: schemas.WarmUp_WARM_UP_TRUSTED}
	if change != nil {
		change(s)
	}
	return &schemas.Entry{Kind: &schemas.Entry_Score{Score: s}}
}

func (w *world) alerted(alert schemas.ID, ordinal uint32, state schemas.AlertState, second int) *schemas.Entry {
	event := schemas.EventID(alert, ordinal)
	return &schemas.Entry{Kind: &schemas.Entry_AlertEvent{AlertEvent: &schemas.AlertEvent{EventId: event[:], AlertId: alert[:], RuleId: alert[:], RuleName: "r",
		TenantId: w.tenant[:], DeviceId: w.device[:], MetricId: w.metric[:], DeviceExternalId: "press-1", MetricName: "temperature", State: state, Ordinal: ordinal,
		OpenedAt: us(int(alert[0])), Ts: us(second), Expected: math.NaN(), Value: 3, Severity: schemas.Severity(1 + ordinal%3), Label: schemas.Label_LABEL_DROP,
		Contributors: []*schemas.Contribution{{Name: "fast", Share: 0.1 + 0.2}}, Notify: true}}}
}

// TestAlertsAreFoldedByTheirLatestEvent: one row per alert, whatever transactions
// its events came in, and pages that stand still.
func TestAlertsAreFoldedByTheirLatestEvent(t *testing.T) {
	db := storetest.New(t)
	w, other := newWorld(t, db, "acme"), newWorld(t, db, "other")
	const opened, updated, resolved = schemas.AlertState_ALERT_STATE_OPENED, schemas.AlertState_ALERT_STATE_UPDATED, schemas.AlertState_ALERT_STATE_RESOLVED
	a, b, c := schemas.ID{1, 9}, schemas.ID{2, 9}, schemas.ID{3, 9}
	w.project(stream.Alerts, 1, w.alerted(a, 0, opened, 10), w.alerted(b, 0, opened, 11), w.alerted(b, 1, updated, 12))
	w.project(stream.Alerts, 2, w.alerted(a, 1, updated, 13))
	w.project(stream.Alerts, 3, w.alerted(a, 2, resolved, 14), w.alerted(c, 0, opened, 15), other.alerted(schemas.ID{4}, 0, opened, 16))
	ctx := t.Context()
	list := func(f store.FoldedFilter, limit int) string {
		var out []string
		for _, v := range pages(t, limit, func(p api.PageRequest) (api.Page[api.Alert], error) { return db.ListAlerts(ctx, w.tenant, f, p) }) {
			out = append(out, fmt.Sprintf("%s:%s/%d", v.AlertID[:2], v.State, v.Events))
			if (v.ResolvedAt != nil) != (v.State == "resolved") {
				t.Errorf("%s resolved at %v", v.State, v.ResolvedAt)
			}
		}
		return strings.Join(out, " ")
	}
	for _, limit := range []int{1, 2, 3, 10} {
		if got := list(store.FoldedFilter{}, limit); got != "03:opened/1 02:updated/2 01:resolved/3" {
			t.Errorf("limit %d: %s", limit, got)
		}
	}
	for want, f := range map[string]store.FoldedFilter{
		"03:opened/1 02:updated/2":   {State: "open"},
		"01:resolved/3":              {State: "resolved"},
		"02:updated/2 01:resolved/3": {MinSeverity: "warning"},
		"":                           {Label: "spike"},
	} {
		if got := list(f, 10); got != want {
			t.Errorf("%+v: %q, want %q", f, got, want)
		}
	}
	one, err := db.Alert(ctx, w.tenant, a.String())
	if err != nil || len(one.History) != 3 || one.History[0].State != "opened" || one.History[2].EventID != one.EventID || !one.ResolvedAt.Equal(at(14)) || one.Expected != nil ||
		one.OpenedValue == nil || *one.OpenedValue != 3 || one.OpenedExpected != nil {
		t.Fatalf("%+v, %v", one, err)
	}
	if _, err := db.Alert(ctx, other.tenant, a.String()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("alert of another tenant: %v", err)
	}
	// Thrown away and projected again, it is the same.
	if err := db.TruncateProjected(ctx, stream.Alerts); err != nil {
		t.Fatal(err)
	}
	if got := list(store.FoldedFilter{}, 10); got != "" {
		t.Errorf("after the truncation: %s", got)
	}
}

// TestAlertsFromAPosition: what the live stream reads equals what it would have
// decoded from the log, in the same order, wherever it begins.
func TestAlertsFromAPosition(t *testing.T) {
	db := storetest.New(t)
	w, other := newWorld(t, db, "acme"), newWorld(t, db, "other")
	const opened = schemas.AlertState_ALERT_STATE_OPENED
	entries := map[uint64][]*schemas.Entry{
		// Within a root by event time, then alert, then ordinal; not as they stand.
		4: {w.alerted(schemas.ID{7}, 1, opened, 30), w.alerted(schemas.ID{7}, 0, opened, 30), other.alerted(schemas.ID{1}, 0, opened, 1), w.alerted(schemas.ID{2}, 0, opened, 30), w.alerted(schemas.ID{9}, 0, opened, 20)},
		6: {w.alerted(schemas.ID{8}, 0, opened, 5)},
	}
	for _, root := range []uint64{4, 6} {
		w.project(stream.Alerts, root, entries[root]...)
	}
	var want []string
	for _, e := range []*schemas.Entry{entries[4][4], entries[4][3], entries[4][1], entries[4][0], entries[6][0]} {
		root := uint64(4)
		if e == entries[6][0] {
			root = 6
		}
		shown, err := api.AlertEventOf(e.GetAlertEvent(), root, 0)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, asJSON(t, shown))
	}
	for _, c := range []struct {
		root        uint64
		skip, limit int
		from, to    int
	}{{0, 0, 100, 0, 5}, {4, 0, 2, 0, 2}, {4, 2, 2, 2, 4}, {4, 3, 100, 3, 5}, {5, 0, 100, 4, 5}, {6, 1, 100, 5, 5}} {
		got, through, err := db.AlertsFrom(t.Context(), w.tenant, 0, c.root, c.skip, c.limit)
		if err != nil || through != 6 || len(got) != c.to-c.from {
			t.Fatalf("%+v: %d events, through %d, %v", c, len(got), through, err)
		}
		for i, e := range got {
			if asJSON(t, e) != want[c.from+i] {
				t.Errorf("%+v: event %d is\n%s, want\n%s", c, i, asJSON(t, e), want[c.from+i])
			}
		}
	}
	if _, through, err := db.AlertsFrom(t.Context(), w.tenant, 1, 0, 0, 10); err != nil || through != 0 {
		t.Errorf("a partition without projection: through %d, %v", through, err)
	}
}

func TestOverview(t *testing.T) {
	db := storetest.New(t)
	w, other := newWorld(t, db, "acme"), newWorld(t, db, "other")
	hum, humEntry := w.declared("humidity")
	temp, tempEntry := w.declared("temperature")
	seconds := func(from, to int) (out []int64) {
		for i := from; i < to; i++ {
			out = append(out, us(i))
		}
		return out
	}
	receipt := func(second, accepted, rejected int, part uint32) *schemas.Entry {
		return &schemas.Entry{Kind: &schemas.Entry_Receipt{Receipt: &schemas.Receipt{TenantId: w.tenant[:], RequestId: fmt.Sprintf("00000000-0000-7000-8000-%012d", second),
			Part: part, Parts: 2, ReceivedAt: us(second), Accepted: uint32(accepted), Rejected: uint32(rejected), Points: uint32(accepted + rejected)}}}
	}
	w.project(stream.Points, 1, tempEntry, humEntry, w.samples(hum, seconds(0, 60), func(i int) float64 { return float64(i) }))
	w.project(stream.Points, 9, w.samples(temp, seconds(0, 3600), func(i int) float64 { return float64(i) }),
		receipt(3595, 30, 2, 0), receipt(3595, 20, 0, 1), receipt(3000, 7, 0, 0))
	anomaly := func(label schemas.Label, severity schemas.Severity) func(*schemas.Score) {
		return func(s *schemas.Score) { s.Label, s.Severity = label, severity }
	}
	var scores []*schemas.Entry
	for i := range 60 { // one anomaly of a minute, and a short one after it
		scores = append(scores, w.scored(temp, 100+i, anomaly(schemas.Label_LABEL_STUCK, schemas.Severity_SEVERITY_INFO)))
	}
	scores = append(scores, w.scored(temp, 1000, anomaly(schemas.Label_LABEL_STUCK, schemas.Severity_SEVERITY_CRITICAL)),
		w.scored(temp, 1001, anomaly(schemas.Label_LABEL_SPIKE, schemas.Severity_SEVERITY_INFO)), w.scored(temp, 3599, nil),
		w.scored(hum, 3560, func(s *schemas.Score) {
			s.Tick, s.Silent, s.Label, s.Severity = true, true, schemas.Label_LABEL_MISSINGNESS, schemas.Severity_SEVERITY_WARNING
		}))
	w.project(stream.Scores, 10, scores...)
	w.project(stream.Alerts, 10, w.alerted(schemas.ID{1}, 0, schemas.AlertState_ALERT_STATE_OPENED, 1000))

	now := at(3600)
	o, err := db.Overview(t.Context(), w.tenant, now, 24)
	if err != nil {
		t.Fatal(err)
	}
	if o.Devices != 1 || o.Metrics != 2 || o.OpenAlerts != 1 || o.Points24h != 57 || o.PointsPerSecond != 5 || len(o.AnomaliesPerHour) != 24 || len(o.IngestPerMinute) != 60 {
		t.Errorf("%+v", o)
	}
	if h := o.AnomaliesPerHour[22]; !h.Hour.Equal(base) || h.Stuck != 2 || h.Spike != 1 || h.Missingness != 1 || o.AnomaliesPerHour[23] != (api.AnomalyHour{Hour: now}) {
		t.Errorf("hours %+v", o.AnomaliesPerHour[22:])
	}
	if m := o.IngestPerMinute[58]; !m.Minute.Equal(at(3540)) || m.Points != 50 || m.Requests != 1 || m.Rejected != 2 {
		t.Errorf("minute %+v", m)
	}
	if len(o.Silent) != 1 || o.Silent[0].MetricName != "humidity" || o.Silent[0].DeviceExternalID != "press-1" || o.Silent[0].SilentFor != 3600-59 {
		t.Errorf("silent %+v", o.Silent)
	}
	if len(o.Worst) != 2 || o.Worst[0].Name != "temperature" || o.Worst[0].Worst != "critical" || o.Worst[0].Anomalies != 3 || *o.Worst[0].LastValue != 3599 ||
		o.Worst[0].Silent || !o.Worst[1].Silent || o.Worst[1].Worst != "warning" {
		t.Errorf("worst %+v", o.Worst)
	}
	spark := o.Worst[0].Summary
	if len(spark.Spark) != 48 || !spark.SparkFrom.Equal(base) || !spark.SparkTo.Equal(now) || *spark.Spark[0] != 74 || *spark.Spark[47] != 3599 {
		t.Errorf("spark of an hour's life: from %v to %v, %v", spark.SparkFrom, spark.SparkTo, spark.Spark[0])
	}
	if empty, err := db.Overview(t.Context(), other.tenant, now, 24); err != nil || empty.Metrics != 0 || empty.Points24h != 0 || len(empty.Worst) != 0 || empty.Silent == nil {
		t.Errorf("another tenant: %+v, %v", empty, err)
	}

	// Heard again: silent no more.
	w.project(stream.Points, 11, w.samples(hum, []int64{us(3598)}, func(int) float64 { return 50 }))
	d, err := db.Device(t.Context(), w.tenant, w.device.String(), now)
	if err != nil || d.Silent || !d.LastSeen.Equal(at(3599)) || d.Worst != "critical" || d.Anomalies != 4 || d.Metrics != 2 {
		t.Errorf("device %+v, %v", d, err)
	}
	if _, err := db.Device(t.Context(), other.tenant, w.device.String(), now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("device of another tenant: %v", err)
	}
	m, err := db.Metric(t.Context(), w.tenant, hum.String(), now)
	if err != nil || m.Silent || *m.LastValue != 50 || m.WarmUp != "trusted" {
		t.Errorf("metric %+v, %v", m.Summary, err)
	}
	for q, n := range map[string]int{"": 2, "HUMI": 1, "ress-1": 2, "%": 0, "_": 0, "t%e": 0} {
		got, err := db.ListMetrics(t.Context(), w.tenant, api.PageRequest{}, store.MetricFilter{Search: q, Summary: true, Now: now})
		if err != nil || len(got.Data) != n || n > 0 && got.Data[0].Summary == nil {
			t.Errorf("q=%q: %d metrics, %v", q, len(got.Data), err)
		}
	}
	if got, err := db.ListDevices(t.Context(), w.tenant, api.PageRequest{}, store.DeviceFilter{Search: "PRESS", Now: now}); err != nil || len(got.Data) != 1 || got.Data[0].LastSeen == nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestSeries(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	metric, entry := w.declared("temperature")
	var ts []int64
	for i := range 1000 {
		ts = append(ts, us(i))
	}
	w.project(stream.Points, 1, entry, w.samples(metric, ts, func(i int) float64 {
		if i == 503 {
			return 1000
		}
		return float64(i)
	}))
	w.project(stream.Points, 2, w.samples(metric, []int64{us(10)}, func(int) float64 { return -1 })) // accepted twice: the lowest root wins
	w.project(stream.Scores, 2, w.scored(metric, 500, nil), w.scored(metric, 503, func(s *schemas.Score) {
		s.Severity, s.Label, s.Score = schemas.Severity_SEVERITY_CRITICAL, schemas.Label_LABEL_SPIKE, 1
	}))
	get := func(from, to, buckets int) api.Series {
		t.Helper()
		s, err := db.Series(t.Context(), w.tenant, metric.String(), api.Range{From: at(from), To: at(to)}, buckets)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := get(0, 1000, 100)
	if s.Raw || s.StepSeconds != 10 || len(s.Points) != 100 || len(s.Anomalies) != 1 || s.AnomaliesCut {
		t.Fatalf("%d points, %+v", len(s.Points), s.Anomalies)
	}
	if p := s.Points[50]; !p.TS.Equal(at(500)) || p.Min != 500 || p.Max != 1000 || p.Last != 509 || p.Count != 10 || p.Avg != (500+501+502+1000+504+505+506+507+508+509)/10.0 ||
		*p.Expected != 21 || p.Upper != nil || *p.Score != 1 || *p.AlarmScore != .125 {
		t.Errorf("the bucket with the spike: %+v", p)
	}
	if p := s.Points[1]; p.Min != 10 || p.Count != 10 || p.Expected != nil || p.Score != nil {
		t.Errorf("the bucket with the duplicate: %+v", p)
	}
	s = get(495, 510, 100)
	if !s.Raw || len(s.Points) != 15 || s.Points[8].Max != 1000 || s.Points[8].Count != 1 || *s.Points[8].Score != 1 || *s.Points[6].Score != .25 || s.Points[4].Score != nil {
		t.Errorf("raw: %+v", s.Points)
	}
	if s = get(2000, 3000, 10); !s.Raw || s.Points == nil || len(s.Points) != 0 {
		t.Errorf("empty: %+v", s)
	}
	if _, err := db.Series(t.Context(), schemas.NewID(), metric.String(), api.Range{From: at(0), To: at(1)}, 10); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("metric of another tenant: %v", err)
	}
	var many []*schemas.Entry
	for i := range 600 {
		many = append(many, w.scored(metric, i, func(s *schemas.Score) { s.Severity = schemas.Severity_SEVERITY_INFO }))
	}
	w.project(stream.Scores, 3, many...)
	if s = get(0, 1000, 10); len(s.Anomalies) != 500 || !s.AnomaliesCut || !s.Anomalies[499].TS.Equal(at(599)) || s.Anomalies[0].TS.After(s.Anomalies[1].TS) {
		t.Errorf("%d anomalies, cut %v", len(s.Anomalies), s.AnomaliesCut)
	}
}

func TestReceiptsOfRequests(t *testing.T) {
	db := storetest.New(t)
	w, other := newWorld(t, db, "acme"), newWorld(t, db, "other")
	id := func(i int) string { return fmt.Sprintf("00000000-0000-7000-8000-%012d", i) }
	var entries []*schemas.Entry
	add := func(of *world, i, part, parts, rejected int) {
		r := &schemas.Receipt{TenantId: of.tenant[:], RequestId: id(i), Part: uint32(part), Parts: uint32(parts), ReceivedAt: us(i), Points: 5,
			Accepted: uint32(5 - rejected), Rejected: uint32(rejected)}
		if rejected > 0 {
			r.Rejections = []*schemas.Rejection{{Code: "x"}}
		}
		entries = append(entries, &schemas.Entry{Kind: &schemas.Entry_Receipt{Receipt: r}})
	}
	for i := range 10 {
		add(w, i, 0, 2, 0)
		add(w, i, 1, 2, i%3) // only the second part has refused points
	}
	add(w, 10, 0, 2, 1)
	add(other, 11, 0, 1, 1)
	w.project(stream.Points, 1, entries...)
	for _, limit := range []int{1, 4, 100} {
		all := pages(t, limit, func(p api.PageRequest) (api.Page[api.Receipt], error) {
			return db.ListReceipts(t.Context(), w.tenant, false, p)
		})
		if len(all) != 11 || all[0].BatchID != id(10) || all[0].Complete || all[0].PartsDone != 1 || !all[1].Complete || all[1].Points != 10 || len(all[1].Roots) != 2 {
			t.Fatalf("limit %d: %d receipts, %+v", limit, len(all), all[:2])
		}
		bad := pages(t, limit, func(p api.PageRequest) (api.Page[api.Receipt], error) {
			return db.ListReceipts(t.Context(), w.tenant, true, p)
		})
		if len(bad) != 7 || bad[1].BatchID != id(8) || bad[1].Rejected != 2 || len(bad[1].Rejections) != 1 || bad[1].PartsDone != 2 {
			t.Fatalf("limit %d: %d receipts, %+v", limit, len(bad), bad[:2])
		}
	}
}

func TestDeliveriesOfAnEndpoint(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	hook, err := db.CreateWebhook(t.Context(), w.tenant, api.Webhook{URL: "https://example.com"}, api.RequestKey{})
	if err != nil {
		t.Fatal(err)
	}
	endpoint, _ := schemas.ParseID(hook.ID)
	w.project(stream.Alerts, 1, w.alerted(schemas.ID{1}, 0, schemas.AlertState_ALERT_STATE_OPENED, 10))
	event := schemas.EventID(schemas.ID{1}, 0)
	webhook := schemas.WebhookID(event, endpoint)
	for i := range 5 {
		kind := schemas.DeliveryKind_DELIVERY_KIND_ATTEMPTED
		if i == 0 {
			kind = schemas.DeliveryKind_DELIVERY_KIND_PLANNED
		}
		w.project(stream.Deliveries, uint64(i+1), &schemas.Entry{Kind: &schemas.Entry_Delivery{Delivery: &schemas.Delivery{Kind: kind, TenantId: w.tenant[:],
			EndpointId: endpoint[:], WebhookId: webhook[:], EventId: event[:], Attempt: uint32(i), At: us(20), Outcome: schemas.DeliveryOutcome_DELIVERY_OUTCOME_RETRY, Status: 503}}})
	}
	for _, limit := range []int{1, 3, 10} {
		all := pages(t, limit, func(p api.PageRequest) (api.Page[api.EndpointDelivery], error) {
			return db.ListDeliveries(t.Context(), w.tenant, hook.ID, p)
		})
		if len(all) != 4 || all[0].Attempt != 4 || all[0].EventID != event.String() || all[0].State != "opened" || all[0].MetricName != "temperature" || all[0].Label != "drop" {
			t.Fatalf("limit %d: %+v", limit, all)
		}
	}
	if _, err := db.ListDeliveries(t.Context(), schemas.NewID(), hook.ID, api.PageRequest{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("endpoint of another tenant: %v", err)
	}
	off := false
	changed, err := db.UpdateWebhook(t.Context(), w.tenant, hook.ID, api.Webhook{URL: "https://example.org", Description: "d", MinSeverity: "warning", Enabled: &off}, 0)
	if err != nil || changed.URL != "https://example.org" || *changed.Enabled || changed.Secret != "" {
		t.Errorf("%+v, %v", changed, err)
	}
	list, err := db.Endpoints(t.Context(), w.tenant)
	if err != nil || len(list) != 1 || len(list[0].Secrets) != 1 || list[0].Enabled {
		t.Errorf("the secret stays: %+v, %v", list, err)
	}
}
