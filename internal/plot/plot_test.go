package plot

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func series(n int) Series {
	s := Series{Title: "pump/flow", Unit: "m3/h"}
	start := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	for i := range n {
		v := 20 + 5*math.Sin(float64(i)/200)
		pt := Point{T: start.Add(time.Duration(i) * time.Second), Value: v, Lower: v - 1, Upper: v + 1}
		if i < 50 {
			pt.Lower, pt.Upper = math.NaN(), math.NaN()
		}
		if i == n/2 {
			pt.Value, pt.Severity, pt.Label = 40, 3, "spike"
		}
		s.Points = append(s.Points, pt)
	}
	return s
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.svg", "a.png", "A.SVG"} {
		path := filepath.Join(dir, name)
		if err := Write(path, series(3000)); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.EqualFold(filepath.Ext(name), ".svg") {
			for _, want := range []string{"pump/flow", "spike", "critical", "99 % band", "00:10", "m3/h"} {
				if !bytes.Contains(b, []byte(want)) {
					t.Errorf("%s does not show %q", name, want)
				}
			}
		}
		if len(b) > 250_000 {
			t.Errorf("%s has %d bytes", name, len(b))
		}
	}
	if err := Write(filepath.Join(dir, "a.gif"), series(10)); err == nil {
		t.Error("gif was accepted")
	}
	if err := Write(filepath.Join(dir, "a.svg"), series(1)); err == nil {
		t.Error("one row has no curve, and nobody said so")
	}
	flat := series(100)
	for i := range flat.Points {
		flat.Points[i].Value = 7
	}
	if err := Write(filepath.Join(dir, "flat.svg"), flat); err != nil {
		t.Error(err)
	}
}

// However long the series, its extremes stay in the picture.
func TestThinKeepsExtremes(t *testing.T) {
	s := series(100_000)
	out := thin(s.Points)
	if len(out) > 2*(columns+1) {
		t.Errorf("%d points for %d columns", len(out), columns)
	}
	if top(out) != 40 {
		t.Errorf("the spike is gone: %g", top(out))
	}
}

func TestTicks(t *testing.T) {
	for _, span := range []float64{5, 90, 3600, 86400, 30 * 86400, 3 * 365 * 86400} {
		ticks := timeTicks{}.Ticks(1.79e9, 1.79e9+span)
		if len(ticks) < 2 || len(ticks) > 11 {
			t.Errorf("%g s: %d ticks", span, len(ticks))
		}
		for i := 1; i < len(ticks); i++ {
			if ticks[i].Label == ticks[i-1].Label {
				t.Errorf("%g s: %q twice", span, ticks[i].Label)
			}
		}
	}
	for _, k := range (valueTicks{}).Ticks(-3, 3) {
		if k.Label == "-0" {
			t.Error("-0")
		}
	}
}
