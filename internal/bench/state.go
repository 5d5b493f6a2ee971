package bench

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/edgepulse/edgepulse/featurizer"
	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/normaliser"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/scorer"
	"github.com/edgepulse/edgepulse/stream"
)

// StateCost is what the state of one stage costs.
type StateCost struct {
	Stage    string              `json:"stage"`
	Stored   float64             `json:"stored_bytes_per_metric"`     // as encoded
	Packed   float64             `json:"compressed_bytes_per_metric"` // of the base
	Resident float64             `json:"resident_bytes_per_metric"`
	Base     stream.SnapshotCost `json:"base"`
	Delta    stream.SnapshotCost `json:"delta"` // after one more point of every metric
	Restore  time.Duration       `json:"restore_ns"`
	Replay   time.Duration       `json:"replay_ns"` // of one point of every metric, after the restore
}

const (
	// StateRows of a metric make every model trusted and every reservoir full; not
	// every time of day has been seen by then, which takes a day of them.
	StateRows = 640

	stateMetrics = 10 // of a device
	stateChunk   = 80 // rows in a request
)

// stateFolds is the chain up to the scorer, with the folds in reach.
type stateFolds struct {
	names []string
	make  []func() stream.Fold
	folds []stream.Fold
	spent []time.Duration
	outs  []stream.Outputs
	rng   *rand.Rand
	step  time.Duration
	rows  int
	root  uint64
	body  []byte
}

// State fills a partition with metrics that have seen so many rows, one every step, and measures what their state costs: stored, resident, to snapshot and to
// restore. Nothing is left behind.
func State(ctx context.Context, metrics, rows int, step time.Duration, progress func(string)) ([]StateCost, error) {
	dir, err := os.MkdirTemp("", "edgepulse-state")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	defer os.RemoveAll(dir)
	blobs, err := archive.NewFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	s := &stateFolds{step: step, rows: rows, rng: rand.New(rand.NewPCG(1, 2)),
		names: []string{normaliser.Name, featurizer.Name, scorer.Name},
		make:  []func() stream.Fold{normaliser.New, featurizer.New, scorer.New}}
	s.spent, s.outs = make([]time.Duration, len(s.make)), make([]stream.Outputs, len(s.make))
	for _, m := range s.make {
		s.folds = append(s.folds, m())
	}
	devices := max(metrics/stateMetrics, 1)
	for d := range devices {
		for row := 0; row < rows; row += stateChunk {
			if err := s.feed(d, row, min(stateChunk, rows-row)); err != nil {
				return nil, err
			}
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		progress(fmt.Sprintf("%d of %d metrics", (d+1)*stateMetrics, metrics))
	}
	costs, meters := make([]StateCost, len(s.folds)), make([]*stream.SnapshotMeter, len(s.folds))
	for i, f := range s.folds {
		progress("snapshot of the " + s.names[i])
		meters[i] = stream.NewSnapshotMeter(blobs, s.names[i], f.State())
		costs[i].Stage = s.names[i]
		if costs[i].Base, err = meters[i].Take(ctx, 1); err != nil {
			return nil, fmt.Errorf("snapshot the %s: %w", s.names[i], err)
		}
		costs[i].Stored = float64(costs[i].Base.Bytes) / float64(devices*stateMetrics)
		costs[i].Packed = float64(costs[i].Base.Stored) / float64(devices*stateMetrics)
	}
	if err := s.minute(devices, 0); err != nil {
		return nil, err
	}
	for i := range s.folds {
		if costs[i].Delta, err = meters[i].Take(ctx, 2); err != nil {
			return nil, fmt.Errorf("snapshot the %s: %w", s.names[i], err)
		}
	}
	s.resident(costs, meters, float64(devices*stateMetrics))
	for i := range s.make {
		progress("restore the " + s.names[i])
		s.folds[i] = s.make[i]()
		if costs[i].Restore, err = stream.MeasureRestore(ctx, blobs, s.names[i], s.folds[i].State()); err != nil {
			return nil, fmt.Errorf("restore the %s: %w", s.names[i], err)
		}
	}
	clear(s.spent)
	if err := s.minute(devices, 1); err != nil {
		return nil, err
	}
	for i := range costs {
		costs[i].Replay = s.spent[i]
	}
	return costs, nil
}

// minute sends one more row of every metric.
func (s *stateFolds) minute(devices, k int) error {
	for d := range devices {
		if err := s.feed(d, s.rows+k, 1); err != nil {
			return err
		}
	}
	return nil
}

// resident lets go of one stage after the other and sees what becomes free.
func (s *stateFolds) resident(costs []StateCost, meters []*stream.SnapshotMeter, metrics float64) {
	for i := range s.outs {
		s.outs[i] = stream.Outputs{}
	}
	last := heap()
	for i := range s.folds {
		s.folds[i], meters[i] = nil, nil
		now := heap()
		costs[i].Resident = float64(last-now) / metrics
		last = now
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// feed sends rows of all metrics of a device as one request.
func (s *stateFolds) feed(device, row, rows int) error {
	tenant := schemas.ID{'s', 't', 'a', 't', 'e', 15: 1}
	b := fmt.Appendf(s.body[:0], `{"device_external_id":"device-%d","metrics":[`, device)
	for r := row; r < row+rows; r++ {
		at := time.Unix(1_790_000_000, 0).Add(time.Duration(r) * s.step)
		for m := range stateMetrics {
			if r > row || m > 0 {
				b = append(b, ',')
			}
			jitter := time.Duration(s.rng.Int64N(int64(s.step) / 20)).Truncate(time.Microsecond)
			wave := math.Sin(2 * math.Pi * float64(at.Unix()%86400) / 86400)
			b = fmt.Appendf(b, `{"name":"metric-%d","ts":"%s","value":`, m, at.Add(jitter).UTC().Format("2006-01-02T15:04:05.000000Z"))
			b = strconv.AppendFloat(b, math.Round(1e4*(20+5*wave+s.rng.NormFloat64()))/1e4, 'g', -1, 64)
			b = append(b, '}')
		}
	}
	s.body = append(b, "]}"...)
	e := &schemas.Entry{Kind: &schemas.Entry_Batch{Batch: &schemas.Batch{TenantId: tenant[:], RequestId: "state", Source: "bench", Parts: 1, Backfill: true,
		ReceivedAt: time.Unix(1_790_000_000, 0).Add(time.Duration(row+rows) * s.step).UnixMicro(), Slices: []*schemas.DeviceSlice{{Json: s.body}}}}}
	raw, err := e.MarshalVT()
	if err != nil {
		return fmt.Errorf("encode batch: %w", err)
	}
	s.root++
	entries := [][]byte{raw}
	for i, f := range s.folds {
		s.outs[i].Reset()
		start := time.Now()
		for k, entry := range entries {
			if err := f.Apply(stream.Input{Root: s.root, Index: k, Bytes: entry}, &s.outs[i]); err != nil {
				return fmt.Errorf("fold in the %s: %w", s.names[i], err)
			}
		}
		s.spent[i] += time.Since(start)
		entries = s.outs[i].Entries()
	}
	return nil
}
