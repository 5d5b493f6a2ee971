package store_test

import (
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// Pages over 100,000 evaluations hold each of them once and in order while new
// ones arrive, late ones among them, and while sealing moves them between tables.
func TestPagesStandStillWhileScoresArrive(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.declare()
	const n, chunk = 100_000, 10_000
	severity := func(i int) schemas.Severity {
		if i%500 == 0 {
			return schemas.Severity_SEVERITY_INFO
		}
		return schemas.Severity_SEVERITY_NONE
	}
	for at := 0; at < n; at += chunk {
		w.apply(stream.Scores, func(rows *stream.RowSet) {
			for i := at; i < at+chunk; i++ {
				w.score(rows, i, severity(i), uint64(i+1))
			}
		})
		if at == n/2 {
			if _, err := db.Seal(t.Context(), stream.Scores); err != nil {
				t.Fatal(err)
			}
		}
	}
	var arriving atomic.Int64
	for _, o := range []store.Order{store.Newest, store.Oldest} {
		done, stopped := make(chan struct{}), make(chan struct{})
		go func() { // newer ones, and one far behind
			defer close(stopped)
			for i := int(arriving.Load()); ; i++ {
				select {
				case <-done:
					return
				default:
				}
				w.apply(stream.Scores, func(rows *stream.RowSet) {
					w.score(rows, n+i, severity(i), uint64(n+i+1))
					w.score(rows, -1-i, severity(i), uint64(n+i+1))
				})
				if i%10 == 5 {
					if _, err := db.Seal(t.Context(), stream.Scores); err != nil {
						t.Error(err)
					}
				}
				arriving.Add(1)
			}
		}()
		next := 0
		read := pages(t, 1000, func(p api.PageRequest) (api.Page[api.Score], error) {
			return db.Scores(t.Context(), w.tenant, w.metric.String(), api.Range{}, p, o)
		})
		close(done)
		<-stopped
		last := time.Time{}
		for i, s := range read {
			if i > 0 && (o == store.Oldest) != last.Before(s.TS) {
				t.Fatalf("order %d: %s after %s", o, s.TS, last)
			}
			last = s.TS
			second := int(s.TS.Sub(base) / time.Second)
			if second < 0 || second >= n {
				continue
			}
			want := next
			if o == store.Newest {
				want = n - 1 - next
			}
			if second != want || s.Root != uint64(want+1) {
				t.Fatalf("order %d: number %d is second %d of root %d, want second %d", o, next, second, s.Root, want)
			}
			next++
		}
		if next != n {
			t.Fatalf("order %d: %d of %d evaluations", o, next, n)
		}
		t.Logf("order %d: %d pages, %d arrived meanwhile in all", o, (len(read)+999)/1000, arriving.Load())
	}
}

// A million points of one metric in 2,000, from roll-ups, with their spikes.
func TestAMillionPointsInTwoThousand(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.declare()
	const n = 1_000_000
	spikes := []int{77, 123_456, 500_001, 654_321, 999_990}
	for at := 0; at < n; at += 50_000 {
		w.apply(stream.Points, func(rows *stream.RowSet) {
			for i := at; i < at+50_000; i++ {
				v := 20 + 5*math.Sin(float64(i)/7000) + float64(i%13)/10
				if slices.Contains(spikes, i) {
					v = 1000 + float64(i)
				}
				w.point(rows, i, v, uint64(i+1))
			}
		})
		if _, err := db.Seal(t.Context(), stream.Points); err != nil {
			t.Fatal(err)
		}
	}
	rg := api.Range{From: at(0), To: at(n)}
	for _, method := range []string{store.LTTB, store.MinMax, store.Avg, "series"} {
		var took []time.Duration
		var got api.Downsampled
		for range 12 {
			begun := time.Now()
			var err error
			if method == "series" {
				_, err = db.Series(t.Context(), w.tenant, w.metric.String(), rg, 2000)
			} else {
				got, err = db.Downsample(t.Context(), w.tenant, w.metric, rg, method, 2000)
			}
			if err != nil {
				t.Fatal(method, err)
			}
			took = append(took, time.Since(begun))
		}
		first := took[0]
		slices.Sort(took)
		t.Logf("%s: %d points stand for %d; cold %s, warm median %s, slowest %s", method, len(got.Data), got.Points, first, took[len(took)/2], took[len(took)-1])
		if method == "series" || method == store.Avg {
			continue
		}
		if got.Points != n || len(got.Data) > 2000 || len(got.Data) < 1500 {
			t.Errorf("%s: %d points stand for %d", method, len(got.Data), got.Points)
		}
		for _, i := range spikes {
			if !slices.ContainsFunc(got.Data, func(p api.DownsampledPoint) bool {
				return p.Value == 1000+float64(i) && p.TS.Sub(at(i)).Abs().Seconds() <= got.StepSeconds
			}) {
				t.Error(method, fmt.Sprint("the spike at ", i, " is not shown"))
			}
		}
	}
}
