package store_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// point is one as the store should show it.
type point struct {
	value float64
	root  uint64
	flags uint32
}

// plainMap is the store without chunks: of each metric and instant the point of the lowest root.
type plainMap map[schemas.ID]map[int64]point

func (m plainMap) add(metric schemas.ID, ts int64, p point) {
	if m[metric] == nil {
		m[metric] = map[int64]point{}
	}
	if old, ok := m[metric][ts]; !ok || p.root < old.root {
		m[metric][ts] = p
	}
}

// Random appends with duplicates and late points over several weeks, sealed and
// interrupted at random moments, read back in every way: equal to a plain map.
func TestSealingEqualsAPlainMap(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.declare()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { sealAtRandom(t, db, w, rand.New(rand.NewPCG(seed, 1)), seed) })
	}
}

func sealAtRandom(t *testing.T, db *storetest.DB, w *world, rnd *rand.Rand, seed uint64) {
	want := plainMap{}
	metrics := make([]schemas.ID, 3)
	w.apply(stream.Points, func(rows *stream.RowSet) {
		for i := range metrics {
			metrics[i] = schemas.MetricID(w.device, fmt.Sprint("m", seed, "-", i))
			rows.Add(metricSpec, metrics[i], w.tenant, w.device, fmt.Sprint("m", seed, "-", i), "", nil, us(0), uint64(1), 0)
		}
	})
	steps := []int64{1, 1000, 1e6, 60e6, 3600e6}
	heads := make([]int64, len(metrics))
	for i := range heads {
		heads[i] = us(0) - rnd.Int64N(3)*7*86400e6
	}
	root := uint64(10)
	for range 40 {
		w.apply(stream.Points, func(rows *stream.RowSet) {
			for i, m := range metrics {
				step := steps[(i+int(seed))%len(steps)]
				for range rnd.IntN(150) {
					ts := heads[i]
					switch rnd.IntN(12) {
					case 0: // late, or stored already
						ts -= step * rnd.Int64N(400)
					case 1:
						ts = us(0) - 3*365*86400e6 + rnd.Int64N(50)*step // years ago
					default:
						heads[i] += step * (1 + rnd.Int64N(3)/2)
					}
					p := point{math.Floor(rnd.NormFloat64()*100) / 4, root + rnd.Uint64N(5), uint32(rnd.IntN(30) / 29)}
					if rnd.IntN(20) == 0 {
						p.root = rnd.Uint64N(10)
					}
					if old, ok := want[m][ts]; ok && old.root == p.root {
						continue // one root has one point per metric and instant
					}
					s := rows.Series(stream.DatapointSeries, stream.SeriesKey{Tenant: w.tenant, Device: w.device, Metric: m})
					s.Add(ts, p.root, p.flags)
					s.Real(p.value)
					want.add(m, ts, p)
				}
			}
		})
		root += 5
		switch rnd.IntN(4) {
		case 0:
			if _, err := db.Seal(t.Context(), stream.Points); err != nil {
				t.Fatal(err)
			}
		case 1: // ends somewhere in the middle
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rnd.IntN(8000))*time.Microsecond)
			if _, err := db.Seal(ctx, stream.Points); err != nil && ctx.Err() == nil {
				t.Fatal(err)
			}
			cancel()
		}
	}
	sameAsMap(t, db, w, want, rnd)
	if _, err := db.Seal(t.Context(), stream.Points); err != nil {
		t.Fatal(err)
	}
	sameAsMap(t, db, w, want, rnd)
	chunksInOrder(t, db, "datapoint_chunks")
	c := db.Conn(t, db.OwnerDSN)
	var sealed, recent, single, total int
	err := c.QueryRow(t.Context(), `SELECT (SELECT sum(n) FROM datapoint_chunks WHERE metric_id = ANY($1)), (SELECT count(*) FROM datapoint_recent),
		(SELECT count(*) FROM datapoint_chunks WHERE metric_id = ANY($1) AND n < 30), (SELECT count(*) FROM datapoint_chunks WHERE metric_id = ANY($1))`,
		uuids(metrics)).Scan(&sealed, &recent, &single, &total)
	points := 0
	for _, m := range want {
		points += len(m)
	}
	if err != nil || sealed != points || recent != 0 {
		t.Fatalf("%d points in sealed chunks, want %d; %d recent chunks; %v", sealed, points, recent, err)
	}
	if weeks := 8 * len(metrics); single > weeks { // the last one of a week may be small
		t.Fatalf("%d of %d chunks hold fewer than 30 points", single, total)
	}
}

func uuids(ids []schemas.ID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.String()
	}
	return out
}

