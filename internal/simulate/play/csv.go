package play

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/edgepulse/edgepulse/internal/simulate"
)

// CSV writes the points before until below dir, one file per series:
// DEVICE/METRIC.csv with the columns timestamp and value.
func CSV(ctx context.Context, f *simulate.Fleet, until time.Time, dir string, progress func(points int)) (points, files int, err error) {
	w := &csvFiles{dir: dir, open: map[[2]string]*csvFile{}}
	defer func() { err = errors.Join(err, w.close()) }()
	for p := range f.Until(until) {
		if err := w.write(p); err != nil {
			return points, len(w.open), err
		}
		if points++; points%4096 == 0 {
			if progress != nil {
				progress(points)
			}
			if ctx.Err() != nil {
				return points, len(w.open), ctx.Err()
			}
		}
	}
	if progress != nil {
		progress(points)
	}
	return points, len(w.open), nil
}

type csvFiles struct {
	dir  string
	open map[[2]string]*csvFile
	line []byte
}

type csvFile struct {
	f *os.File
	w *bufio.Writer
}

func (c *csvFiles) write(p simulate.Point) error {
	key := [2]string{p.Device, p.Metric}
	file := c.open[key]
	if file == nil {
		path := filepath.Join(c.dir, p.Device, p.Metric+".csv")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
		f, err := os.Create(path)
		if err != nil {
			return fmt.Errorf("make file: %w", err)
		}
		file = &csvFile{f, bufio.NewWriter(f)}
		c.open[key] = file
		_, _ = file.w.WriteString("timestamp,value\n") // errors stick; Flush returns the first
	}
	c.line = time.UnixMicro(p.TS).UTC().AppendFormat(c.line[:0], "2006-01-02T15:04:05.999999Z")
	c.line = strconv.AppendFloat(append(c.line, ','), p.Value, 'g', -1, 64)
	_, err := file.w.Write(append(c.line, '\n'))
	return err
}

func (c *csvFiles) close() error {
	var errs []error
	for _, f := range c.open {
		errs = append(errs, f.w.Flush(), f.f.Close())
	}
	return errors.Join(errs...)
}
