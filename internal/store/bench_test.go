package store_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// Storage, a figure per sample each: time, CPU of all of PostgreSQL's processes,
// bytes with indexes. One connection, position in the same transaction.
// go test ./internal/store -run '^$' -bench . -benchtime 1x

// benchPoints is how many samples a benchmark writes.
const benchPoints = 400_000

// BenchmarkApplyRows writes as the older schema did: a row per point, two indexes.
func BenchmarkApplyRows(b *testing.B) {
	db := storetest.New(b)
	w := newWorld(b, db, "acme")
	c := db.Conn(b, db.OwnerDSN)
	for _, q := range []string{
		`CREATE TABLE plain (tenant_id uuid NOT NULL, metric_id uuid NOT NULL, ts timestamptz NOT NULL, value float8 NOT NULL, root bigint NOT NULL, flags int NOT NULL, partition smallint NOT NULL)`,
		`CREATE INDEX ON plain (metric_id, ts, root)`,
		`CREATE INDEX ON plain USING brin (root) WITH (pages_per_range = 32, autosummarize = on)`,
		`GRANT SELECT, INSERT ON plain TO edgepulse_writer`,
	} {
		if _, err := c.Exec(b.Context(), q); err != nil {
			b.Fatal(err)
		}
	}
	spec := &stream.TableSpec{Name: "plain", Columns: []string{"tenant_id", "metric_id", "ts", "value", "root", "flags", "partition"}}
	f := newFleet(w, 500, 0)
	measure(b, db, benchPoints, func(root uint64, n int) {
		var rows stream.RowSet
		for range n {
			m, ts, v := f.next()
			rows.Add(spec, w.tenant, m, ts, v, root, 0, 0)
		}
		apply(b, db, root, &rows)
	})
	size(b, db, "plain", benchPoints)
}

// BenchmarkApplyPoints writes gathers in which a series has 1 to 40 points, then seals them.
func BenchmarkApplyPoints(b *testing.B) {
	for _, per := range []int{1, 6, 40} {
		b.Run(fmt.Sprint(per, "-in-a-gather"), func(b *testing.B) {
			db := storetest.New(b)
			w := newWorld(b, db, "acme")
			f := newFleet(w, 10000/per, 137)
			measure(b, db, benchPoints, func(root uint64, n int) {
				var rows stream.RowSet
				for range n {
					m, ts, v := f.next()
					s := rows.Series(stream.DatapointSeries, stream.SeriesKey{Tenant: w.tenant, Device: w.device, Metric: m})
					s.Add(ts, root, 0)
					s.Real(v)
				}
				apply(b, db, root, &rows)
			})
			seal(b, db, stream.Points, benchPoints)
			size(b, db, "datapoint_chunks", benchPoints)
		})
	}
}

