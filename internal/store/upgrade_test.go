package store_test

import (
	"testing"

	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/stream"
)

// A database with rows of the older schema says the same after the upgrade, and
// after its series were sealed.
func TestUpgradeToChunksKeepsEveryRow(t *testing.T) {
	db := storetest.Bare(t)
	ctx := t.Context()
	dsn, err := store.EnsureDatabase(ctx, db.OwnerDSN, db.Name+"_old")
	if err != nil {
		t.Fatal(err)
	}
	admin := db.Conn(t, db.OwnerDSN)
	t.Cleanup(func() {
		_, _ = admin.Exec(t.Context(), "DROP DATABASE IF EXISTS "+db.Name+"_old WITH (FORCE)")
	})
	if err := store.MigrateTo(ctx, store.MigrateConfig{OwnerDSN: dsn}, 19); err != nil {
		t.Fatal(err)
	}
	c := connect(t, dsn)
	for _, q := range []string{
		`CREATE TABLE ids AS SELECT gen_random_uuid() AS tenant_id, gen_random_uuid() AS device_id, gen_random_uuid() AS metric_id FROM generate_series(1, 3)`,
		`INSERT INTO metrics SELECT metric_id, tenant_id, device_id, 'm', '', NULL, now(), 1, 0 FROM ids`,
		`INSERT INTO datapoint_rows SELECT tenant_id, metric_id, '2026-10-01'::timestamptz + i * interval '777.000001 s', i / 3.0, i + 5, i % 4, 1
		   FROM ids, generate_series(1, 2500) i`,
		`INSERT INTO datapoint_rows SELECT tenant_id, metric_id, ts, -1, root + 9000, 0, 1 FROM datapoint_rows WHERE root % 50 = 0`, // accepted twice
		`INSERT INTO features SELECT tenant_id, device_id, metric_id, ts, ts - interval '5 min', ts, ts - interval '1 s', ts + interval '2 s',
		   1, 2, 3, i, 'NaN', 6, 7, 8, 9, 1, 11, 12, 13, i, 20, 21, 2, i % 2 = 0, i % 3 = 0, i % 5 = 0, i % 7 = 0
		   FROM ids, generate_series(1, 1200) i, LATERAL (SELECT '2026-10-01'::timestamptz + i * interval '10 s') x(ts)`,
		`INSERT INTO anomaly_scores SELECT tenant_id, device_id, metric_id, ts, ts - interval '5 min', ts, ts + interval '2 s', i, 0.5, 0.25, 1, NULL, 3, i, 4000000, 2,
		   i % 2 = 0, i % 3 = 0, i % 7 = 0, CASE WHEN i % 11 = 0 THEN 'warning' ELSE 'none' END, 'drift', 'level', 'calibrating',
		   CASE WHEN i % 11 = 0 THEN 'why' ELSE '' END, CASE WHEN i % 11 = 0 THEN '[]'::jsonb END, CASE WHEN i > 100 THEN decode(md5((i / 400)::text), 'hex') END
		   FROM ids, generate_series(1, 1200) i, LATERAL (SELECT '2026-10-01'::timestamptz + i * interval '10 s') x(ts)`,
		`CREATE TABLE old_points AS SELECT tenant_id, metric_id, ts, value, flags, partition, root FROM datapoints`,
		`CREATE TABLE old_features AS SELECT * FROM features`,
		`CREATE TABLE old_scores AS SELECT * FROM anomaly_scores`,
		`CREATE TABLE old_anomalies AS SELECT * FROM anomalies`,
	} {
		exec(t, c, q)
	}
	if err := store.Migrate(ctx, store.MigrateConfig{OwnerDSN: dsn, WriterPassword: "test", AppPassword: "test"}); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(ctx, store.Config{WriterDSN: dsn}) // the owner may write, too
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	const features = `tenant_id, device_id, metric_id, ts, window_start, window_end, last_ts, received_at, value, extreme, last, mean, std, median, mad, min, max,
		range, slope, missing_rate, step, root, count, stuck_run, partition, tick, backfill, low_variance, silent`
	const scores = `tenant_id, device_id, metric_id, ts, window_start, window_end, received_at, value, score, alarm_score, expected, coalesce(lower, 'NaN'), upper, root,
		warm_up_eta_us, partition, tick, backfill, silent, severity, label, sub_label, warm_up, explanation, contributors, model_version`
	for _, when := range []string{"upgraded", "sealed"} {
		for what, q := range map[string][3]string{
			"points": {"tenant_id, metric_id, ts, value, flags, partition, root", "old_points", "datapoints"}, "features": {features, "old_features", "features"},
			"scores": {scores, "old_scores", "anomaly_scores"}, "anomalies": {scores, "old_anomalies", "anomalies"},
		} {
			var old, differ int
			err := c.QueryRow(ctx, `SELECT (SELECT count(*) FROM `+q[1]+`), (SELECT count(*) FROM (
				(SELECT `+q[0]+` FROM `+q[1]+` EXCEPT ALL SELECT `+q[0]+` FROM `+q[2]+`) UNION ALL
				(SELECT `+q[0]+` FROM `+q[2]+` EXCEPT ALL SELECT `+q[0]+` FROM `+q[1]+`)) x)`).Scan(&old, &differ)
			if err != nil || old == 0 || differ != 0 {
				t.Errorf("%s, %s: %d of %d rows differ, %v", when, what, differ, old, err)
			}
		}
		for _, log := range []stream.LogName{stream.Points, stream.Features, stream.Scores} {
			if _, err := s.Seal(ctx, log); err != nil {
				t.Fatal(err)
			}
		}
	}
}
