// Package bench measures the whole service from outside: every stage is a
// process of its own, the load comes over HTTP, and what is counted is what was
// stored and scored.
//
// What comes in: a scenario. What goes out: a Report. State: a temporary folder
// that is gone afterwards. Failure: an error with the tail of the log of the
// process that failed; a lost point is an error, not a figure.
package bench

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgepulse/edgepulse/stream"
)

// Scenario is a load as code.
type Scenario struct {
	Name     string        `json:"name"`
	Clients  int           `json:"clients"`
	Points   int           `json:"points_per_request"`
	Metrics  int           `json:"metrics"`
	Rate     float64       `json:"rate_points_per_second"` // 0 = as fast as answers come
	Duration time.Duration `json:"duration_ns"`
	// Step is the distance of timestamps of one metric; 0 = the time of sending.
	Step time.Duration `json:"step_ns"`
}

// Scenarios by name. The first letter is that of the performance goals.
var Scenarios = map[string]Scenario{
	"a":      {Name: "a", Clients: 32, Points: 100, Metrics: 2000},
	"a-eval": {Name: "a-eval", Clients: 32, Points: 100, Metrics: 2000, Step: time.Second},
	"1000":   {Name: "1000", Clients: 10, Points: 10, Metrics: 200, Rate: 1000},
	"c":      {Name: "c", Clients: 256, Points: 2, Metrics: 2000},
}

// Report is what a run found.
type Report struct {
	Scenario     Scenario           `json:"scenario"`
	Requests     int64              `json:"requests"`
	Refused      int64              `json:"refused"` // answers that were not 202; the client tried again
	PointsSent   int64              `json:"points_acknowledged"`
	PointsStored int64              `json:"points_stored"`
	Evaluations  int64              `json:"evaluations"`
	LoadSeconds  float64            `json:"load_seconds"`
	TotalSeconds float64            `json:"total_seconds"` // until everything was stored and scored
	PointsPerSec float64            `json:"points_per_second"`
	Ack          Quantiles          `json:"ack_ms"`
	Score        Quantiles          `json:"ingest_to_score_ms"`
	CPU          map[string]float64 `json:"cpu_us_per_point"` // by process
	LogBytes     map[string]float64 `json:"log_bytes_per_point"`
	RowBytes     float64            `json:"postgres_bytes_per_point"`
	RSS          map[string]float64 `json:"resident_mb"`
}

// Run measures one scenario with the given binary.
func Run(ctx context.Context, binary string, s Scenario, progress func(string)) (*Report, error) {
	dir, err := os.MkdirTemp("", "edgepulse-bench-")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // Postgres runs as another user when this one is root
		return nil, fmt.Errorf("open folder: %w", err)
	}
	progress("starting processes")
	c, err := startCluster(ctx, binary, dir)
	if err != nil {
		return nil, err
	}
	defer c.stop()

	r := &Report{Scenario: s, CPU: map[string]float64{}, LogBytes: map[string]float64{}, RSS: map[string]float64{}}
	fctx, endFollow := context.WithCancel(ctx)
	defer endFollow()
	scores := newLatencies()
	var evaluations atomic.Int64
	var following sync.WaitGroup
	for p := range c.broker.Partitions() {
		following.Go(func() { c.follow(fctx, p, scores, &evaluations, s.Step == 0) })
	}
	before := c.cpu()
	progress("loading")
	start := time.Now()
	load := newLoad(c.url, c.key, s)
	load.run(ctx, progress)
	r.LoadSeconds = time.Since(start).Seconds()
	progress("draining")
	if err := c.drained(ctx); err != nil {
		return nil, err
	}
	r.TotalSeconds = time.Since(start).Seconds()
	after := c.cpu()
	endFollow()
	following.Wait()
	r.Requests, r.Refused, r.PointsSent = load.requests.Load(), load.refused.Load(), load.points.Load()
	r.Evaluations = evaluations.Load()
	r.PointsPerSec = float64(r.PointsSent) / r.TotalSeconds
	r.Ack, r.Score = load.ack.quantiles(), scores.quantiles()
	for name, t := range after {
		r.CPU[name] = (t - before[name]).Seconds() * 1e6 / float64(max(r.PointsSent, 1))
	}
	if err := c.sizes(ctx, r); err != nil {
		return nil, err
	}
	if r.PointsStored != r.PointsSent {
		return r, fmt.Errorf("%d points were acknowledged, %d are stored", r.PointsSent, r.PointsStored)
	}
	return r, nil
}

// drained waits until every derived log and projection has reached the end of
// INGEST as it was when the load ended.
func (c *cluster) drained(ctx context.Context) error {
	ends := map[int]uint64{}
	for p := range c.broker.Partitions() {
		end, err := c.broker.End(ctx, stream.Ingest, p)
		if err != nil {
			return err
		}
		ends[p] = end
	}
	for {
		positions, err := c.store.Positions(ctx)
		if err != nil {
			return err
		}
		behind := false
		for p, end := range ends {
			for _, log := range []stream.LogName{stream.Points, stream.Features, stream.Scores, stream.Alerts} {
				at, err := c.broker.End(ctx, log, p)
				if err != nil {
					return err
				}
				behind = behind || at < end || positions[log][p] < end
			}
		}
		if !behind {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the stages: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// sizes reads what the run left behind.
func (c *cluster) sizes(ctx context.Context, r *Report) error {
	status, err := c.broker.Status(ctx)
	if err != nil {
		return err
	}
	for _, s := range status {
		r.LogBytes[string(s.Log)] += float64(s.Bytes) / float64(max(r.PointsSent, 1))
	}
	stored, bytes, err := c.store.DatapointTotals(ctx)
	if err != nil {
		return err
	}
	r.PointsStored = stored
	r.RowBytes = float64(bytes) / float64(max(r.PointsSent, 1))
	for name, mb := range c.rss() {
		r.RSS[name] = mb
	}
	return nil
}
