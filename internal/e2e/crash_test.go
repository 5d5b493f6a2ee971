//go:build unix

package e2e

import (
	"context"
	"errors"
	"flag"
	"os"
	"testing"
	"time"
)

var (
	proveFlag   = flag.Bool("prove", false, "run the long form of the proof")
	mutantsFlag = flag.Bool("mutants", false, "also run the proof with each rule switched off, and require that it fails")
	raceFlag    = flag.Bool("race-build", false, "build the processes with the race detector")
	seedFlag    = flag.Uint64("seed", 1, "of everything random in the test")
	killsFlag   = flag.Int("kills", 60, "SIGKILLs of stages and gateway")
	stopsFlag   = flag.Int("stops", 40, "SIGSTOP/SIGCONT of stages")
	brokerFlag  = flag.Int("broker-kills", 5, "SIGKILLs of the broker")
	pointsFlag  = flag.Int("points", 200_000, "points to be acknowledged")
	keepFlag    = flag.String("keep", "", "folder that keeps the files of a run, for looking at it afterwards")
)

var binDir string // of the binary that all tests share

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if binDir, err = os.MkdirTemp("", "epb"); err != nil {
		panic(err)
	}
	code := m.Run()
	stopPostgres()
	_ = os.RemoveAll(binDir)
	os.Exit(code)
}

// begin starts a world for a test; without PostgreSQL there is nothing to prove.
func begin(t *testing.T, ctx context.Context, d dose) *world {
	t.Helper()
	w, err := newWorld(ctx, t.TempDir(), d, t.Logf)
	if errors.Is(err, errNoPostgres) && os.Getenv("EDGEPULSE_TEST_STRICT") != "1" {
		t.Skipf("no PostgreSQL to test with: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	return w
}

// check fails the test with the ends of all logs.
func check(t *testing.T, w *world, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v\n%s", err, w.tails())
	}
}

// equivalence torments a world and compares it with the recomputation.
func (w *world) equivalence(ctx context.Context, truths *[partitions]*truth) error {
	start := time.Now()
	watch, end := w.watched(ctx)
	n, err := w.run(watch)
	loaded := time.Since(start)
	if err == nil {
		err = w.drained(watch)
	}
	end()
	w.say("seed %d, %d owners, lost acknowledgements %.0f %%: %s; load %s, drained after %s", w.seed, w.owners, 100*w.lostAcks, n,
		loaded.Round(time.Second), time.Since(start).Round(time.Second))
	if err != nil {
		return err
	}
	f, err := w.verify(ctx, truths, false)
	if err == nil {
		w.say("%s; compared after %s", f, time.Since(start).Round(time.Second))
	}
	return err
}

// TestCrashEquivalence is the short form: every kind of fault, few of each.
func TestCrashEquivalence(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	w := begin(t, ctx, dose{seed: *seedFlag, owners: 2, points: 20_000, devices: 12, kills: 6, stops: 4, brokerKills: 1, lostAcks: 0.25, stall: 40 * time.Second})
	var truths [partitions]*truth
	check(t, w, w.equivalence(ctx, &truths))
}

func TestCalm(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	w := begin(t, ctx, dose{seed: *seedFlag, owners: 1, points: 20_000, devices: 12, stall: 40 * time.Second})
	var truths [partitions]*truth
	check(t, w, w.equivalence(ctx, &truths))
}
