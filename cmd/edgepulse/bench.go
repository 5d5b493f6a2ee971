package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/edgepulse/edgepulse/internal/bench"
)

type benchCmd struct {
	Scenario string        `help:"a (32 clients x 100 points), a-eval (timestamps 1 s apart), c (256 x 2), 1000 (1,000 points/s)." default:"a" enum:"a,a-eval,c,1000"`
	Duration time.Duration `help:"How long to load." default:"30s"`
	Rate     float64       `help:"Points per second; 0 = that of the scenario." default:"0"`
	State    int           `help:"Measure the state of so many metrics instead: stored, resident, to snapshot, to restore." placeholder:"METRICS"`
	Step     time.Duration `help:"With --state: distance of a metric's points." default:"3m"`
	Rows     int           `help:"With --state: points of each metric; a day of them fills the season." default:"640"`
	JSON     bool          `help:"Print JSON."`
}

func (benchCmd) Help() string {
	return `Starts every stage as a process of its own under a temporary folder, sends the load over HTTP and measures until
everything is stored and scored. Nothing is left behind.

Example:
  edgepulse bench --scenario a --duration 60s --json
  edgepulse bench --state 20000`
}

func (c *benchCmd) Run(ctx context.Context) error {
	if c.State > 0 {
		return c.state(ctx)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this binary: %w", err)
	}
	s := bench.Scenarios[c.Scenario]
	s.Duration = c.Duration
	if c.Rate > 0 {
		s.Rate = c.Rate
	}
	r, err := bench.Run(ctx, self, s, say)
	if isTerminal(os.Stderr) {
		fmt.Fprintln(os.Stderr)
	}
	if r != nil {
		if c.JSON {
			e := json.NewEncoder(os.Stdout)
			e.SetIndent("", "  ")
			if jerr := e.Encode(r); jerr != nil {
				return jerr
			}
		} else {
			printReport(r)
		}
	}
	return err
}

func say(what string) {
	if isTerminal(os.Stderr) {
		fmt.Fprintf(os.Stderr, "\r%-78s", what)
	}
}

func (c *benchCmd) state(ctx context.Context) error {
	costs, err := bench.State(ctx, c.State, c.Rows, c.Step, say)
	if isTerminal(os.Stderr) {
		fmt.Fprintln(os.Stderr)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(costs)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "stage\tstored B\tcompressed B\tresident B\tbase: fold\tlongest\twrite\tdelta: fold\tlongest\twrite\trestore\treplay\t")
	ms := func(d time.Duration) string { return d.Round(100 * time.Microsecond).String() }
	for _, s := range costs {
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", s.Stage, s.Stored, s.Packed, s.Resident,
			ms(s.Base.Fold), ms(s.Base.Longest), ms(s.Base.Write), ms(s.Delta.Fold), ms(s.Delta.Longest), ms(s.Delta.Write), ms(s.Restore), ms(s.Replay))
	}
	return w.Flush()
}

func printReport(r *bench.Report) {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "points acknowledged\t%d in %d requests, %d refused and repeated\n", r.PointsSent, r.Requests, r.Refused)
	fmt.Fprintf(w, "points stored\t%d\n", r.PointsStored)
	fmt.Fprintf(w, "evaluations\t%d, %.0f/s\n", r.Evaluations, float64(r.Evaluations)/r.TotalSeconds)
	fmt.Fprintf(w, "points/s\t%.0f until stored and scored (%.1f s load, %.1f s in all)\n", r.PointsPerSec, r.LoadSeconds, r.TotalSeconds)
	q := func(name string, q bench.Quantiles) {
		fmt.Fprintf(w, "%s, ms\tp50 %.1f  p90 %.1f  p99 %.1f  max %.1f  (n %d)\n", name, q.P50, q.P90, q.P99, q.Max, q.N)
	}
	q("ack", r.Ack)
	q("ingest to score", r.Score)
	list := func(name, format string, m map[string]float64) {
		var parts []string
		total := 0.0
		for _, k := range slices.Sorted(maps.Keys(m)) {
			parts = append(parts, fmt.Sprintf("%s "+format, k, m[k]))
			total += m[k]
		}
		fmt.Fprintf(w, "%s\t%s; in all "+format+"\n", name, strings.Join(parts, ", "), total)
	}
	list("CPU, µs/point", "%.2f", r.CPU)
	list("log, bytes/point", "%.1f", r.LogBytes)
	fmt.Fprintf(w, "Postgres, bytes/point\t%.1f\n", r.RowBytes)
	list("resident, MB", "%.0f", r.RSS)
	_ = w.Flush() // a terminal that went away has nobody to tell
}
