package store_test

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

func TestMain(m *testing.M) { storetest.Run(m) }

// Specs as the stages' projections write them.
var (
	deviceSpec = &stream.TableSpec{Name: "devices", Key: []string{"device_id"},
		Columns: []string{"device_id", "tenant_id", "device_external_id", "first_seen", "root", "partition"}}
	metricSpec = &stream.TableSpec{Name: "metrics", Key: []string{"metric_id"}, Update: []string{"unit", "tags"},
		Columns: []string{"metric_id", "tenant_id", "device_id", "name", "unit", "tags", "first_seen", "root", "partition"}}
	usageSpec = &stream.TableSpec{Name: "usage", Key: []string{"tenant_id", "day"}, Add: []string{"requests", "points", "bytes"},
		Columns: []string{"tenant_id", "day", "requests", "points", "bytes"}}
	batchSpec = &stream.TableSpec{Name: "ingest_batches", Key: []string{"tenant_id", "request_id", "part"},
		Columns: []string{"tenant_id", "request_id", "part", "parts", "partition", "root", "received_at", "key_id", "source",
			"points", "accepted", "duplicate", "rejected", "rejections", "body_sha256"}}
	scoreSpec = &stream.TableSpec{Name: "anomaly_rows",
		Columns: []string{"tenant_id", "device_id", "metric_id", "ts", "window_start", "window_end", "received_at", "value", "score", "alarm_score",
			"expected", "lower", "upper", "root", "partition", "tick", "severity", "label", "sub_label", "warm_up", "explanation", "contributors", "model_version"}}
	alertSpec = &stream.TableSpec{Name: "alert_events", Key: []string{"event_id"},
		Columns: []string{"event_id", "alert_id", "rule_id", "rule_name", "tenant_id", "device_id", "metric_id", "device_external_id", "metric_name",
			"state", "ordinal", "opened_at", "ts", "window_start", "window_end", "received_at", "value", "score", "alarm_score", "expected",
			"severity", "label", "sub_label", "explanation", "contributors", "notify", "opening_root", "root", "partition"}}
	deliverySpec = &stream.TableSpec{Name: "webhook_deliveries",
		Columns: []string{"tenant_id", "endpoint_id", "webhook_id", "event_id", "kind", "attempt", "at", "outcome", "status", "error", "next_at", "root", "partition"}}
	deadSpec = &stream.TableSpec{Name: "dead_letters", Key: []string{"stage", "partition", "root", "index"},
		Columns: []string{"stage", "partition", "root", "index", "reason", "detail", "tenant_id", "entry"}}
)

// base is the first instant of the tests' data.
var base = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return base.Add(time.Duration(seconds) * time.Second) }
func us(seconds int) int64     { return at(seconds).UnixMicro() }

// world is a tenant with one device and one metric.
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

// apply projects rows, all of them at the next position of that log's partition 0.
func (w *world) apply(log stream.LogName, fill func(rows *stream.RowSet)) {
	w.t.Helper()
	var rows stream.RowSet
	fill(&rows)
	from, err := w.db.Position(context.Background(), log, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.db.Apply(context.Background(), log, 0, from, from+1, &rows); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) declare() {
	w.t.Helper()
	w.apply(stream.Points, func(rows *stream.RowSet) {
		rows.Add(deviceSpec, w.device, w.tenant[:], "press-1", us(0), uint64(1), 0)
		rows.Add(metricSpec, w.metric, w.tenant[:], w.device, "temperature", "°C", `{"hall":"A"}`, us(0), uint64(1), 0)
	})
}

func (w *world) point(rows *stream.RowSet, second int, value float64, root uint64) {
	w.pointAt(rows, us(second), value, root, 0)
}

func (w *world) pointAt(rows *stream.RowSet, ts int64, value float64, root uint64, flags schemas.PointFlag) {
	s := rows.Series(stream.DatapointSeries, stream.SeriesKey{Tenant: w.tenant, Device: w.device, Metric: w.metric})
	s.Add(ts, root, uint32(flags))
	s.Real(value)
}

func (w *world) feature(rows *stream.RowSet, second int, root uint64) {
	s := rows.Series(stream.FeatureSeries, stream.SeriesKey{Tenant: w.tenant, Device: w.device, Metric: w.metric})
	s.Add(us(second), root, stream.SampleLowVariance)
	s.Long(-10e6, 0, -1e6, 2e6, 10, 3)
	s.Real(1, 2, 3, 12.5, 4, 5, 6, 7, 8, 1, 9, 0.5, 1.5)
}

// score writes one evaluation as the scorer's projection does: a normal one as a
// sample, another as a row.
func (w *world) score(rows *stream.RowSet, second int, severity schemas.Severity, root uint64) {
	if severity == schemas.Severity_SEVERITY_NONE {
		s := rows.Series(stream.ScoreSeries, stream.SeriesKey{Tenant: w.tenant, Device: w.device, Metric: w.metric})
		s.Add(us(second), root, uint32(schemas.WarmUp_WARM_UP_TRUSTED)<<stream.SampleWarmUpShift)
		s.Long(-300e6, 0, 0, 0)
		s.Real(20.5, 0.1, 0.1, 21, 20, math.NaN())
		s.Words = append(s.Words, "\xab")
		return
	}
	rows.Add(scoreSpec, w.tenant, w.device, w.metric, us(second), us(second-300), us(second), us(second), 20.5, 0.9, 0.8,
		21.0, 20.0, nil, root, 0, false, severity, schemas.Label_LABEL_SPIKE, schemas.SubLabel_SUB_LABEL_NONE,
		schemas.WarmUp_WARM_UP_TRUSTED, "value far above", []map[string]any{{"name": "fast", "share": 1}}, []byte{0xab})
}

func severityOf(i int) schemas.Severity { return schemas.Severity(i % 4) }

var _ stream.RowSink = (*store.Store)(nil)
