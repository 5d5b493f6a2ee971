package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/edgepulse/edgepulse/featurizer"
	"github.com/edgepulse/edgepulse/internal/importer"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// offlineTenant names series that belong to no tenant: files scored without a server.
var offlineTenant = schemas.ID{'e', 'd', 'g', 'e', 'p', 'u', 'l', 's', 'e', ' ', 'f', 'i', 'l', 'e', 's', 0}

// ScoreOptions say how files are scored.
type ScoreOptions struct {
	CSV      importer.Options
	Window   featurizer.Config
	MetricID schemas.ID // of a single file; Nil = derived from its relative path
}

// ScoredRow is one row of the answer.
type ScoredRow struct {
	importer.Row
	Score *schemas.Score // of the last evaluation at or before the row; nil before the first
}

// FileSummary is what the table at the end shows of a file.
type FileSummary struct {
	Path      string
	Rows      int
	Anomalies int
	Labels    map[schemas.Label]int
	MaxAlarm  float64
	MaxAt     string
	Rowed     []ScoredRow // only when asked for
}

// FileMetricID derives the metric of a file from its relative path.
func FileMetricID(rel string) schemas.ID {
	return schemas.MetricID(schemas.DeviceID(offlineTenant, filepath.ToSlash(rel)), "value")
}

// CSVFiles lists the CSV files at or below path, relative to it.
func CSVFiles(path string) (root string, files []string, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", nil, fmt.Errorf("open %s: %w", path, err)
	}
	if !st.IsDir() {
		return filepath.Dir(path), []string{filepath.Base(path)}, nil
	}
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && strings.EqualFold(filepath.Ext(p), ".csv") {
			rel, err := filepath.Rel(path, p)
			if err != nil {
				return err
			}
			files = append(files, rel)
		}
		return nil
	})
	if err == nil && len(files) == 0 {
		err = errors.New("no .csv file in it")
	}
	if err != nil {
		return "", nil, fmt.Errorf("look into %s: %w", path, err)
	}
	slices.Sort(files)
	return path, files, nil
}

// ScoreFile sends one file through the folds of the service and writes a row per row.
func ScoreFile(ctx context.Context, root, rel string, o ScoreOptions, w io.Writer) (FileSummary, error) {
	f, err := os.Open(filepath.Join(root, rel))
	if err != nil {
		return FileSummary{}, fmt.Errorf("open file: %w", err)
	}
	defer f.Close()
	var rows []importer.Row
	if err := importer.Read(f, o.CSV, func(r importer.Row) error { rows = append(rows, r); return ctx.Err() }); err != nil {
		return FileSummary{}, fmt.Errorf("score %s: %w", rel, err)
	}
	id := o.MetricID
	if id == schemas.Nil {
		id = FileMetricID(rel)
	}
	scored, err := ScoreRows(rows, rel, id, o.Window)
	if err != nil {
		return FileSummary{}, fmt.Errorf("score %s: %w", rel, err)
	}
	if err := writeScored(w, scored); err != nil {
		return FileSummary{}, fmt.Errorf("write scores of %s: %w", rel, err)
	}
	return summarise(rel, scored), nil
}

// ScoreRows runs rows through normaliser, featurizer and scorer.
func ScoreRows(rows []importer.Row, device string, id schemas.ID, cfg featurizer.Config) ([]ScoredRow, error) {
	p := NewPipeline(cfg)
	p.rename = map[schemas.ID]schemas.ID{schemas.MetricID(schemas.DeviceID(offlineTenant, device), "value"): id}
	byTS := map[int64]*schemas.Score{}
	p.Each = func(log stream.LogName, _ uint64, entry []byte) error {
		if log != stream.Scores || schemas.KindOf(entry) != schemas.KindScore {
			return nil
		}
		e := &schemas.Entry{}
		if err := e.UnmarshalVT(entry); err != nil {
			return fmt.Errorf("decode score: %w", err)
		}
		byTS[e.GetScore().Ts] = e.GetScore()
		return nil
	}
	const chunk = 2000
	for i := 0; i < len(rows); i += chunk {
		entry, err := fileEntry(device, rows[i:min(i+chunk, len(rows))])
		if err != nil {
			return nil, err
		}
		if err := p.Root(0, uint64(i/chunk+1), [][]byte{entry}); err != nil {
			return nil, err
		}
	}
	out := make([]ScoredRow, len(rows))
	var last *schemas.Score
	for i, r := range rows {
		if s := byTS[r.TS]; s != nil {
			last = s
		}
		out[i] = ScoredRow{Row: r, Score: last}
	}
	return out, nil
}

// fileEntry is the batch that an import of the rows would have put into INGEST.
func fileEntry(device string, rows []importer.Row) ([]byte, error) {
	body, err := importer.Body(importer.Target{Device: device, Metric: "value"}, rows)
	if err != nil {
		return nil, err
	}
	newest := rows[0].TS
	for _, r := range rows {
		newest = max(newest, r.TS)
	}
	e := &schemas.Entry{Kind: &schemas.Entry_Batch{Batch: &schemas.Batch{TenantId: offlineTenant[:], RequestId: "file",
		ReceivedAt: newest, Source: "file", Parts: 1, Backfill: true, Slices: []*schemas.DeviceSlice{{Json: body}}}}}
	b, err := e.MarshalVT()
	if err != nil {
		return nil, fmt.Errorf("encode rows: %w", err)
	}
	return b, nil
}

// ScoreHeader names the columns of a scored file.
const ScoreHeader = "timestamp,value,anomaly_score,alarm_score,label,severity,expected,lower,upper\n"

func writeScored(w io.Writer, rows []ScoredRow) error {
	b := bufio.NewWriter(w)
	_, _ = b.WriteString(ScoreHeader) // errors stick; Flush returns the first
	num := func(f float64) {
		_ = b.WriteByte(',')
		_, _ = b.Write(strconv.AppendFloat(b.AvailableBuffer(), f, 'g', -1, 64))
	}
	for _, r := range rows {
		_, _ = b.WriteString(r.Raw)
		num(r.Value)
		s := r.Score
		if s == nil {
			s = &schemas.Score{Expected: r.Value, Lower: r.Value, Upper: r.Value}
		}
		num(s.Score)
		num(s.AlarmScore)
		label := s.Label.Word()
		if s.Label == schemas.Label_LABEL_NONE {
			label = ""
		}
		fmt.Fprintf(b, ",%s,%s", label, s.Severity.Word())
		num(s.Expected)
		num(s.Lower)
		num(s.Upper)
		_ = b.WriteByte('\n')
	}
	return b.Flush()
}

func summarise(rel string, rows []ScoredRow) FileSummary {
	sum := FileSummary{Path: rel, Rows: len(rows), Labels: map[schemas.Label]int{}, Rowed: rows}
	var last *schemas.Score
	for _, r := range rows {
		if r.Score == nil || r.Score == last {
			continue
		}
		last = r.Score
		if last.Severity != schemas.Severity_SEVERITY_NONE {
			sum.Anomalies++
			sum.Labels[last.Label]++
		}
		if last.AlarmScore > sum.MaxAlarm {
			sum.MaxAlarm, sum.MaxAt = last.AlarmScore, r.Raw
		}
	}
	return sum
}
