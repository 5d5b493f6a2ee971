package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/edgepulse/edgepulse/internal/client"
	"github.com/edgepulse/edgepulse/internal/simulate"
	"github.com/edgepulse/edgepulse/internal/simulate/play"
)

type simulateCmd struct {
	remote
	Devices     int           `help:"How many devices; energy meters, cold chain, pumps and web services take turns." default:"8"`
	Seed        uint64        `help:"Equal seeds give equal fleets." default:"1"`
	Step        time.Duration `help:"Sampling step." default:"10s"`
	MixedSteps  bool          `help:"Every second group of devices samples at twice the step."`
	Jitter      float64       `help:"Part of the step by which timestamps are off, either way; below 0.5." default:"0"`
	ClockSkew   time.Duration `help:"Devices' clocks are off by a constant up to this." default:"0s"`
	DropRate    float64       `help:"Part of the samples that get lost one at a time." default:"0"`
	Anomalies   float64       `help:"Anomalies per device and day." default:"2"`
	Prefix      string        `help:"Beginning of the device names." default:"sim"`
	History     days          `help:"How much history before now, e.g. 14d or 36h." default:"1d" placeholder:"SPAN"`
	Start       time.Time     `help:"Begin at this instant instead (RFC 3339)." placeholder:"TIME"`
	Live        bool          `help:"Go on by the clock after the history." default:"true" negatable:""`
	For         days          `help:"End live after this; 0 = at Ctrl+C." default:"0" placeholder:"SPAN"`
	Clock       string        `help:"system, or sim: drive the clock of a service that runs with --clock sim, as fast as it takes." default:"system" enum:"system,sim"`
	GroundTruth string        `help:"File for the injected anomalies: .csv, else JSON lines." type:"path" placeholder:"FILE"`
	Out         string        `help:"Write a CSV file per series here instead of sending." type:"path" placeholder:"DIR"`
}

func (simulateCmd) Help() string {
	return `Sends a seeded fleet with daily and weekly rhythm and five kinds of anomalies to a service: history in bulk as
backfill, then live. Equal seeds give equal values at equal instants: a second run adds only what is new.

Examples:
  edgepulse simulate --history 14d --step 1m
  edgepulse simulate --no-live --history 7d --ground-truth truth.jsonl
  edgepulse simulate --out ./csv --devices 4 --history 2d --ground-truth truth.csv && edgepulse score ./csv --out ./scored
  edgepulse simulate --clock sim --history 7d --for 1d`
}

// days is a duration that may also be given in days.
type days time.Duration

// UnmarshalText reads "14d", or what time.ParseDuration reads.
func (d *days) UnmarshalText(b []byte) error {
	s := string(b)
	if n, ok := strings.CutSuffix(s, "d"); ok {
		var v float64
		if _, err := fmt.Sscanf(n, "%g", &v); err == nil && fmt.Sprintf("%g", v) == n {
			*d = days(v * 24 * float64(time.Hour))
			return nil
		}
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is no span of time, expected something like 14d, 36h or 90s", s)
	}
	*d = days(v)
	return nil
}

func (c *simulateCmd) Run(ctx context.Context) error {
	now := time.Now().UTC().Truncate(time.Second)
	from := now.Add(-time.Duration(c.History))
	if !c.Start.IsZero() {
		from = c.Start.UTC()
	}
	to := from.Add(time.Duration(c.History))
	if to.After(now) && c.Out == "" && c.Clock == "system" {
		to = now
	}
	fleet, err := simulate.New(simulate.Config{Seed: c.Seed, Devices: c.Devices, Start: from, Step: c.Step, MixedSteps: c.MixedSteps,
		ClockSkew: c.ClockSkew, Jitter: c.Jitter, DropRate: c.DropRate, AnomaliesPerDay: c.Anomalies, Prefix: c.Prefix})
	if err != nil {
		return fmt.Errorf("%w; see `edgepulse simulate --help`", err)
	}
	if c.Out != "" {
		return c.write(ctx, fleet, from, to)
	}
	api, err := c.client()
	if err != nil {
		return err
	}
	end, err := c.play(ctx, api, fleet, from, to)
	if terr := c.truth(fleet, from, end); err == nil {
		err = terr
	}
	return err
}

