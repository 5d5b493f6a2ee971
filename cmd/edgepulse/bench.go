package main

import (
	"context"
	"encoding/json"
	"errors"
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
	Scenario   string        `help:"a (32 clients x 100 points, 2,000 metrics), a-eval (timestamps 1 s apart), b (50,000 metrics, one point a request), c (256 clients x 2 points), d (nine tenants, then a tenth that floods), e (soak: looks at memory, logs and lags), 1000 (1,000 points/s)." default:"a" enum:"a,a-eval,b,c,d,e,1000"`
	Duration   time.Duration `help:"How long to load." default:"30s"`
	Rate       float64       `help:"Points per second; 0 = that of the scenario, -1 = as fast as answers come." default:"0"`
	Compare    string        `help:"Also print ratios to an earlier run, as --json wrote it." type:"existingfile" placeholder:"FILE"`
	Partitions int           `help:"Partitions of the deployment; 0 = what up takes on this machine." default:"0"`
	Nice       int           `help:"Niceness of what stores: PostgreSQL, projector, archiver." name:"storage-nice" default:"5" env:"EDGEPULSE_STORAGE_NICE" placeholder:"N"`
	LogBytes   int64         `help:"Bytes of all logs together, as EDGEPULSE_LOG_MAX_BYTES; 0 = 16 GiB. With few, logs fill while the load goes on." placeholder:"N"`
	Profiles   string        `help:"Folder for a CPU profile of every process, taken in the middle third; it costs a few per cent." type:"path" placeholder:"DIR"`
	State      int           `help:"Measure the state of so many metrics instead: stored, resident, to snapshot, to restore." placeholder:"METRICS"`
	Step       time.Duration `help:"With --state: distance of a metric's points." default:"3m"`
	Rows       int           `help:"With --state: points of each metric; a day of them fills the season." default:"640"`
	JSON       bool          `help:"Print JSON."`
}

func (benchCmd) Help() string {
	return `Starts every stage as a process of its own under a temporary folder, sends the load over HTTP and measures until
everything is stored and scored. Nothing is left behind.

Example:
  edgepulse bench --scenario a --duration 60s --json > before.json
  edgepulse bench --scenario a --duration 60s --compare before.json
  edgepulse bench --scenario a --rate 60000          # at a given load: the latencies
  edgepulse bench --scenario e --duration 30m
  edgepulse bench --profiles prof && go tool pprof -top prof/normaliser.pprof
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
	s.Duration, s.Profiles, s.Partitions, s.StorageNice, s.LogBytes = c.Duration, c.Profiles, c.Partitions, c.Nice, c.LogBytes
	if c.Rate != 0 {
		s.Rate = max(c.Rate, 0)
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
		if c.Compare != "" {
			ratios, cerr := bench.Compare(c.Compare, r)
			if cerr != nil {
				return errors.Join(err, cerr)
			}
			printRatios(ratios)
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

func printRatios(ratios []bench.Ratio) {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\nbefore\tnow\tratio\t\t")
	for _, r := range ratios {
		fmt.Fprintf(w, "%.2f\t%.2f\t%.2f\t%s\t\n", r.Old, r.New, r.Ratio(), r.Name)
	}
	_ = w.Flush() // a terminal that went away has nobody to tell
}

func printReport(r *bench.Report) {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "points acknowledged\t%d in %d requests, %d refused and repeated\n", r.PointsSent, r.Requests, r.Refused)
	fmt.Fprintf(w, "points stored\t%d\n", r.PointsStored)
	fmt.Fprintf(w, "evaluations\t%d, %.0f/s\n", r.Evaluations, r.EvalsPerSec)
	fmt.Fprintf(w, "points/s\t%.0f until stored and scored (%.1f s load, %.1f s in all)\n", r.PointsPerSec, r.LoadSeconds, r.TotalSeconds)
	q := func(name string, q bench.Quantiles) {
		fmt.Fprintf(w, "%s, ms\tp50 %.1f  p90 %.1f  p99 %.1f  max %.1f  (n %d)\n", name, q.P50, q.P90, q.P99, q.Max, q.N)
	}
	q("ack", r.Ack)
	q("ingest to score", r.Score)
	if r.Scenario.Spikes > 0 {
		q("sensor to webhook", r.Webhook)
		fmt.Fprintf(w, "spikes without a webhook\t%d of %d\n", r.Unseen, r.Scenario.Spikes)
	}
	if f := r.Flood; f != nil {
		q("nine tenants alone", f.Alone)
		q("nine tenants, flooded", f.Flooded)
		q("the greedy tenant", f.Greedy)
		fmt.Fprintf(w, "the greedy tenant\t%.0f points/s, %.0f refused/s; p99 of the nine changed by %+.0f %%, against its keeping to its plan by %+.0f %%\n",
			f.GreedyPoints, f.GreedyRefused, 100*f.Change, 100*f.OfRefusing)
	}
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
	list("log, messages/s", "%.0f", r.LogMessages)
	fmt.Fprintf(w, "Postgres, bytes/point\t%.1f\n", r.RowBytes)
	fmt.Fprintf(w, "archive, bytes/point\t%.1f\n", r.ArchiveBytes)
	list("not sealed, samples", "%.0f", floats(r.Unsealed))
	for _, line := range r.Warnings {
		fmt.Fprintf(w, "warning\t%s\n", line)
	}
	list("resident, MB", "%.0f", r.RSS)
	for _, m := range r.Watched {
		fmt.Fprintf(w, "after %.0f s\t%d points, logs %.0f MB, not archived %d roots, not projected %d roots\n", m.AtSeconds, m.Points, m.LogMB, m.ArchiveRoots, m.ProjectRoots)
		list("  resident, MB", "%.0f", m.RSS)
	}
	_ = w.Flush() // a terminal that went away has nobody to tell
}

func floats(m map[string]int64) map[string]float64 {
	out := map[string]float64{}
	for k, v := range m {
		out[k] = float64(v)
	}
	return out
}
