package store_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// A chart of roll-ups shows in each bucket what the points of that time show:
// sealed, recent, late, stored twice, at the borders of the range.
func TestChartEqualsItsPoints(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.declare()
	rnd := rand.New(rand.NewPCG(3, 4))
	const n = 60_000
	series := map[int64]float64{}
	put := func(rows *stream.RowSet, ts int64, v float64, root uint64) {
		w.pointAt(rows, ts, v, root, 0)
		series[ts] = v
	}
	for at := 0; at < n; at += 20_000 {
		w.apply(stream.Points, func(rows *stream.RowSet) {
			for i := at; i < at+20_000; i++ {
				if i%977 == 5 {
					continue // comes late
				}
				put(rows, us(i), math.Round(rnd.NormFloat64()*100), uint64(i+1))
			}
			if at == 20_000 {
				put(rows, us(25_000), 1e6, 1) // a spike
			}
		})
		if at < 40_000 {
			if _, err := db.Seal(t.Context(), stream.Points); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.apply(stream.Points, func(rows *stream.RowSet) {
		for i := range n {
			if i%977 == 5 && i > 30_000 {
				put(rows, us(i), -7, uint64(n+i))
			}
		}
		w.pointAt(rows, us(10_000), 555, n*2, 0) // stored already: the lower root counts
	})
	w.apply(stream.Scores, func(rows *stream.RowSet) {
		for i := range n / 10 {
			s := rows.Series(stream.ScoreSeries, stream.SeriesKey{Tenant: w.tenant, Device: w.device, Metric: w.metric})
			s.Add(us(10*i), uint64(i+1), uint32(i%5/4)) // each fifth by a tick
			s.Long(0, 0, 0, 0)
			s.Real(0, float64(i%100)/200, 0.25, 2, 1, 3)
			s.Words = append(s.Words, "")
		}
	})
	for range 2 {
		for _, c := range []struct{ from, to, buckets int }{{0, n, 2000}, {0, n, 300}, {17, 59_011, 1000}, {3, n, 7}, {24_000, 26_000, 500}, {100, 700, 1000}} {
			r := api.Range{From: at(c.from).Add(123 * time.Microsecond), To: at(c.to)}
			got, err := db.Series(t.Context(), w.tenant, w.metric.String(), r, c.buckets)
			if err != nil {
				t.Fatal(err)
			}
			sameChart(t, fmt.Sprint(c), got, series, c.buckets)
		}
		if _, err := db.Seal(t.Context(), stream.Scores); err != nil { // points stay as they are, half sealed
			t.Fatal(err)
		}
	}
}

func sameChart(t *testing.T, name string, got api.Series, series map[int64]float64, buckets int) {
	t.Helper()
	if len(got.Points) == 0 || len(got.Points) > buckets {
		t.Fatalf("%s: %d points", name, len(got.Points))
	}
	step := int64(math.Round(got.StepSeconds * 1e6))
	start := got.Points[0].TS.UnixMicro()
	want := map[int64]*api.SeriesPoint{}
	last := map[int64]int64{}
	for ts, v := range series {
		if ts < got.From.UnixMicro() || ts >= got.To.UnixMicro() {
			continue
		}
		i := ts
		if !got.Raw {
			i = start + (ts-start)/step*step
		}
		p := want[i]
		if p == nil {
			p = &api.SeriesPoint{Min: v, Max: v}
			want[i] = p
		}
		p.Min, p.Max, p.Avg, p.Count = min(p.Min, v), max(p.Max, v), p.Avg+v, p.Count+1
		if ts >= last[i] {
			p.Last, last[i] = v, ts
		}
	}
	if len(want) != len(got.Points) {
		t.Fatalf("%s: %d points, want %d", name, len(got.Points), len(want))
	}
	for _, p := range got.Points {
		e := want[p.TS.UnixMicro()]
		if e == nil || p.Min != e.Min || p.Max != e.Max || p.Last != e.Last || p.Count != e.Count || math.Abs(p.Avg*float64(p.Count)-e.Avg) > 1e-6 {
			t.Fatalf("%s: at %s %+v, want %+v", name, p.TS, p, e)
		}
		if !got.Raw && step >= 60e6 && (p.Expected == nil || *p.Expected < 2 || *p.Lower < 1 || *p.Upper < 3 || *p.Score <= 0 || *p.AlarmScore < 0.25) {
			t.Fatalf("%s: at %s no band: %+v", name, p.TS, p)
		}
	}
}
