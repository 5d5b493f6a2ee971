package scorer

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/scorer/internal/splitmix"
)

// TestQualityCorpus scores every CSV under EDGEPULSE_QUALITY_DATA (columns
// timestamp, value) and writes timestamp,value,anomaly_score,alarm_score to the
// same relative paths under EDGEPULSE_QUALITY_OUT, for tools that judge labelled
// corpora:
//
//	EDGEPULSE_QUALITY_DATA=... EDGEPULSE_QUALITY_OUT=... go test -run TestQualityCorpus -v ./scorer
//
// Without the two variables it scores a small corpus of its own.
func TestQualityCorpus(t *testing.T) {
	data, out := os.Getenv("EDGEPULSE_QUALITY_DATA"), os.Getenv("EDGEPULSE_QUALITY_OUT")
	if data == "" || out == "" {
		data, out = syntheticCorpus(t), t.TempDir()
	}
	var rows, stateMost int
	var spent time.Duration
	var early, settled tally
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
		stateMost = max(stateMost, len(m.AppendState(nil)))
		for i, v := range verdicts {
			switch inside := v.Lower <= v.Value && v.Value <= v.Upper; {
			case i >= 60 && i < 300:
				early.add(v.Severity >= Warning && v.RawAlarm > 0, inside)
			case i >= trustedRows:
				settled.add(v.Severity >= Warning && v.RawAlarm > 0, inside)
			}
		}
		return writeScores(filepath.Join(out, rel), &s, verdicts)
	})
	if err != nil {
		t.Fatal(err)
	}
	if rows == 0 {
		t.Fatalf("no rows under %s", data)
	}
	if settled.inside < settled.rows*9/10 {
		t.Errorf("rows from %d: %v", trustedRows, settled)
	}
	if stateMost > maxStateBytes {
		t.Errorf("%d state bytes, budget %d", stateMost, maxStateBytes)
	}
	t.Logf("%d rows, %.0f ns a row with features, at most %d state bytes", rows, float64(spent.Nanoseconds())/float64(rows), stateMost)
	t.Logf("rows 60-300: %v; rows from %d: %v", early, trustedRows, settled)
}

// syntheticCorpus writes two noisy daily waves, one with a repeated timestamp.
func syntheticCorpus(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for seed := range uint64(2) {
		rng := splitmix.Source{State: seed}
		var b strings.Builder
		b.WriteString("timestamp,value\n")
		for i := range 2000 {
			at := time.Unix(1_700_000_000+int64(i)*300, 0).UTC()
			line := fmt.Sprintf("%s,%g\n", at.Format(time.RFC3339), 10+3*math.Sin(float64(i)*2*math.Pi/288)+gauss(&rng))
			b.WriteString(line)
			if seed == 1 && i == 999 {
				b.WriteString(line)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("wave%d.csv", seed)), []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// tally counts warnings and rows inside the band.
type tally struct{ rows, alarms, inside int }

func (c *tally) add(alarm, inside bool) {
	c.rows++
	if alarm {
		c.alarms++
	}
	if inside {
		c.inside++
	}
}

func (c tally) String() string {
	n := float64(max(c.rows, 1))
	return fmt.Sprintf("%.4f warned, %.4f inside the band", float64(c.alarms)/n, float64(c.inside)/n)
}

const maxStateBytes = 20 << 10

// qualitySeed is EDGEPULSE_QUALITY_SEED or 1: figures move by a point or two
// with the seed of the reservoirs, so a change is judged over several.
func qualitySeed() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("EDGEPULSE_QUALITY_SEED"), 10, 64); err == nil {
		return n
	}
	return 1
}

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
	m := NewModel(qualitySeed())
	out := make([]Verdict, len(s.ts))
	var w featureWindow
	for i, ts := range s.ts {
		if i > 0 && ts == s.ts[i-1] {
			out[i] = out[i-1]
			continue
		}
		m.Observe(Observation{TS: ts, Value: s.value[i], Extreme: s.value[i], Features: w.features(ts, s.value[i])}, &out[i])
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

// featureWindow computes rolling features over the last twelve rows, the window
// of a slow metric, in the plainest way.
type featureWindow struct {
	x   []float64
	ts  []int64
	f   [FeatureCount]float64
	run int
}

func (w *featureWindow) features(ts int64, x float64) []float64 {
	if n := len(w.x); n > 0 && w.x[n-1] == x {
		w.run++
	} else {
		w.run = 1
	}
	w.x, w.ts = append(w.x, x), append(w.ts, ts)
	if len(w.x) > 12 {
		w.x, w.ts = w.x[1:], w.ts[1:]
	}
	n := float64(len(w.x))
	var mean, std, mt, stt, stx float64
	for i, v := range w.x {
		mean += v / n
		mt += float64(w.ts[i]-ts) / 1e6 / n
	}
	sorted := slices.Sorted(slices.Values(w.x))
	median := sorted[len(sorted)/2]
	dev := make([]float64, len(w.x))
	for i, v := range w.x {
		std += (v - mean) * (v - mean) / n
		t := float64(w.ts[i]-ts)/1e6 - mt
		stt += t * t
		stx += t * (v - mean)
		dev[i] = abs(v - median)
	}
	slices.Sort(dev)
	lo, hi := sorted[0], sorted[len(sorted)-1]
	slope := 0.0
	if stt > 0 {
		slope = stx / stt
	}
	w.f = [...]float64{mean, sqrt(std), median, dev[len(dev)/2], lo, hi, hi - lo, slope, 0, float64(w.run), x, 0}
	return w.f[:]
}
