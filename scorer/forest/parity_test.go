package forest

import (
	"bufio"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
)

// The reference numbers come from scikit-learn. The folder with them is not part
// of the repository; EDGEPULSE_PARITY_DIR names it, or it lies beside the clone.
// testdata/exact.json is a fixture of our own with the same layout (a tree small
// enough to walk by hand), so that the walk is held to something in every clone.
func parityDir(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("EDGEPULSE_PARITY_DIR"); dir != "" {
		return dir
	}
	dir := filepath.Join("..", "..", "..", "shared", "data", "parity")
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if os.Getenv("EDGEPULSE_TEST_STRICT") == "1" {
		t.Fatal("no parity folder: set EDGEPULSE_PARITY_DIR")
	}
	t.Skip("no parity folder: set EDGEPULSE_PARITY_DIR")
	return ""
}

type reference struct {
	C     map[string]float64 `json:"c_n"`
	Sets  map[string]setFigures
	Exact exactForest
}

type setFigures struct {
	Outliers int
	AUCMean  float64   `json:"auc_mean"`
	AUCSd    float64   `json:"auc_sd"`
	InMean   float64   `json:"inlier_score_mean"`
	InSd     float64   `json:"inlier_score_sd"`
	OutMean  float64   `json:"outlier_score_mean"`
	OutSd    float64   `json:"outlier_score_sd"`
	Probes   []int     `json:"probe_rows"`
	ProbeM   []float64 `json:"probe_mean"`
	ProbeSd  []float64 `json:"probe_sd"`
}

type exactForest struct {
	Psi   int
	Trees []struct {
		Left, Right, Feature []int
		Threshold            []float64
		N                    []int // rows that reached the node
	}
	Rows  [][]float64
	Score []float64
}

func readReference(t *testing.T, path string) reference {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var ref reference
	if err := json.Unmarshal(raw, &ref); err != nil {
		t.Fatal(err)
	}
	return ref
}

// load builds a forest from a reference's trees, node for node. The reference
// lists nodes in pre-order, as the store does.
func (e exactForest) load(t *testing.T) *Forest {
	t.Helper()
	f := &Forest{cols: len(e.Rows[0]), psi: e.Psi}
	for _, tree := range e.Trees {
		f.roots = append(f.roots, int32(len(f.nodes)))
		depth := make([]int, len(tree.Left))
		deepest := 0
		for i, left := range tree.Left {
			if left < 0 {
				f.nodes = append(f.nodes, leaf(i, depth[i], tree.N[i]))
				deepest = max(deepest, depth[i])
				continue
			}
			if left != i+1 {
				t.Fatalf("node %d: left child %d breaks pre-order", i, left)
			}
			depth[left], depth[tree.Right[i]] = depth[i]+1, depth[i]+1
			f.nodes = append(f.nodes, node{floor32(tree.Threshold[i]), uint16(tree.Right[i]), uint16(tree.Feature[i])})
		}
		f.depth = append(f.depth, uint8(deepest))
	}
	return f
}

func checkExact(t *testing.T, e exactForest) {
	t.Helper()
	f := e.load(t)
	var flat []float32
	for i, row := range e.Rows {
		narrow := make([]float32, len(row))
		for j, v := range row {
			narrow[j] = float32(v)
		}
		flat = append(flat, narrow...)
		if got := f.Score(narrow); math.Abs(got-e.Score[i]) > 1e-9 {
			t.Errorf("row %d: score %.12f, reference %.12f", i, got, e.Score[i])
		}
	}
	batch := make([]float64, len(e.Rows))
	f.ScoreBatch(flat, batch)
	for i, got := range batch {
		if want := f.Score(flat[i*f.cols : (i+1)*f.cols]); got != want {
			t.Errorf("row %d: batch %v, single %v", i, got, want)
		}
	}
}

func TestExactOwnFixture(t *testing.T) {
	checkExact(t, readReference(t, filepath.Join("testdata", "exact.json")).Exact)
}

func TestExactReference(t *testing.T) {
	checkExact(t, readReference(t, filepath.Join(parityDir(t), "iforest_fixture.json")).Exact)
}

func TestAveragePathOwnTable(t *testing.T) {
	checkAveragePath(t, filepath.Join("testdata", "exact.json"))
}

func TestAveragePathReference(t *testing.T) {
	checkAveragePath(t, filepath.Join(parityDir(t), "iforest_fixture.json"))
}

