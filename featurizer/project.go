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
	Columns: []string{"tenant_id", "device_id", "metric_id", "ts", "window_start", "window_end", "last_ts", "received_at", "value", "extreme",
		"last", "mean", "std", "median", "mad", "min", "max", "range", "slope", "missing_rate", "step", "root", "count", "stuck_run",
		"partition", "tick", "backfill", "low_variance", "silent"}}

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
	rows.Add(featuresTable, tenant, device, metric, instant(f.Ts), instant(f.WindowStart), instant(f.WindowEnd), instant(f.LastTs),
		instant(f.ReceivedAt), f.Value, f.Extreme, f.Last, f.Mean, f.Std, f.Median, f.Mad, f.Min, f.Max, f.Range, f.Slope, f.MissingRate,
		f.Step, int64(at.Root), int32(min(f.Count, 1<<31-1)), int32(min(f.StuckRun, 1<<31-1)), int32(at.Partition), f.Tick, f.Backfill,
		f.LowVariance, f.Silent)
	return nil
}

func instant(us int64) time.Time { return time.UnixMicro(us).UTC() }
