package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/edgepulse/edgepulse/internal/importer"
)

type importCmd struct {
	remote
	File            string        `arg:"" help:"CSV file with a timestamp and a value column." type:"existingfile"`
	Device          string        `help:"Device the series belongs to; default the file's name." placeholder:"NAME"`
	Metric          string        `help:"Metric name." default:"value" placeholder:"NAME"`
	Unit            string        `help:"Unit of the values." placeholder:"UNIT"`
	TimestampColumn string        `help:"Name of the timestamp column; default found by its name." placeholder:"NAME"`
	ValueColumn     string        `help:"Name of the value column; default found by its name." placeholder:"NAME"`
	Timezone        string        `help:"Zone of timestamps without an offset." default:"UTC" placeholder:"IANA"`
	Wait            time.Duration `help:"How long to wait for the receipts; 0 = do not wait." default:"2m"`
}

func (importCmd) Help() string {
	return `Sends the rows through the public API in order, marked as backfill: they are scored, but nobody is notified
and no silence is judged by them. Importing the same file again changes nothing.

Example:
  edgepulse import nyc_taxi.csv --device nyc --metric taxi_passengers`
}

func (c *importCmd) Run(ctx context.Context) error {
	loc, err := time.LoadLocation(c.Timezone)
	if err != nil {
		return fmt.Errorf("--timezone %q is not an IANA zone, expected something like Europe/Berlin", c.Timezone)
	}
	api, err := c.client()
	if err != nil {
		return err
	}
	if c.Device == "" {
		c.Device = strings.TrimSuffix(filepath.Base(c.File), filepath.Ext(c.File))
	}
	size := int64(0)
	if st, err := os.Stat(c.File); err == nil {
		size = st.Size()
	}
	p := newProgress("rows", estimateRows(c.File, size))
	sum, err := importer.Send(ctx, api, c.File, importer.Options{TimestampColumn: c.TimestampColumn, ValueColumn: c.ValueColumn, Location: loc},
		importer.Target{Device: c.Device, Metric: c.Metric, Unit: c.Unit}, p.set)
	p.end()
	if err != nil {
		return err
	}
	if c.Wait > 0 {
		wctx, cancel := context.WithTimeout(ctx, c.Wait)
		defer cancel()
		if err := sum.Wait(wctx, api, nil); err != nil {
			return err
		}
	}
	fmt.Printf("%s: %d rows in %d batches, %s to %s\n", filepath.Base(c.File), sum.Rows, sum.Batches,
		sum.First.Format(time.DateTime), sum.Last.Format(time.DateTime))
	fmt.Printf("  accepted %d, duplicate %d, conflicting %d, late %d, rejected %d\n", sum.Accepted, sum.Duplicate, sum.Conflicting, sum.Late, sum.Rejected)
	if sum.Repeated > 0 {
		fmt.Printf("  %d of %d batches had been imported before\n", sum.Repeated, sum.Batches)
	}
	for i, r := range sum.Rejections {
		if i == 5 {
			fmt.Printf("  … and %d more\n", len(sum.Rejections)-5)
			break
		}
		fmt.Printf("  %s: %s\n", r.Pointer, r.Code)
	}
	fmt.Printf("next: curl -H \"X-API-Key: $EDGEPULSE_API_KEY\" \"$EDGEPULSE_URL/v1/metrics?device_external_id=%s\"\n", c.Device)
	return nil
}

// estimateRows guesses the rows of a file from its first 64 KiB.
func estimateRows(path string, size int64) int {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	head := make([]byte, 64<<10)
	n, _ := f.Read(head)
	lines := strings.Count(string(head[:n]), "\n")
	if n == 0 || lines == 0 {
		return 0
	}
	return int(size * int64(lines) / int64(n))
}