// play sends history and present and returns up to which instant.
func (c *simulateCmd) play(ctx context.Context, api *client.Client, fleet *simulate.Fleet, from, to time.Time) (time.Time, error) {
	p := newProgress("points of history", c.points(fleet, to.Sub(from)))
	n, err := play.History(ctx, api, fleet, to, play.Options{Progress: p.set})
	p.end()
	if err != nil {
		return to, err
	}
	took := time.Since(p.start)
	fmt.Printf("%d points of history, %s to %s, sent in %.1f s (%.0f/s)\n", n, from.Format(time.DateTime), to.Format(time.DateTime),
		took.Seconds(), float64(n)/took.Seconds())
	if !c.Live {
		return to, nil
	}
	if c.Clock == "sim" {
		return c.simulated(ctx, api, fleet, to)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.For > 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(c.For))
		defer cancel()
	}
	live := newProgress("live points", 0)
	fmt.Fprintln(os.Stderr, "live; Ctrl+C ends. Next: `edgepulse alerts tail` in another terminal")
	end, err := play.Live(ctx, api, fleet, to, play.Options{Progress: live.set})
	live.end()
	return end, err
}

// simulated drives the service's clock and sends what its sensors measure meanwhile.
func (c *simulateCmd) simulated(ctx context.Context, api *client.Client, fleet *simulate.Fleet, from time.Time) (time.Time, error) {
	if c.For <= 0 {
		return from, fmt.Errorf("--clock sim needs --for: how much time passes")
	}
	end := from.Add(time.Duration(c.For))
	p := newProgress("live points", c.points(fleet, time.Duration(c.For)))
	sensors := play.NewSensors(ctx, api, fleet, from, play.Options{Progress: p.set})
	for now := from; now.Before(end); {
		// Points are received within a step of being measured, as in life.
		if now = now.Add(c.Step); now.After(end) {
			now = end
		}
		if err := api.Post(ctx, "/v1/clock", map[string]time.Time{"now": now}, nil); err != nil {
			return now, fmt.Errorf("set the clock (is the service running with --clock sim?): %w", err)
		}
		if err := sensors.Step(now); err != nil {
			return now, err
		}
		if err := sensors.Wait(); err != nil {
			return now, err
		}
	}
	p.end()
	took := time.Since(p.start)
	fmt.Printf("%d live points, %s of simulated time in %.1f s\n", p.last, time.Duration(c.For), took.Seconds())
	return end, nil
}

// points estimates how many points a span gives: three metrics a device.
func (c *simulateCmd) points(fleet *simulate.Fleet, span time.Duration) int {
	return int(float64(3*len(fleet.Devices())) * float64(span) / float64(c.Step))
}

// truth writes the injected anomalies up to an instant.
func (c *simulateCmd) truth(fleet *simulate.Fleet, from, to time.Time) error {
	if c.GroundTruth == "" {
		return nil
	}
	list := fleet.GroundTruth(from, to)
	f, err := os.Create(c.GroundTruth)
	if err != nil {
		return fmt.Errorf("make ground truth: %w", err)
	}
	write := simulate.WriteJSONLines
	if strings.EqualFold(filepath.Ext(c.GroundTruth), ".csv") {
		write = simulate.WriteCSV
	}
	err = write(f, list)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write ground truth: %w", err)
	}
	fmt.Printf("%d anomalies in %s\n", len(list), c.GroundTruth)
	return nil
}

// write makes a CSV file per series, as import and score read them.
func (c *simulateCmd) write(ctx context.Context, fleet *simulate.Fleet, from, to time.Time) error {
	p := newProgress("points", c.points(fleet, to.Sub(from)))
	n, files, err := play.CSV(ctx, fleet, to, c.Out, p.set)
	p.end()
	if err != nil {
		return err
	}
	fmt.Printf("%d points in %d files below %s\n", n, files, c.Out)
	if err := c.truth(fleet, from, to); err != nil {
		return err
	}
	fmt.Printf("next: edgepulse score %s --out scored\n", c.Out)
	return nil
}
