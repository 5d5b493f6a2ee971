package store

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// Ways to show many points in few.
const (
	LTTB   = "lttb"   // largest triangle of three buckets
	MinMax = "minmax" // the lowest and the highest of each bucket
	Avg    = "avg"    // the mean of each bucket
)

// Downsample shows a metric's range in at most n points, oldest first. Of few
// points it chooses among the points themselves. Of many it reads roll-ups: values
// stay exact, but the instant of an extreme is known to its cell only, which is at
// most half a bucket; largest-triangle then chooses among the extremes of a grid
// twice as fine (Van Der Donckt et al., "MinMaxLTTB", 2023).
func (s *Store) Downsample(ctx context.Context, tenant, metric schemas.ID, r api.Range, method string, n int) (api.Downsampled, error) {
	out := api.Downsampled{Method: method, Data: []api.DownsampledPoint{}}
	buckets := map[string]int{LTTB: 2 * n, MinMax: n / 2, Avg: n}[method]
	err := s.readSeries(ctx, tenant, func(tx pgx.Tx) error {
		if err := requireMetric(ctx, tx, tenant, metric); err != nil {
			return err
		}
		c := chart{tx, tenant, metric, r}
		g, err := c.grid(ctx, buckets)
		if err != nil {
			return err
		}
		out.Exact, out.StepSeconds = g.width == 0, float64(g.step)/1e6
		var points []plotted
		if out.Exact {
			points, err = c.chosen(ctx, g, method, n, &out.Points)
		} else {
			points, err = c.rolled(ctx, g, method, &out.Points)
		}
		if err != nil {
			return err
		}
		if method == LTTB {
			points = largestTriangles(points, n)
		}
		for _, p := range points {
			out.Data = append(out.Data, api.DownsampledPoint{TS: time.UnixMicro(p.ts).UTC(), Value: p.value})
		}
		return nil
	})
	if err != nil {
		return api.Downsampled{}, fmt.Errorf("downsample: %w", err)
	}
	return out, nil
}

// plotted is a point of a chart.
type plotted struct {
	ts    int64
	value float64
}

// chosen reads the points themselves. Where there are no more than asked for, all stay.
func (c chart) chosen(ctx context.Context, g grid, method string, n int, count *int64) ([]plotted, error) {
	raw, _, err := samples(ctx, c.tx, sampleQuery{spec: stream.DatapointSeries, tenant: c.tenant, metric: c.metric, reach: g.reach, order: Oldest})
	if err != nil {
		return nil, err
	}
	all := make([]plotted, 0, raw.Len())
	for i, ts := range raw.TS {
		if v := raw.Reals[0][i]; !math.IsNaN(v) && !math.IsInf(v, 0) {
			all = append(all, plotted{ts, v})
		}
	}
	*count = int64(len(all))
	if len(all) <= n || method == LTTB {
		return all, nil
	}
	var out []plotted
	for from := 0; from < len(all); {
		i, to := g.bucket(all[from].ts), from+1
		low, high, sum := all[from], all[from], all[from].value
		for ; to < len(all) && g.bucket(all[to].ts) == i; to++ {
			p := all[to]
			if sum += p.value; p.value < low.value {
				low = p
			}
			if p.value > high.value {
				high = p
			}
		}
		if method == Avg {
			out = append(out, plotted{g.start + i*g.step, sum / float64(to-from)})
		} else {
			out = appendExtremes(out, low, high)
		}
		from = to
	}
	return out, nil
}

// rolled makes points of roll-ups.
func (c chart) rolled(ctx context.Context, g grid, method string, count *int64) ([]plotted, error) {
	buckets, err := c.rollUp(ctx, stream.DatapointSeries, g, nil)
	if err != nil {
		return nil, err
	}
	out := make([]plotted, 0, 2*len(buckets))
	for _, i := range slices.Sorted(maps.Keys(buckets)) {
		b, begin := buckets[i], g.start+i*g.step
		*count += int64(b[rollCount])
		if method == Avg {
			out = append(out, plotted{begin, b[pointSum] / b[rollCount]})
			continue
		}
		// The lowest and the highest stand at a quarter and three quarters; which was
		// first is not known: the last value tells what the bucket goes over to.
		early, late := plotted{begin + g.step/4, b[pointMin]}, plotted{begin + 3*g.step/4, b[pointMax]}
		if b[pointLast]-b[pointMin] < b[pointMax]-b[pointLast] {
			early.value, late.value = b[pointMax], b[pointMin]
		}
		if out = append(out, early); early.value != late.value {
			out = append(out, late)
		}
	}
	return slices.DeleteFunc(out, func(p plotted) bool { return math.IsNaN(p.value) || math.IsInf(p.value, 0) }), nil
}

func appendExtremes(out []plotted, low, high plotted) []plotted {
	switch {
	case low.ts == high.ts:
		return append(out, low)
	case low.ts > high.ts:
		low, high = high, low
	}
	return append(out, low, high)
}

// largestTriangles keeps n points that look like all of them: the first, the last,
// and of each bucket between the one that spans the largest triangle with the one
// chosen before and the mean of the next bucket (S. Steinarsson, "Downsampling
// Time Series for Visual Representation", 2013).
func largestTriangles(all []plotted, n int) []plotted {
	if len(all) <= n {
		return all
	}
	if n < 3 {
		return []plotted{all[0], all[len(all)-1]}[:n]
	}
	out := make([]plotted, 0, n)
	out = append(out, all[0])
	every := float64(len(all)-2) / float64(n-2)
	border := func(i int) int { return min(int(float64(i)*every)+1, len(all)-1) }
	for i := range n - 2 {
		var x, y float64 // the mean of the next bucket
		next := all[border(i+1):max(border(i+2), border(i+1)+1)]
		for _, p := range next {
			x, y = x+float64(p.ts-all[0].ts), y+p.value
		}
		x, y = x/float64(len(next)), y/float64(len(next))
		last := out[len(out)-1]
		ax, ay := float64(last.ts-all[0].ts), last.value
		best, largest := all[border(i)], -1.0
		for _, p := range all[border(i):border(i+1)] {
			if area := math.Abs((ax-x)*(p.value-ay) - (ax-float64(p.ts-all[0].ts))*(y-ay)); area > largest {
				best, largest = p, area
			}
		}
		out = append(out, best)
	}
	return append(out, all[len(all)-1])
}
