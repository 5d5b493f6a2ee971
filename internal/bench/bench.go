// Package bench measures the whole service from outside: every stage is a
// process of its own, the load comes over HTTP, and what is counted is what was
// stored and scored.
//
// What comes in: a scenario. What goes out: a Report. State: a temporary folder
// that is gone afterwards. Failure: an error with the tail of the log of the
// process that failed; a lost point is an error, not a figure.
package bench

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
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
	// Spikes are probes: metrics with a learned model that get one absurd value
	// each while the load goes on, to time the way from sensor to webhook.
	Spikes int `json:"spikes"`
	// Flood: nine tenants send this load, and in the second half a tenth one all it can.
	Flood bool `json:"flood"`
	// Watch: resident memory, logs and lags are looked at after every sixth of the time, and
	// the logs keep a fifteenth of it.
	Watch bool `json:"watch"`
	// Partitions of the deployment; 0 = what `up` takes on this machine.
	Partitions int `json:"partitions"`
	// StorageNice is the niceness of PostgreSQL, projector and archiver, as with up.
	StorageNice int `json:"storage_nice"`
	// LogBytes is the room of all logs together, EDGEPULSE_LOG_MAX_BYTES; 0 = 16 GiB.
	LogBytes int64 `json:"log_bytes"`
	// Profiles is a folder for a CPU profile of every process, taken in the middle
	// third of the time; empty = none. Taking them costs a few per cent.
	Profiles string `json:"profiles,omitempty"`
}

// Scenarios by name. The letters are those of the performance goals.
var Scenarios = map[string]Scenario{
	"a":      {Name: "a", Clients: 32, Points: 100, Metrics: 2000, Spikes: 100},
	"a-eval": {Name: "a-eval", Clients: 32, Points: 100, Metrics: 2000, Step: time.Second},
	"b":      {Name: "b", Clients: 256, Points: 1, Metrics: 50000, Rate: 5000},
	"c":      {Name: "c", Clients: 256, Points: 2, Metrics: 2048, Rate: 10000},
	"d":      {Name: "d", Clients: 2, Points: 20, Metrics: 100, Rate: 500, Flood: true},
	"e":      {Name: "e", Clients: 16, Points: 100, Metrics: 2000, Rate: 20000, Watch: true, Spikes: 100},
	"1000":   {Name: "1000", Clients: 10, Points: 10, Metrics: 200, Rate: 1000, Spikes: 50},
}