func checkAveragePath(t *testing.T, path string) {
	t.Helper()
	ref := readReference(t, path)
	if len(ref.C) == 0 {
		t.Fatalf("%s: no c(n) table", path)
	}
	for key, want := range ref.C {
		n, err := strconv.Atoi(key)
		if err != nil {
			t.Fatal(err)
		}
		if got := AveragePath(n); math.Abs(got-want) > 1e-12 {
			t.Errorf("c(%d) = %.15f, reference %.15f", n, got, want)
		}
	}
}

const parityRuns = 50

// TestStatisticalReference grows 50 forests per set and compares their means
// with scikit-learn's over 50 of its own: within three standard errors of the
// difference of two such means.
func TestStatisticalReference(t *testing.T) {
	dir := parityDir(t)
	ref := readReference(t, filepath.Join(dir, "iforest_fixture.json"))
	names := make([]string, 0, len(ref.Sets))
	for name := range ref.Sets {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			rows, cols, outlier := readCSV(t, filepath.Join(dir, name+".csv"))
			compareRuns(t, ref.Sets[name], rows, cols, outlier)
		})
	}
}

func compareRuns(t *testing.T, want setFigures, rows []float32, cols int, outlier []bool) {
	var auc, in, out []float64
	probes := make([][]float64, len(want.Probes))
	scores := make([]float64, len(outlier))
	var f Forest
	for run := range parityRuns {
		f.Fit(rows, cols, Params{}, uint64(run))
		f.ScoreBatch(rows, scores)
		a, i, o := figures(scores, outlier)
		auc, in, out = append(auc, a), append(in, i), append(out, o)
		for k, p := range want.Probes {
			probes[k] = append(probes[k], scores[p])
		}
	}
	check := func(what string, got []float64, mean, sd float64) {
		m, s := meanSd(got)
		if tol := 3*sd*math.Sqrt(2.0/parityRuns) + .001; math.Abs(m-mean) > tol {
			t.Errorf("%s: mean %.5f, reference %.5f, tolerance %.5f", what, m, mean, tol)
		}
		if s < .6*sd || s > 1.6*sd {
			t.Errorf("%s: sd %.5f, reference %.5f", what, s, sd)
		}
		t.Logf("%-14s %.5f +- %.5f, reference %.5f +- %.5f", what, m, s, mean, sd)
	}
	check("AUC", auc, want.AUCMean, want.AUCSd)
	check("inlier score", in, want.InMean, want.InSd)
	check("outlier score", out, want.OutMean, want.OutSd)
	for k, p := range want.Probes {
		check("probe "+strconv.Itoa(p), probes[k], want.ProbeM[k], want.ProbeSd[k])
	}
}

// readCSV reads rows of features with a trailing 0/1 outlier mark.
func readCSV(t *testing.T, path string) (rows []float32, cols int, outlier []bool) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for sc := bufio.NewScanner(file); sc.Scan(); {
		fields := strings.Split(sc.Text(), ",")
		cols = len(fields) - 1
		for _, s := range fields[:cols] {
			v, err := strconv.ParseFloat(s, 32)
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, float32(v))
		}
		outlier = append(outlier, fields[cols] == "1")
	}
	return rows, cols, outlier
}

// figures are the rank AUC and the mean scores of inliers and outliers.
func figures(scores []float64, outlier []bool) (auc, in, out float64) {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	sort.Slice(order, func(a, b int) bool { return scores[order[a]] < scores[order[b]] })
	var below, wins, nIn, nOut float64
	for lo := 0; lo < len(order); {
		hi, tiedIn, tiedOut := lo, 0., 0.
		for ; hi < len(order) && scores[order[hi]] == scores[order[lo]]; hi++ {
			if outlier[order[hi]] {
				tiedOut, out = tiedOut+1, out+scores[order[hi]]
			} else {
				tiedIn, in = tiedIn+1, in+scores[order[hi]]
			}
		}
		wins += tiedOut * (below + tiedIn/2)
		below += tiedIn
		nIn, nOut = nIn+tiedIn, nOut+tiedOut
		lo = hi
	}
	return wins / (nIn * nOut), in / nIn, out / nOut
}

func meanSd(v []float64) (mean, sd float64) {
	for _, x := range v {
		mean += x / float64(len(v))
	}
	for _, x := range v {
		sd += (x - mean) * (x - mean) / float64(len(v))
	}
	return mean, math.Sqrt(sd)
}
