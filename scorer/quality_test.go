package scorer

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestQualityCorpus scores every CSV under EDGEPULSE_QUALITY_DATA (columns
// timestamp, value) and writes timestamp,value,anomaly_score,alarm_score to the
// same relative paths under EDGEPULSE_QUALITY_OUT, for tools that judge labelled
// corpora. It asserts only what holds for any data; without the two variables
// there is nothing to do.
func TestQualityCorpus(t *testing.T) {
	data, out := os.Getenv("EDGEPULSE_QUALITY_DATA"), os.Getenv("EDGEPULSE_QUALITY_OUT")
	if data == "" || out == "" {
		t.Skip("set EDGEPULSE_QUALITY_DATA and EDGEPULSE_QUALITY_OUT to score a corpus")
	}
	var rows int
	var spent time.Duration
	err := filepath.WalkDir(data, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".csv" {
			return err
		}
		rel, err := filepath.Rel(data, path)
		if err != nil {
			return err
		}
		s := readSeries(t, path)
		begin := time.Now()
		verdicts, m := scoreSeries(&s)
		spent += time.Since(begin)
		rows += len(s.ts)
		if n := len(m.AppendState(nil)); n > maxStateBytes {
			t.Errorf("%s: %d state bytes", rel, n)
		}
		return writeScores(filepath.Join(out, rel), &s, verdicts)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rows, %.0f ns a row", rows, float64(spent.Nanoseconds())/float64(rows))
}

const maxStateBytes = 20 << 10

type series struct {
	stamp []string
	ts    []int64
	value []float64
}

func readSeries(t *testing.T, path string) series {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var s series
	sc := bufio.NewScanner(file)
	for sc.Scan() {
		f := strings.Split(sc.Text(), ",")
		layout := "2006-01-02 15:04:05"
		if strings.Contains(f[0], "T") {
			layout = time.RFC3339
		}
		at, err := time.Parse(layout, f[0])
		if err != nil {
			continue // the header
		}
		v, err := strconv.ParseFloat(f[1], 64)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		s.stamp, s.ts, s.value = append(s.stamp, f[0]), append(s.ts, at.UnixMicro()), append(s.value, v)
	}
	return s
}

// scoreSeries runs a fresh model over the series; a repeated timestamp is a
// duplicate and keeps the verdict of the first.
func scoreSeries(s *series) ([]Verdict, *Model) {
	m := NewModel(1)
	out := make([]Verdict, len(s.ts))
	for i, ts := range s.ts {
		if i > 0 && ts == s.ts[i-1] {
			out[i] = out[i-1]
			continue
		}
		m.Observe(Observation{TS: ts, Value: s.value[i], Extreme: s.value[i]}, &out[i])
	}
	return out, m
}

func writeScores(path string, s *series, verdicts []Verdict) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("timestamp,value,anomaly_score,alarm_score\n")
	for i, v := range verdicts {
		fmt.Fprintf(&b, "%s,%g,%.12g,%.12g\n", s.stamp[i], s.value[i], v.Score, v.Alarm)
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
