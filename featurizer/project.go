package featurizer

import (
	"fmt"
	"math"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// Projection writes FEATURES to Postgres.
type Projection struct{}

// Project implements stream.Projection.
func (Projection) Project(at stream.Position, e *schemas.Entry, rows *stream.RowSet) error {
	f := e.GetFeatures()
	if f == nil {
		return nil
	}
	tenant, err := schemas.IDFrom(f.TenantId)
	if err != nil {
		return fmt.Errorf("read tenant: %w", err)
	}
	device, err := schemas.IDFrom(f.DeviceId)
	if err != nil {
		return fmt.Errorf("read device: %w", err)
	}
	metric, err := schemas.IDFrom(f.MetricId)
	if err != nil {
		return fmt.Errorf("read metric: %w", err)
	}
	flags := stream.SampleFlags(f.Tick, f.Backfill, f.Silent)
	if f.LowVariance {
		flags |= stream.SampleLowVariance
	}
	s := rows.Series(stream.FeatureSeries, stream.SeriesKey{Tenant: tenant, Device: device, Metric: metric})
	s.Add(f.Ts, at.Root, flags)
	s.Long(f.WindowStart-f.Ts, f.WindowEnd-f.Ts, f.LastTs-f.Ts, f.ReceivedAt-f.Ts, int64(min(f.Count, math.MaxInt32)), int64(min(f.StuckRun, math.MaxInt32)))
	s.Real(f.Value, f.Extreme, f.Last, f.Mean, f.Std, f.Median, f.Mad, f.Min, f.Max, f.Range, f.Slope, f.MissingRate, f.Step)
	return nil
}
