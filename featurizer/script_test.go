package featurizer

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write the outputs of testdata scripts anew")

// TestScripts runs testdata/*.txt: blocks of input, a line ----, the expected
// output, blocks separated by an empty line. Input lines:
//
//	window 10s max 32     start anew
//	SECONDS VALUE         a point: its result; at an evaluation instant the hop and the vector
//	FROM..TO/STEP VALUE   a regular series of points, printed as their count per result
//	tick SECONDS          the vector as of then
//	restart               through the state's bytes
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := &script{w: NewWindow(Config{})}
			var out []string
			for _, block := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
				input, want, _ := strings.Cut(block, "\n----")
				want = strings.TrimSpace(want)
				got := s.run(t, input)
				if got != want && !*rewrite {
					t.Errorf("%s\n---- got\n%s\n---- want\n%s", input, got, want)
				}
				out = append(out, input+"\n----\n"+got)
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(strings.Join(out, "\n\n")+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

type script struct {
	w   *Window
	hop Hop
}

func (s *script) run(t *testing.T, input string) string {
	var out []string
	for line := range strings.Lines(input) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || strings.HasPrefix(line, "#"):
		case f[0] == "window":
			width, err := time.ParseDuration(f[1])
			most, err2 := strconv.Atoi(f[3])
			if err != nil || err2 != nil {
				t.Fatal(line)
			}
			s.w, s.hop = NewWindow(Config{Window: width, MaxSamples: most}), Hop{}
		case f[0] == "tick":
			out = append(out, s.vector(micros(t, f[1])))
		case f[0] == "restart":
			state, hop := s.w.AppendState(nil), s.hop.AppendState(nil)
			s.w, s.hop = NewWindow(s.w.cfg), Hop{}
			if err := s.w.DecodeState(state); err != nil {
				t.Fatal(err)
			}
			if err := s.hop.DecodeState(hop); err != nil {
				t.Fatal(err)
			}
		case strings.Contains(f[0], ".."):
			out = append(out, s.series(t, f))
		default:
			out = append(out, s.point(micros(t, f[0]), number(t, f[1])))
		}
	}
	return strings.Join(out, "\n")
}

func (s *script) point(ts int64, v float64) string {
	r := s.w.Add(ts, v)
	line := fmt.Sprintf("%v %v %v", seconds(ts), v, r)
	if r > Late || !s.hop.Point(time.Second, 0, s.w.Step(), ts, v, r == Late) {
		return line
	}
	return fmt.Sprintf("%s: hop of %d mean %.6g in [%v, %v]; %s", line, s.hop.Count(), s.hop.Mean(), s.hop.Min(), s.hop.Max(), s.vector(ts))
}

func (s *script) series(t *testing.T, f []string) string {
	from, rest, _ := strings.Cut(f[0], "..")
	to, step, _ := strings.Cut(rest, "/")
	var results [Unusable + 1]int
	instants := 0
	for ts := micros(t, from); ts <= micros(t, to); ts += micros(t, step) {
		v := number(t, f[1])
		r := s.w.Add(ts, v)
		results[r]++
		if r <= Late && s.hop.Point(time.Second, 0, s.w.Step(), ts, v, r == Late) {
			instants++
		}
	}
	line := f[0]
	for r, n := range results {
		if n > 0 {
			line += fmt.Sprintf(" %d %v", n, AddResult(r))
		}
	}
	return fmt.Sprintf("%s, %d instants", line, instants)
}

func (s *script) vector(at int64) string {
	var v Vector
	s.w.Evaluate(at, &v)
	line := fmt.Sprintf("(%v, %v] n=%d step=%v", seconds(v.WindowStart), seconds(v.WindowEnd), v.Count, v.Step)
	if v.Bucketed {
		line += " bucketed"
	}
	for _, f := range Features {
		line += fmt.Sprintf(" %s=%.6g", f.Name, f.Of(&v))
	}
	return line
}

func seconds(ts int64) float64 { return float64(ts) / 1e6 }

func number(t *testing.T, s string) float64 {
	x, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func micros(t *testing.T, s string) int64 { return int64(number(t, s) * 1e6) }
