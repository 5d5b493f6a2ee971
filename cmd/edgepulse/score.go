package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/edgepulse/edgepulse/featurizer"
	"github.com/edgepulse/edgepulse/internal/app"
	"github.com/edgepulse/edgepulse/internal/importer"
	"github.com/edgepulse/edgepulse/internal/plot"
	"github.com/edgepulse/edgepulse/schemas"
)

type scoreCmd struct {
	Path            string     `arg:"" help:"CSV file, or a folder of them." type:"existingpath"`
	Out             string     `help:"Folder for the scored files; the same relative paths." required:"" type:"path" placeholder:"DIR"`
	Plot            string     `help:"Also draw value, band and anomalies of one file: a name that ends in .svg or .png." type:"path" placeholder:"FILE"`
	MetricID        string     `help:"Metric id that a running service gave the series; default derived from the relative path." placeholder:"UUID"`
	TimestampColumn string     `help:"Name of the timestamp column; default found by its name." placeholder:"NAME"`
	ValueColumn     string     `help:"Name of the value column; default found by its name." placeholder:"NAME"`
	Window          app.Window `embed:""`
}

func (scoreCmd) Help() string {
	return `Scores files without any server, through the very folds of the service: same rows, same scores.
Writes timestamp,value,anomaly_score,alarm_score,label,severity,expected,lower,upper per row.

Examples:
  edgepulse score ./csv --out ./scored
  edgepulse score taxi.csv --out ./scored --plot taxi.svg`
}

func (c *scoreCmd) Run(ctx context.Context) error {
	root, files, err := app.CSVFiles(c.Path)
	if err != nil {
		return err
	}
	o := app.ScoreOptions{CSV: importer.Options{TimestampColumn: c.TimestampColumn, ValueColumn: c.ValueColumn},
		Window: featurizer.Config{Window: time.Duration(c.Window.Seconds) * time.Second, Hop: c.Window.Hop}}
	if c.MetricID != "" {
		if len(files) != 1 {
			return fmt.Errorf("--metric-id names one series, but %s holds %d files", c.Path, len(files))
		}
		if o.MetricID, err = schemas.ParseID(c.MetricID); err != nil {
			return fmt.Errorf("--metric-id: %w", err)
		}
	}
	if c.Plot != "" && len(files) != 1 {
		return fmt.Errorf("--plot draws one series, but %s holds %d files: name one of them, e.g. `edgepulse score %s --out %s --plot %s`",
			c.Path, len(files), filepath.Join(c.Path, files[0]), c.Out, c.Plot)
	}
	p := newProgress("files", len(files))
	var sums []app.FileSummary
	for i, rel := range files {
		sum, err := c.file(ctx, root, rel, o)
		if err != nil {
			return err
		}
		if c.Plot != "" {
			if err := drawScored(c.Plot, filepath.Join(root, rel), sum); err != nil {
				return err
			}
		}
		sum.Rowed = nil
		sums = append(sums, sum)
		p.set(i + 1)
	}
	p.end()
	return printSummaries(sums, c.Out)
}

func (c *scoreCmd) file(ctx context.Context, root, rel string, o app.ScoreOptions) (app.FileSummary, error) {
	path := filepath.Join(c.Out, rel)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return app.FileSummary{}, fmt.Errorf("make folder: %w", err)
	}
	f, err := os.Create(path)
	if err != nil {
		return app.FileSummary{}, fmt.Errorf("make file: %w", err)
	}
	sum, err := app.ScoreFile(ctx, root, rel, o, f)
	if cerr := f.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("write %s: %w", path, cerr)
	}
	return sum, err
}

// drawScored draws the rows of a scored file.
func drawScored(path, file string, sum app.FileSummary) error {
	s := plot.Series{Title: strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))}
	if dir := filepath.Base(filepath.Dir(file)); dir != "." && dir != string(filepath.Separator) {
		s.Title = dir + "/" + s.Title // simulate writes DEVICE/METRIC.csv
	}
	var last *schemas.Score
	for _, r := range sum.Rowed {
		pt := plot.Point{T: time.UnixMicro(r.TS).UTC(), Value: r.Value, Lower: math.NaN(), Upper: math.NaN()}
		// A row between two evaluations repeats the score of the one before.
		if r.Score != nil && r.Score != last && r.Score.WarmUp != schemas.WarmUp_WARM_UP_WARMING {
			pt.Lower, pt.Upper = r.Score.Lower, r.Score.Upper
			pt.Severity, pt.Label = int(r.Score.Severity), r.Score.Label.Word()
		}
		last = r.Score
		s.Points = append(s.Points, pt)
	}
	slices.SortStableFunc(s.Points, func(a, b plot.Point) int { return a.T.Compare(b.T) })
	return plot.Write(path, s)
}

func printSummaries(sums []app.FileSummary, out string) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "FILE\tROWS\tANOMALIES\tLABELS\tHIGHEST ALARM\tAT")
	for _, s := range sums {
		var labels []string
		for l := schemas.Label(0); l <= schemas.Label_LABEL_STUCK; l++ {
			if n := s.Labels[l]; n > 0 {
				labels = append(labels, fmt.Sprintf("%s %d", l.Word(), n))
			}
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%.3f\t%s\n", s.Path, s.Rows, s.Anomalies, strings.Join(labels, ", "), s.MaxAlarm, s.MaxAt)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	fmt.Printf("scored files are in %s\n", out)
	return nil
}