// Names of the scenarios, for people.
func Names() []string { return slices.Sorted(maps.Keys(Scenarios)) }

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
	EvalsPerSec  float64            `json:"evaluations_per_second"`
	Ack          Quantiles          `json:"ack_ms"`
	Score        Quantiles          `json:"ingest_to_score_ms"`
	Webhook      Quantiles          `json:"sensor_to_webhook_ms"` // of the probes
	Unseen       int                `json:"spikes_without_webhook"`
	CPU          map[string]float64 `json:"cpu_us_per_point"` // by process
	LogBytes     map[string]float64 `json:"log_bytes_per_point"`
	LogMessages  map[string]float64 `json:"log_messages_per_second"`
	RowBytes     float64            `json:"postgres_bytes_per_point"` // of datapoints alone
	ArchiveBytes float64            `json:"archive_bytes_per_point"`
	RSS          map[string]float64 `json:"resident_mb"`
	AckBySecond  []Quantiles        `json:"ack_ms_by_second,omitempty"`
	// ScoreBySecond is by the second in which the score was seen.
	ScoreBySecond []Quantiles `json:"ingest_to_score_ms_by_second,omitempty"`
	Flood         *Flood      `json:"flood,omitempty"`
	Watched       []Moment    `json:"watched,omitempty"`
	// Unsealed is how many samples of each kind were stored and not sealed yet at the end: a
	// backlog that grows with the time is a load that can't go on for ever.
	Unsealed map[string]int64 `json:"unsealed"`
	// Warnings quotes what the processes logged at warn or error.
	Warnings []string `json:"warnings,omitempty"`
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
	s.Partitions = cmp.Or(s.Partitions, stream.PartitionsFor(runtime.NumCPU()))
	c, err := startCluster(ctx, binary, dir, s)
	if err != nil {
		return nil, err
	}
	defer c.stop()

	r := &Report{Scenario: s, CPU: map[string]float64{}, LogBytes: map[string]float64{}, LogMessages: map[string]float64{}, RSS: map[string]float64{}}
	var probes *probes
	if s.Spikes > 0 {
		if probes, err = newProbes(ctx, c, s.Spikes, progress); err != nil {
			return nil, err
		}
		defer probes.close()
	}
	fctx, endFollow := context.WithCancel(ctx)
	defer endFollow()
	scores := newTimeline(time.Now())
	var evaluations atomic.Int64
	var following sync.WaitGroup
	for p := range c.broker.Partitions() {
		following.Go(func() { c.follow(fctx, p, scores, &evaluations, s.Step == 0) })
	}
	before := c.cpu()
	start := time.Now()
	loads, err := c.load(ctx, r, probes, progress)
	if err != nil {
		return nil, err
	}
	r.LoadSeconds = time.Since(start).Seconds()
	progress("draining")
	if err := c.drained(ctx); err != nil {
		return nil, err
	}
	r.TotalSeconds = time.Since(start).Seconds()
	after := c.cpu()
	endFollow()
	following.Wait()
	ack := newLatencies()
	for _, l := range loads {
		r.Requests, r.Refused, r.PointsSent = r.Requests+l.requests.Load(), r.Refused+l.refused.Load(), r.PointsSent+l.points.Load()
		ack.merge(l.ack)
	}
	r.Evaluations = evaluations.Load()
	r.PointsPerSec, r.EvalsPerSec = float64(r.PointsSent)/r.TotalSeconds, float64(r.Evaluations)/r.TotalSeconds
	r.Ack, r.Score = ack.quantiles(), scores.quantiles()
	r.ScoreBySecond = scores.bySecond()
	if len(loads) == 1 {
		r.AckBySecond = loads[0].ack.bySecond()
	}
	for name, t := range after {
		r.CPU[name] = (t - before[name]).Seconds() * 1e6 / float64(max(r.PointsSent, 1))
	}
	extra := int64(0)
	if probes != nil {
		r.Webhook, r.Unseen = probes.latencies(ctx)
		extra = probes.points
	}
	if err := c.sizes(ctx, r); err != nil {
		return nil, err
	}
	r.Warnings = c.warnings()
	if r.PointsStored != r.PointsSent+extra {
		return r, fmt.Errorf("%d points were acknowledged, %d are stored", r.PointsSent+extra, r.PointsStored)
	}
	return r, nil
}

// load runs what the scenario sends and returns when its time is over.
func (c *cluster) load(ctx context.Context, r *Report, p *probes, progress func(string)) ([]*load, error) {
	s := r.Scenario
	if s.Flood {
		return c.flood(ctx, r, progress)
	}
	l := newLoad(c.url, c.key, s)
	var beside sync.WaitGroup
	defer beside.Wait()
	if p != nil {
		beside.Go(func() { p.run(ctx, s.Duration) })
	}
	if s.Watch {
		beside.Go(func() { r.Watched = c.watch(ctx, s.Duration, l) })
	}
	if s.Profiles != "" {
		beside.Go(func() {
			if err := c.profiles(ctx, s.Profiles, s.Duration/3); err != nil {
				progress(err.Error())
			}
		})
	}
	l.run(ctx, progress)
	return []*load{l}, nil
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
		r.LogMessages[string(s.Log)] += float64(s.LastSeq) / r.TotalSeconds
	}
	stored, bytes, err := c.store.DatapointTotals(ctx)
	if err != nil {
		return err
	}
	r.PointsStored = stored
	r.RowBytes = float64(bytes) / float64(max(r.PointsSent, 1))
	if r.Unsealed, err = c.store.Unsealed(ctx); err != nil {
		return err
	}
	maps.Copy(r.RSS, c.rss())
	r.ArchiveBytes = float64(folderBytes(filepath.Join(c.dir, "archive"))) / float64(max(r.PointsSent, 1))
	return nil
}