func sameAsMap(t *testing.T, db *storetest.DB, w *world, want plainMap, rnd *rand.Rand) {
	t.Helper()
	c := db.Conn(t, db.OwnerDSN)
	for m, series := range want {
		for _, q := range []string{
			`SELECT ts, value, root, flags FROM datapoints WHERE metric_id = $1`,
			`SELECT ts, value, root, flags FROM points($1)`,
		} {
			rows, err := c.Query(t.Context(), q, m.String())
			if err != nil {
				t.Fatal(err)
			}
			got := map[int64]point{}
			var ts time.Time
			var p point
			_, err = pgx.ForEachRow(rows, []any{&ts, &p.value, &p.root, &p.flags}, func() error { got[ts.UnixMicro()] = p; return nil })
			if err != nil {
				t.Fatal(err)
			}
			sameSeries(t, q, got, series)
		}
		for _, o := range []store.Order{store.Newest, store.Oldest} {
			got := map[int64]point{}
			before := int64(0)
			for _, d := range pages(t, 37+rnd.IntN(900), func(p api.PageRequest) (api.Page[api.Datapoint], error) {
				return db.Datapoints(t.Context(), w.tenant, m.String(), api.Range{}, p, o)
			}) {
				ts := d.TS.UnixMicro()
				if len(got) > 0 && (ts < before) != (o == store.Newest) {
					t.Fatalf("order %d: %d after %d", o, ts, before)
				}
				before = ts
				got[ts] = point{d.Value, d.Root, uint32(len(d.Flags))}
			}
			sameSeries(t, fmt.Sprint("pages in order ", o), got, series)
		}
		from := us(0) - rnd.Int64N(21*86400e6)
		to := from + rnd.Int64N(3*86400e6)
		var inSQL, inMap int
		if err := c.QueryRow(t.Context(), `SELECT count(*) FROM points($1, $2, $3)`, m.String(), time.UnixMicro(from), time.UnixMicro(to)).Scan(&inSQL); err != nil {
			t.Fatal(err)
		}
		for ts := range series {
			if from <= ts && ts < to {
				inMap++
			}
		}
		if inSQL != inMap {
			t.Fatalf("points from %d to %d: %d, want %d", from, to, inSQL, inMap)
		}
	}
}

func sameSeries(t *testing.T, how string, got, want map[int64]point) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d points, want %d", how, len(got), len(want))
	}
	for ts, p := range want {
		if got[ts] != p {
			t.Fatalf("%s: at %d %+v, want %+v", how, ts, got[ts], p)
		}
	}
}

// chunksInOrder: what readers rely on.
func chunksInOrder(t *testing.T, db *storetest.DB, table string) {
	t.Helper()
	var overlap, crossing, wrong int
	err := db.Conn(t, db.OwnerDSN).QueryRow(t.Context(), strings.ReplaceAll(`SELECT
		(SELECT count(*) FROM (SELECT last_ts >= lead(first_ts) OVER (PARTITION BY metric_id ORDER BY first_ts) AS bad FROM TABLE) x WHERE bad),
		(SELECT count(*) FROM TABLE WHERE chunk_week(first_ts) <> chunk_week(last_ts)),
		(SELECT count(*) FROM TABLE WHERE n NOT BETWEEN 1 AND 1000 OR coalesce(cardinality(offsets), cardinality(wide), n) <> n)`, "TABLE", table)).Scan(&overlap, &crossing, &wrong)
	if err != nil || overlap != 0 || crossing != 0 || wrong != 0 {
		t.Fatalf("%s: %d overlap, %d cross a week, %d have a wrong size, %v", table, overlap, crossing, wrong, err)
	}
}

