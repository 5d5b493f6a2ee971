package featurizer

import (
	"fmt"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// Projection writes FEATURES to Postgres.
type Projection struct{}

var featuresTable = &stream.TableSpec{Name: "features",
	Columns: []string{"partition", "root", "tenant_id", "metric_id", "ts", "window_start", "window_end", "tick", "backfill", "silent",
		"value", "last", "count", "mean", "std", "median", "mad", "min", "max", "range", "slope", "missing_rate", "stuck_run", "low_variance", "step"}}

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
	metric, err := schemas.IDFrom(f.MetricId)
	if err != nil {
		return fmt.Errorf("read metric: %w", err)
	}
	rows.Add(featuresTable, int32(at.Partition), int64(at.Root), tenant, metric, instant(f.Ts), instant(f.WindowStart), instant(f.WindowEnd),
		f.Tick, f.Backfill, f.Silent, f.Value, f.Last, int32(f.Count), f.Mean, f.Std, f.Median, f.Mad, f.Min, f.Max, f.Range, f.Slope,
		f.MissingRate, int32(min(f.StuckRun, 1<<31-1)), f.LowVariance, f.Step)
	return nil
}

func instant(us int64) time.Time { return time.UnixMicro(us).UTC() }
