package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// Features reads the vectors of a metric's evaluations: at most one per instant,
// root and kind (point or tick).
func (s *Store) Features(ctx context.Context, tenant, metric schemas.ID, r api.Range, pr api.PageRequest, o Order) (api.Page[api.Features], error) {
	out := api.Page[api.Features]{Data: []api.Features{}}
	list := fmt.Sprintf("features%d", o)
	p, err := readPage(list, pr, maxSeries)
	if err != nil {
		return out, err
	}
	q := sampleQuery{spec: stream.FeatureSeries, tenant: tenant, metric: metric, reach: reachOf(r), order: o, limit: p.limit + 1}
	if p.after != nil { // the cursor's instant may have more than one evaluation
		if o == Oldest {
			q.reach.from = max(q.reach.from, p.after.TS)
		} else {
			q.reach.to = min(q.reach.to, p.after.TS+1)
		}
		q.keep = func(s *stream.Samples, i int) bool { return compareScore(o, pointAt(s, i), *p.after) > 0 }
	}
	err = s.readSeries(ctx, tenant, func(tx pgx.Tx) error {
		if err := requireMetric(ctx, tx, tenant, metric); err != nil {
			return err
		}
		found, _, err := samples(ctx, tx, q)
		if err != nil {
			return err
		}
		for _, i := range firstOf(found, o, p.limit+1) {
			if len(out.Data) == p.limit {
				last := out.Data[p.limit-1]
				out.HasMore = true
				out.NextCursor = cursor{List: list, TS: last.TS.UnixMicro(), Root: int64(last.Root), Tick: last.Tick}.String()
				break
			}
			out.Data = append(out.Data, features(found, i))
		}
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("read features: %w", err)
	}
	return out, nil
}

// features is sample i as the API shows it; its columns are those of stream.FeatureSeries.
func features(s *stream.Samples, i int) api.Features {
	real := func(column int) *float64 { return finite(&s.Reals[column][i]) }
	has := func(flag uint32) bool { return s.Flags[i]&flag != 0 }
	return api.Features{
		MetricID: s.Key.Metric.String(), TS: time.UnixMicro(s.TS[i]).UTC(), WindowStart: sampleTime(s, 0, i), WindowEnd: sampleTime(s, 1, i),
		LastTS: sampleTime(s, 2, i), ReceivedAt: sampleTime(s, 3, i), Count: s.Longs[4][i], StuckRun: s.Longs[5][i],
		Value: real(0), Extreme: real(1), Last: real(2), Mean: real(3), Std: real(4), Median: real(5), MAD: real(6), Min: real(7), Max: real(8),
		Range: real(9), Slope: real(10), MissingRate: real(11), Step: real(12),
		LowVariance: has(stream.SampleLowVariance), Silent: has(stream.SampleSilent), Tick: has(stream.SampleTick), Backfill: has(stream.SampleBackfill), Root: s.Root[i],
	}
}