// Evaluations keep every (instant, root, kind), with all of their columns.
func TestSealingKeepsEvaluations(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.declare()
	ctx := t.Context()
	versions := []string{"", "\x01\x02", "\xff\x00\xfe"}
	const n = 900
	for i := range n {
		if i%30 != 0 {
			continue
		}
		w.apply(stream.Scores, func(rows *stream.RowSet) {
			s := rows.Series(stream.ScoreSeries, stream.SeriesKey{Tenant: w.tenant, Device: w.device, Metric: w.metric})
			for k := i; k < i+30; k++ {
				tick := uint32(k % 2) // a tick and a point at the same instant
				s.Add(us(k/2), uint64(k/2), tick|uint32(schemas.WarmUp_WARM_UP_TRUSTED)<<stream.SampleWarmUpShift|
					uint32(schemas.Label_LABEL_DROP)<<stream.SampleLabelShift)
				s.Long(-300e6, int64(k), 7, int64(k)*1e6)
				s.Real(float64(k), 0.25, 0.125, float64(k)/3, math.NaN(), math.Inf(1))
				s.Words = append(s.Words, versions[k/301])
			}
			w.score(rows, 1e5+i, schemas.Severity_SEVERITY_WARNING, uint64(i))
		})
		w.apply(stream.Features, func(rows *stream.RowSet) {
			w.feature(rows, i, uint64(i))
		})
		if i%210 == 0 {
			for _, log := range []stream.LogName{stream.Scores, stream.Features} {
				if _, err := db.Seal(ctx, log); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	check := func(o store.Order) {
		t.Helper()
		got := pages(t, 77, func(p api.PageRequest) (api.Page[api.Score], error) {
			return db.Scores(ctx, w.tenant, w.metric.String(), api.Range{To: at(9e4)}, p, o)
		})
		if len(got) != n {
			t.Fatalf("%d scores, want %d", len(got), n)
		}
		for i, v := range got {
			k := i
			if o == store.Newest {
				k = n - 1 - i
			}
			if !v.TS.Equal(at(k/2)) || v.Tick != (k%2 == 1) || v.Value != float64(k) || *v.Expected != float64(k)/3 || v.Lower != nil || v.Upper != nil ||
				v.Label != "drop" || v.WarmUp != "trusted" || v.Severity != "none" || v.ModelVersion != fmt.Sprintf("%x", versions[k/301]) ||
				!v.WindowEnd.Equal(at(k/2).Add(time.Duration(k)*time.Microsecond)) || v.WarmUpETA != float64(k) || v.Root != uint64(k/2) {
				t.Fatalf("score %d: %+v", k, v)
			}
		}
	}
	check(store.Newest)
	for _, log := range []stream.LogName{stream.Scores, stream.Features} {
		if _, err := db.Seal(ctx, log); err != nil {
			t.Fatal(err)
		}
	}
	check(store.Newest)
	check(store.Oldest)
	chunksInOrder(t, db, "score_chunks")
	chunksInOrder(t, db, "feature_chunks")
	c := db.Conn(t, db.OwnerDSN)
	var scores, anomalies, versioned, features, low int
	err := c.QueryRow(ctx, `SELECT (SELECT count(*) FROM anomaly_scores), (SELECT count(*) FROM anomalies),
		(SELECT count(*) FROM anomaly_scores WHERE model_version = '\xff00fe' AND label = 'drop' AND upper = 'Infinity' AND window_start = ts - interval '5 min'),
		(SELECT count(*) FROM features WHERE median = 5 AND stuck_run = 3 AND count = 10 AND step = 1.5 AND last_ts = ts - interval '1 s'),
		(SELECT count(*) FROM features WHERE low_variance AND NOT tick)`).Scan(&scores, &anomalies, &versioned, &features, &low)
	if err != nil || scores != n+n/30 || anomalies != n/30 || versioned != n-602 || features != n/30 || low != n/30 {
		t.Fatalf("%d scores, %d anomalies, %d of the last version, %d features, %d flagged, %v", scores, anomalies, versioned, features, low, err)
	}
}

// A metric slower than the age at which series are sealed still fills its chunks.
func TestSlowMetricsFillTheirChunks(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.declare()
	for i := range 300 { // one point in 10 min, each sealed by itself
		w.apply(stream.Points, func(rows *stream.RowSet) {
			w.pointAt(rows, us(0)+int64(i)*600e6+int64(i%7), float64(i), uint64(i+1), 0)
		})
		if _, err := db.Seal(t.Context(), stream.Points); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, db, "datapoint_chunks"); n > 3 {
		t.Fatalf("300 points stand in %d chunks", n)
	}
	chunksInOrder(t, db, "datapoint_chunks")
}

// Only one process seals a kind; the other has nothing to do and says so.
func TestSealersDoNotMeet(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.apply(stream.Points, func(rows *stream.RowSet) { w.point(rows, 1, 1, 1) })
	c := db.Conn(t, db.OwnerDSN)
	exec(t, c, `SELECT pg_advisory_lock(hashtext('edgepulse seal'), hashtext('datapoint'))`)
	if n, err := db.Seal(t.Context(), stream.Points); n != 0 || err != nil {
		t.Fatalf("sealed %d beside another, %v", n, err)
	}
	exec(t, c, `SELECT pg_advisory_unlock_all()`)
	if n, err := db.Seal(t.Context(), stream.Points); n != 1 || err != nil {
		t.Fatalf("sealed %d, %v", n, err)
	}
}

// Compact begins a round when enough has come, and not before.
func TestCompactWaitsUntilItIsDue(t *testing.T) {
	db := storetest.Bare(t)
	cfg := db.Config
	cfg.Sealing = store.Sealing{Samples: 100, Every: time.Hour, Least: 50}
	db.Open(t, cfg)
	w := newWorld(t, db, "acme")
	write := func(from, to int) {
		w.apply(stream.Points, func(rows *stream.RowSet) {
			for i := from; i < to; i++ {
				w.point(rows, i, 1, uint64(i))
			}
		})
		if err := db.Compact(t.Context(), stream.Points); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []struct{ to, recent int }{
		{40, 40}, // the first round looks at what was left, which is too little
		{100, 100},
		{140, 0}, // 100 have come since
		{180, 40},
	} {
		from := count(t, db, "datapoints")
		write(from, s.to)
		var recent int
		if err := db.Conn(t, db.OwnerDSN).QueryRow(t.Context(), `SELECT coalesce(sum(n), 0) FROM datapoint_recent`).Scan(&recent); err != nil || recent != s.recent {
			t.Fatalf("after %d points: %d recent, want %d, %v", s.to, recent, s.recent, err)
		}
		if n, err := db.Unsealed(t.Context()); err != nil || n["datapoint"] != int64(s.recent) || len(n) != 3 {
			t.Fatalf("after %d points: %v unsealed, want %d, %v", s.to, n, s.recent, err)
		}
	}
	// Operators are told what was counted before the first round, and not asked for each.
	if n := unsealedGauge(t, db.Store)["datapoint"]; n != 40 {
		t.Errorf("the gauge says %v, want 40", n)
	}
	if err := db.Compact(t.Context(), stream.Alerts); err != nil {
		t.Fatal(err)
	}
	db.Open(t, store.Config{AppDSN: db.AppDSN})
	if _, err := db.Seal(t.Context(), stream.Points); !errors.Is(err, store.ErrNoRole) {
		t.Fatalf("without the writer's role: %v", err)
	}
}

// unsealedGauge is what operators are told of samples that wait, by kind.
func unsealedGauge(t *testing.T, s *store.Store) map[string]float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(s.Collector())
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "edgepulse_sealing_unsealed_samples" {
			continue
		}
		for _, m := range f.Metric {
			out[m.Label[0].GetValue()] = m.Gauge.GetValue()
		}
	}
	return out
}

// A round that is behind rests less: what comes in while it works would else never be
// caught up with.
func TestSealingRestsWhileItKeepsUp(t *testing.T) {
	for written, want := range map[int64]float64{0: 2, 250: 1.5, 500: 1, 1000: 0, 5000: 0} {
		if got := store.RestAfter(written, 1000); got != want {
			t.Errorf("%d of 1000 written since the round began: rests %g steps, expected %g", written, got, want)
		}
	}
	db := storetest.Bare(t)
	cfg := db.Config
	cfg.Sealing = store.Sealing{Samples: 100}
	db.Open(t, cfg)
	w := newWorld(t, db, "acme")
	if got := db.Rest(); got != 2 {
		t.Errorf("rests %g steps with nothing to do, expected 2", got)
	}
	w.apply(stream.Points, func(rows *stream.RowSet) {
		for i := range 100 {
			w.point(rows, i, 1, uint64(i))
		}
	})
	if got := db.Rest(); got != 0 {
		t.Errorf("rests %g steps while points are behind and no other kind is, expected 0", got)
	}
}

// ANALYZE must not count the elements of chunks, in partitions made later as well.
func TestAnalyzeLeavesArraysAlone(t *testing.T) {
	db := storetest.New(t)
	many(t, newWorld(t, db, "acme"), 3000)
	for _, log := range []stream.LogName{stream.Points, stream.Scores} {
		if _, err := db.Seal(t.Context(), log); err != nil {
			t.Fatal(err)
		}
	}
	c := db.Conn(t, db.OwnerDSN)
	var partitions int
	if err := c.QueryRow(t.Context(), `SELECT count(*) FROM pg_inherits WHERE inhparent = 'datapoint_chunks'::regclass`).Scan(&partitions); err != nil || partitions < 2 {
		t.Fatalf("%d partitions, %v", partitions, err)
	}
	exec(t, c, `ANALYZE`)
	var counted, others int
	err := c.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE attname IN ('offsets', 'wide', 'roots', 'flags', 'longs', 'reals', 'words', 'whole', 'cell_at', 'cells')),
		count(*) FILTER (WHERE attname = 'metric_id') FROM pg_stats WHERE tablename ~ '_(recent|chunks)'`).Scan(&counted, &others)
	if err != nil || counted != 0 || others == 0 {
		t.Errorf("statistics of %d arrays and %d plain columns, %v", counted, others, err)
	}
}