// BenchmarkApplySlow writes a point of each of 500 series in every gather, 1,600 times: four
// and a half hours of a sensor that sends every ten seconds, sealed each quarter of an hour.
// VACUUM stands for autovacuum, which in life has these minutes.
func BenchmarkApplySlow(b *testing.B) {
	db := storetest.New(b)
	w := newWorld(b, db, "acme")
	c := db.Conn(b, db.OwnerDSN)
	const series, each = 500, 1600
	f := newFleet(w, series, 137)
	root := uint64(0)
	measure(b, db, series*each, func(_ uint64, n int) {
		for ; n > 0; n -= series {
			root++
			var rows stream.RowSet
			for range series {
				m, ts, v := f.next()
				s := rows.Series(stream.DatapointSeries, stream.SeriesKey{Tenant: w.tenant, Device: w.device, Metric: m})
				s.Add(ts, root, 0)
				s.Real(v)
			}
			apply(b, db, root, &rows)
			if root%100 == 0 && root < each {
				if _, err := db.Seal(b.Context(), stream.Points); err != nil {
					b.Fatal(err)
				}
				if _, err := c.Exec(b.Context(), `VACUUM datapoint_chunks`); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	seal(b, db, stream.Points, 100*series)
	size(b, db, "datapoint_chunks", series*each)
}

// BenchmarkApplyEvaluations does the same with features and normal scores.
func BenchmarkApplyEvaluations(b *testing.B) {
	const n = benchPoints / 4
	for _, per := range []int{1, 40} {
		b.Run(fmt.Sprint("features/", per, "-in-a-gather"), func(b *testing.B) {
			db := storetest.New(b)
			w := newWorld(b, db, "acme")
			f := newFleet(w, 1000/min(per, 10), 137)
			measure(b, db, n, func(root uint64, n int) {
				var rows stream.RowSet
				for range n {
					m, ts, v := f.next()
					s := rows.Series(stream.FeatureSeries, stream.SeriesKey{Tenant: w.tenant, Device: w.device, Metric: m})
					s.Add(ts, root, 0)
					s.Long(-300e6, 0, 0, 40_000+f.rnd.Int64N(9000), 300, 1)
					s.Real(v, v, v, v*1.01, f.rnd.Float64(), v*0.99, f.rnd.Float64(), v-3, v+3, 6, f.rnd.NormFloat64()/1e3, 0, 1)
				}
				apply(b, db, root, &rows)
			})
			seal(b, db, stream.Features, n)
			size(b, db, "feature_chunks", n)
		})
		b.Run(fmt.Sprint("scores/", per, "-in-a-gather"), func(b *testing.B) {
			db := storetest.New(b)
			w := newWorld(b, db, "acme")
			f := newFleet(w, 1000/min(per, 10), 137)
			version := strings.Repeat("v", 32)
			measure(b, db, n, func(root uint64, n int) {
				var rows stream.RowSet
				for range n {
					m, ts, v := f.next()
					s := rows.Series(stream.ScoreSeries, stream.SeriesKey{Tenant: w.tenant, Device: w.device, Metric: m})
					s.Add(ts, root, uint32(schemas.WarmUp_WARM_UP_TRUSTED)<<stream.SampleWarmUpShift)
					s.Long(-300e6, 0, 40_000+f.rnd.Int64N(9000), 0)
					s.Real(v, f.rnd.Float64()/2, 0, v*1.01, v-3, v+3)
					s.Words = append(s.Words, version)
				}
				apply(b, db, root, &rows)
			})
			seal(b, db, stream.Scores, n)
			size(b, db, "score_chunks", n)
		})
	}
}

// BenchmarkApplyReceipts writes a receipt per request, as at one point a request.
func BenchmarkApplyReceipts(b *testing.B) {
	db := storetest.New(b)
	w := newWorld(b, db, "acme")
	const n = benchPoints / 8
	measure(b, db, n, func(root uint64, n int) {
		var rows stream.RowSet
		for i := range n {
			id := schemas.NewID()
			rows.Add(batchSpec, w.tenant, id.String(), uint32(0), uint32(1), 0, root, us(i), "4fQ1c8aZ", "http",
				uint32(1), uint32(1), uint32(0), uint32(0), nil, id[:])
			rows.Add(usageSpec, w.tenant, us(0), int64(1), int64(1), int64(100))
		}
		apply(b, db, root, &rows)
	})
	size(b, db, "ingest_batches", n)
}

// BenchmarkReads reads one metric of a million points, 1 s apart.
func BenchmarkReads(b *testing.B) {
	db := storetest.New(b)
	w := newWorld(b, db, "acme")
	w.declare()
	const n = 1_000_000
	rnd := rand.New(rand.NewPCG(1, 1))
	for at := 0; at < n; at += 50_000 {
		w.apply(stream.Points, func(rows *stream.RowSet) {
			for i := at; i < at+50_000; i++ {
				w.pointAt(rows, us(i), math.Round(rnd.NormFloat64()*1000)/100, uint64(i), 0)
			}
		})
	}
	for {
		if sealed, err := db.Seal(b.Context(), stream.Points); err != nil || sealed == 0 {
			if err != nil {
				b.Fatal(err)
			}
			break
		}
	}
	w.apply(stream.Points, func(rows *stream.RowSet) {
		for i := n; i < n+50; i++ {
			w.pointAt(rows, us(i), 1, uint64(i), 0)
		}
	})
	r := api.Range{From: at(0), To: at(n + 50)}
	for name, read := range map[string]func() (int, error){
		"chart-2000-buckets": func() (int, error) {
			s, err := db.Series(b.Context(), w.tenant, w.metric.String(), r, 2000)
			return len(s.Points), err
		},
		"last-1000": func() (int, error) {
			p, err := db.Datapoints(b.Context(), w.tenant, w.metric.String(), api.Range{}, api.PageRequest{Limit: 1000}, store.Newest)
			return len(p.Data), err
		},
	} {
		if _, err := read(); err != nil { // warm
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			best := time.Hour
			server, own := serverCPU(b, db), ownCPU()
			for b.Loop() {
				for range 20 {
					start := time.Now()
					if n, err := read(); err != nil || n < 900 {
						b.Fatal(n, err)
					}
					best = min(best, time.Since(start))
				}
			}
			b.ReportMetric((serverCPU(b, db)-server+ownCPU()-own).Seconds()*1e3/20/float64(b.N), "cpu-ms")
			b.ReportMetric(best.Seconds()*1e3, "best-ms")
			b.ReportMetric(b.Elapsed().Seconds()*1e3/20/float64(b.N), "mean-ms")
		})
	}
}

// fleet gives points of many metrics in turn, 10 s apart, with jitter µs.
type fleet struct {
	metrics []schemas.ID
	rnd     *rand.Rand
	i       int
	jitter  int64
}

func newFleet(w *world, n int, jitter int64) *fleet {
	f := &fleet{rnd: rand.New(rand.NewPCG(1, 2)), jitter: jitter}
	for i := range n {
		f.metrics = append(f.metrics, schemas.MetricID(w.device, fmt.Sprint("m", i)))
	}
	return f
}

func (f *fleet) next() (schemas.ID, int64, float64) {
	m := f.metrics[f.i%len(f.metrics)]
	ts := us(10 * (f.i / len(f.metrics)))
	if f.jitter > 0 {
		ts += f.rnd.Int64N(1e6)
	}
	f.i++
	return m, ts, math.Round(f.rnd.NormFloat64()*1000) / 100
}

func apply(b *testing.B, db *storetest.DB, root uint64, rows *stream.RowSet) {
	if err := db.Apply(context.Background(), stream.Points, 0, root-1, root, rows); err != nil {
		b.Fatal(err)
	}
}

// measure writes n samples in gathers of 10,000.
func measure(b *testing.B, db *storetest.DB, n int, write func(root uint64, n int)) {
	b.Helper()
	cpu := serverCPU(b, db)
	start := time.Now()
	root := uint64(0)
	for done := 0; done < n; done += 10_000 {
		root++
		write(root, min(10_000, n-done))
	}
	b.ReportMetric(float64(n)/time.Since(start).Seconds(), "samples/s")
	b.ReportMetric((serverCPU(b, db)-cpu).Seconds()*1e6/float64(n), "pg-cpu-µs/sample")
	b.ReportMetric(0, "ns/op")
}

func seal(b *testing.B, db *storetest.DB, log stream.LogName, want int) {
	b.Helper()
	cpu := serverCPU(b, db)
	n, err := db.Seal(b.Context(), log)
	if err != nil || n != want {
		b.Fatal(n, err)
	}
	b.ReportMetric((serverCPU(b, db)-cpu).Seconds()*1e6/float64(n), "pg-seal-cpu-µs/sample")
}

func size(b *testing.B, db *storetest.DB, table string, n int) {
	b.Helper()
	var bytes int64
	err := db.Conn(b, db.OwnerDSN).QueryRow(b.Context(), `SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree($1)`, table).Scan(&bytes)
	if bytes == 0 && err == nil || err != nil {
		err = db.Conn(b, db.OwnerDSN).QueryRow(b.Context(), `SELECT pg_total_relation_size($1::text::regclass)`, table).Scan(&bytes)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(bytes)/float64(n), "bytes/sample")
}

// ownCPU is the time this process has used; 0 where /proc does not tell.
func ownCPU() time.Duration {
	text, _ := os.ReadFile("/proc/self/stat")
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	if len(f) < 15 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// serverCPU is the time all processes of the server have used; 0 where /proc does not tell.
func serverCPU(b *testing.B, db *storetest.DB) time.Duration {
	b.Helper()
	var pid int
	if err := db.Conn(b, db.OwnerDSN).QueryRow(b.Context(), `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
		b.Fatal(err)
	}
	fields := func(pid string) []string {
		text, _ := os.ReadFile("/proc/" + pid + "/stat")
		_, rest, _ := strings.Cut(string(text), ") ")
		return strings.Fields(rest)
	}
	own := fields(strconv.Itoa(pid))
	if len(own) < 15 {
		return 0
	}
	var ticks int64
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		f := fields(filepath.Base(p))
		if len(f) < 15 || (f[1] != own[1] && filepath.Base(p) != own[1]) {
			continue
		}
		used := []int{11, 12}
		if filepath.Base(p) == own[1] { // with the children that have ended
			used = []int{11, 12, 13, 14}
		}
		for _, i := range used {
			n, _ := strconv.ParseInt(f[i], 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
