package scorer

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/edgepulse/edgepulse/scorer/internal/splitmix"
)

// TestLabelScripts runs testdata/labels/*.txt. A script is one metric: lines of
//
//	seed N        noise of the metric (default 1)
//	step S        seconds between rows (default 300)
//	wave A        amplitude of a daily wave
//	quantum Q     values are rounded to multiples of Q
//	rows N        N ordinary rows: 20 + wave + unit noise
//	add N V       N rows moved by V
//	ramp N V      N rows moved by 0 .. V
//	scatter N F   N rows with F times the noise
//	same N        N rows repeating the last value
//	gap S         S seconds without rows
//	silent S      the verdict for S seconds of silence
//	watch         print from here on
//
// then "----", then what is printed: each change of label, sub-label or severity
// as "row label/sub severity revised", and silences with their explanation.
// Rows count from 0. EDGEPULSE_UPDATE_SCRIPTS=1 rewrites the outputs.
func TestLabelScripts(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("testdata", "labels", "*.txt"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			input, want, found := strings.Cut(string(raw), "----\n")
			if !found {
				t.Fatal("no ---- line")
			}
			got := runScript(t, input)
			if got == want {
				return
			}
			if os.Getenv("EDGEPULSE_UPDATE_SCRIPTS") == "1" {
				if err := os.WriteFile(path, []byte(input+"----\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			t.Errorf("got:\n%swant:\n%s", got, want)
		})
	}
}

// script is the metric a script describes.
type script struct {
	m       *Model
	rng     splitmix.Source
	ts      int64
	step    float64
	wave    float64
	quantum float64
	last    float64
	row     int
	watch   bool
	state   string
	out     strings.Builder
}

func runScript(t *testing.T, input string) string {
	s := &script{m: NewModel(1), step: 300, rng: splitmix.Source{State: 1}, ts: 1_700_000_000_000_000}
	for sc := bufio.NewScanner(strings.NewReader(input)); sc.Scan(); {
		word := strings.Fields(sc.Text())
		if len(word) == 0 || word[0] == "#" {
			continue
		}
		var arg [2]float64
		for i := range word[1:] {
			v, err := strconv.ParseFloat(word[i+1], 64)
			if err != nil {
				t.Fatalf("%s: %v", sc.Text(), err)
			}
			arg[i] = v
		}
		if !s.command(word[0], arg) {
			t.Fatalf("unknown command %q", sc.Text())
		}
	}
	return s.out.String()
}

func (s *script) command(word string, arg [2]float64) bool {
	n := int(arg[0])
	switch word {
	case "seed":
		s.rng.State = uint64(n)
	case "step":
		s.step = arg[0]
	case "wave":
		s.wave = arg[0]
	case "quantum":
		s.quantum = arg[0]
	case "watch":
		s.watch = true
	case "gap":
		s.ts += int64(arg[0] * 1e6)
	case "rows":
		s.rows(n, func(int) (float64, float64) { return 0, 1 })
	case "add":
		s.rows(n, func(int) (float64, float64) { return arg[1], 1 })
	case "ramp":
		s.rows(n, func(i int) (float64, float64) { return arg[1] * float64(i+1) / float64(n), 1 })
	case "scatter":
		s.rows(n, func(int) (float64, float64) { return 0, arg[1] })
	case "same":
		for range n {
			s.observe(s.last)
		}
	case "silent":
		var v Verdict
		last := s.ts - int64(s.step*1e6)
		s.m.Silence(last+int64(arg[0]*1e6), last, &v)
		fmt.Fprintf(&s.out, "silent %s %s: %s\n", v.Label, v.Severity, v.Explain())
	default:
		return false
	}
	return true
}

func (s *script) rows(n int, shape func(i int) (shift, noise float64)) {
	for i := range n {
		shift, noise := shape(i)
		day := 2 * math.Pi * float64(s.ts%dayMicros) / float64(dayMicros)
		x := 20 + s.wave*math.Sin(day) + noise*gauss(&s.rng) + shift
		if s.quantum > 0 {
			x = s.quantum * math.Round(x/s.quantum)
		}
		s.observe(x)
	}
}

func (s *script) observe(x float64) {
	var v Verdict
	s.m.Observe(Observation{TS: s.ts, Value: x, Extreme: x}, &v)
	state := fmt.Sprintf("%s/%s", v.Label, v.SubLabel)
	if s.watch && (state != s.state || v.Severity != NoSeverity) {
		fmt.Fprintf(&s.out, "%d %s %s", s.row, state, v.Severity)
		if v.Revised {
			s.out.WriteString(" revised")
		}
		if v.Severity != NoSeverity {
			fmt.Fprintf(&s.out, ": %s", v.Explain())
		}
		s.out.WriteString("\n")
	}
	s.state, s.last = state, x
	s.row++
	s.ts += int64(s.step * 1e6)
}
