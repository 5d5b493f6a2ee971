//go:build unix

package e2e

import (
	"context"
	"errors"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/stream"
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
	watch, end := w.watched(ctx, true)
	n, err := w.run(watch)
	loaded := time.Since(start)
	if err == nil {
		err = w.drained(watch)
	}
	end()
	w.say("seed %d, %d owners, %.0f %% of acknowledgements lost: %s; load %s, drained after %s", w.seed, w.owners, 100*w.lostAcks, n,
		loaded.Round(time.Second), time.Since(start).Round(time.Second))
	if err != nil {
		return err
	}
	f, err := w.verify(ctx, truths, complete)
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
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	defer cancel()
	w := begin(t, ctx, dose{seed: *seedFlag, owners: 2, points: 15_000, devices: 12, kills: 8, stops: 5, brokerKills: 1, lostAcks: 0.25, stall: 40 * time.Second})
	var truths [partitions]*truth
	check(t, w, w.equivalence(ctx, &truths))
	w.usageIsExact(t, ctx)
	check(t, w, w.rolledBack(ctx, stream.Points, 1, &truths))
	check(t, w, w.rebuiltWhileIdle(ctx, &truths))
	check(t, w, w.rederived(ctx, &truths))
	w.usageIsExact(t, ctx)
}

// TestProveCrash is the long form: go tool task prove:crash -- -seed 7 -mutants
func TestProveCrash(t *testing.T) {
	if !*proveFlag {
		return // a form of the test above: nothing goes unproved without it
	}
	ctx := t.Context()
	// The parts go on after each other's failures: each proves something else.
	t.Run("equivalence", func(t *testing.T) {
		w := begin(t, ctx, dose{seed: *seedFlag, owners: 2, points: *pointsFlag, devices: 48, kills: *killsFlag, stops: *stopsFlag,
			brokerKills: *brokerFlag, lostAcks: 0.25, stall: 60 * time.Second})
		var truths [partitions]*truth
		check(t, w, w.equivalence(ctx, &truths))
		w.usageIsExact(t, ctx)
		check(t, w, w.rederived(ctx, &truths))
		w.usageIsExact(t, ctx)
	})
	t.Run("changed logs", func(t *testing.T) {
		w := begin(t, ctx, dose{seed: *seedFlag, owners: 2, devices: 12, lostAcks: 0.25, stall: 60 * time.Second})
		var truths [partitions]*truth
		for i, log := range []stream.LogName{stream.Points, stream.Features, stream.Scores, stream.Alerts} {
			check(t, w, w.rolledBack(ctx, log, i, &truths))
		}
		check(t, w, w.madeAnew(ctx, stream.Features, 2, &truths))
		check(t, w, w.writtenByOther(ctx, stream.Points, 3, &truths))
		check(t, w, w.rebuiltAheadOfReaders(ctx, &truths))
	})
	if *mutantsFlag {
		t.Run("mutants", testMutants)
	}
}

// mutant is a rule of the commit protocol, switched off, and the least that must
// make its lack show. The same without the mutant must pass.
type mutant struct {
	rule string
	dose dose
	do   func(*world, context.Context, *[partitions]*truth) error
}

var mutants = []mutant{
	{"no-cas", dose{owners: 2, points: 5000, stops: 4, lostAcks: 0.25}, (*world).equivalence},
	{"no-unknown", dose{owners: 2, points: 5000, lostAcks: 0.25}, (*world).equivalence},
	// An owner that is fenced or restarted seeks anew whatever the rule says: there is one of each, and only the broker is killed.
	{"no-reseek", dose{owners: 1, points: 5000, brokerKills: 2}, (*world).equivalence},
	// Boundaries of commits move in a rebuild only.
	{"no-clip", dose{owners: 1}, (*world).rebuiltAheadOfReaders},
	// A snapshot is beyond its log only after the log was rolled back.
	{"newest-snapshot", dose{owners: 1}, func(w *world, ctx context.Context, t *[partitions]*truth) error {
		return w.rolledBack(ctx, stream.Points, 0, t)
	}},
	// Chains differ only in a log that somebody else has written.
	{"no-chain", dose{owners: 1}, func(w *world, ctx context.Context, t *[partitions]*truth) error {
		return w.writtenByOther(ctx, stream.Points, 3, t)
	}},
}

func testMutants(t *testing.T) {
	for _, m := range mutants {
		for _, rule := range []string{"", m.rule} {
			name := m.rule + "/control"
			if rule != "" {
				name = m.rule + "/switched off"
			}
			t.Run(name, func(t *testing.T) {
				d := m.dose
				d.seed, d.devices, d.fault, d.stall = *seedFlag, 12, rule, 20*time.Second
				w := begin(t, t.Context(), d)
				var truths [partitions]*truth
				err := m.do(w, t.Context(), &truths)
				if rule == "" {
					check(t, w, err)
				} else if err == nil {
					t.Fatalf("without the rule %s nothing failed\n%s", rule, w.tails())
				} else {
					t.Logf("%s fails as it must: %.600s", rule, err.Error())
				}
			})
		}
	}
}
