package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/stream"
)

// The long form: go tool task prove:crash -- -seed 7 -kills 60
var (
	long        = flag.Bool("prove", false, "run the long form")
	seed        = flag.Uint64("seed", 1, "seed of load and nemesis")
	kills       = flag.Int("kills", 60, "SIGKILLs of stages")
	stops       = flag.Int("stops", 40, "SIGSTOP/SIGCONT of owners")
	brokerKills = flag.Int("broker-kills", 5, "SIGKILLs of the broker")
	points      = flag.Int("points", 200000, "points to acknowledge")
	mutants     = flag.Bool("mutants", true, "also show that each rule is needed")
)

// dose is how much a run suffers.
type dose struct {
	points, devices           int
	kills, stops, brokerKills int
	lostAcks                  float64 // share of commit acknowledgements thrown away
	patience                  time.Duration
}

// figures are what a run is reported with.
type figures struct {
	points, roots, scores, alerts, webhooks int
	kills, stops, brokerKills               int
	took                                    time.Duration
}

func (f figures) String() string {
	return fmt.Sprintf("%d points acknowledged, %d roots, %d scores, %d alert events, %d webhooks; %d SIGKILLs of stages, %d of the broker, %d zombies; %s",
		f.points, f.roots, f.scores, f.alerts, f.webhooks, f.kills, f.brokerKills, f.stops, f.took.Round(time.Second))
}

// TestCrashEquivalence is the short form.
func TestCrashEquivalence(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	w := newWorld(t, ctx, .25, "")
	l, f, err := w.suffer(t, ctx, dose{points: 15000, devices: 16, kills: 10, stops: 6, brokerKills: 1, patience: 3 * time.Minute})
	fail(t, w, err)
	t.Log(f)
	rollBack(t, ctx, w, l)
	rederive(t, ctx, w, l)
}

// TestProveCrash is the long form, with the mutants.
func TestProveCrash(t *testing.T) {
	if !*long {
		return // a form of the test above; nothing is skipped without it
	}
	ctx, cancel := context.WithTimeout(context.Background(), 55*time.Minute)
	defer cancel()
	t.Run("control", func(t *testing.T) {
		w := newWorld(t, ctx, .25, "")
		l, f, err := w.suffer(t, ctx, dose{points: *points, devices: 48, kills: *kills, stops: *stops, brokerKills: *brokerKills, patience: 3 * time.Minute})
		fail(t, w, err)
		fmt.Printf("seed %d: %s: equal\n", *seed, f)
		rollBack(t, ctx, w, l)
		fmt.Println("older copy of POINTS_0: named, nothing wrong emitted, equal after rebuild")
		rederive(t, ctx, w, l)
		fmt.Println("all derived logs, snapshots and tables thrown away: equal, no webhook repeated")
	})
	if !*mutants {
		return
	}
	for _, m := range []struct {
		rule string
		dose dose
	}{
		// Restarted owners would seek anew and hide it: only the broker is killed.
		{"no-reseek", dose{points: 5000, devices: 16, brokerKills: 2, patience: 40 * time.Second}},
		{"no-unknown", dose{points: 20000, devices: 16, kills: 24, stops: 12, brokerKills: 2, lostAcks: .25, patience: 40 * time.Second}},
		{"no-cas", dose{points: 20000, devices: 16, kills: 24, stops: 12, brokerKills: 2, lostAcks: .25, patience: 40 * time.Second}},
	} {
		for _, rule := range []string{"", m.rule} {
			t.Run(m.rule+"/"+first(rule, "control"), func(t *testing.T) {
				w := newWorld(t, ctx, m.dose.lostAcks, rule)
				_, f, err := w.suffer(t, ctx, m.dose)
				if rule == "" {
					fail(t, w, err)
					return
				}
				if err == nil {
					t.Fatalf("without the rule nothing failed: %s", f)
				}
				fmt.Printf("%s: fails as it must: %v\n", rule, err)
			})
		}
	}
	// These two guard against logs that changed: boundaries of commits move in a
	// rebuild only, and a snapshot is ahead of its log only after a rollback.
	for _, rule := range []string{"no-clip", "newest-snapshot"} {
		t.Run(rule, func(t *testing.T) {
			w := newWorld(t, ctx, 0, rule)
			l, _, err := w.suffer(t, ctx, dose{points: 5000, devices: 16, patience: time.Minute})
			fail(t, w, err)
			if err = w.rollBackOnce(t, ctx, l); err == nil {
				t.Fatal("without the rule nothing failed")
			}
			fmt.Printf("%s: fails as it must: %v\n", rule, err)
		})
	}
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func fail(t *testing.T, w *world, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v\n%s", err, w.tails())
	}
}

// suffer loads the world while the nemesis works, and verifies.
func (w *world) suffer(t *testing.T, ctx context.Context, d dose) (*loader, figures, error) {
	start := time.Now()
	l, err := newLoader(ctx, w, *seed, d.devices)
	if err != nil {
		return nil, figures{}, err
	}
	var done atomic.Bool
	suffered := make(chan struct{})
	go func() {
		defer close(suffered)
		w.nemesis(t, ctx, d)
		done.Store(true)
	}()
	for l.points() < d.points || !done.Load() {
		if err := l.advance(ctx); err != nil {
			return l, figures{}, err
		}
		if *long && l.round%20 == 0 {
			fmt.Printf("%s: %d points\n", time.Since(start).Round(time.Second), l.points())
		}
	}
	<-suffered
	patience, cancel := context.WithTimeout(ctx, d.patience)
	defer cancel()
	truth, err := w.verify(patience, l)
	f := figures{points: l.points(), kills: d.kills, stops: d.stops, brokerKills: d.brokerKills, took: time.Since(start)}
	if truth != nil {
		f.roots, f.alerts = truth.roots, len(truth.alerts)
		for _, s := range truth.scores {
			f.scores += len(s)
		}
	}
	f.webhooks, _ = w.inbox.counts()
	return l, f, err
}

// nemesis kills, stops and restarts in a seeded order.
func (w *world) nemesis(t *testing.T, ctx context.Context, d dose) {
	rng := rand.New(rand.NewPCG(*seed, 99))
	var plan []string
	for range d.kills {
		plan = append(plan, "kill")
	}
	for range d.stops {
		plan = append(plan, "stop")
	}
	for range d.brokerKills {
		plan = append(plan, "broker")
	}
	rng.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	names := owners()
	for _, what := range plan {
		pause(ctx, time.Duration(200+rng.IntN(900))*time.Millisecond)
		name := names[rng.IntN(len(names))]
		switch what {
		case "kill":
			w.kill(name)
			pause(ctx, time.Duration(rng.IntN(300))*time.Millisecond)
			w.start(t, name)
		case "stop":
			name = stageNames[rng.IntN(len(stageNames))] + fmt.Sprintf("-%d", rng.IntN(2))
			w.signal(name, syscall.SIGSTOP)
			pause(ctx, time.Duration(300+rng.IntN(2200))*time.Millisecond)
			w.signal(name, syscall.SIGCONT)
		case "broker":
			w.kill("nats")
			pause(ctx, time.Duration(rng.IntN(400))*time.Millisecond)
			w.start(t, "nats")
		}
	}
}

// pause is part of the fault schedule, not a wait for a state.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// rollBack puts an older copy of a derived log in place, twice in a row in two
// ways, and expects it to be named and mended.
func rollBack(t *testing.T, ctx context.Context, w *world, l *loader) {
	t.Helper()
	if err := w.rollBackOnce(t, ctx, l); err != nil {
		t.Fatalf("%v\n%s", err, w.tails())
	}
}

func (w *world) rollBackOnce(t *testing.T, ctx context.Context, l *loader) error {
	live := filepath.Join(w.dir, "nats", "jetstream", "$G", "streams", stream.StreamName(stream.Points, 0))
	old := filepath.Join(w.dir, "older")
	if _, err := os.Stat(live); err != nil {
		return err
	}
	w.stopOwners()
	w.kill("nats")
	if err := os.CopyFS(old, os.DirFS(live)); err != nil {
		return err
	}
	w.start(t, "nats")
	if err := w.connected(ctx); err != nil {
		return err
	}
	w.startAll(t, ctx)
	for range 10 {
		if err := l.advance(ctx); err != nil {
			return err
		}
	}
	patience, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if _, err := w.verify(patience, l); err != nil {
		return err
	}
	if err := w.snapshotsCaughtUp(patience); err != nil {
		return err
	}
	before, err := w.logs(patience, stream.Features, stream.Scores, stream.Alerts)
	if err != nil {
		return err
	}
	w.stopOwners()
	w.kill("nats")
	if err := os.RemoveAll(live); err != nil {
		return err
	}
	if err := os.Rename(old, live); err != nil {
		return err
	}
	// What the older copy means must be said by new lives, not read in old ones.
	for _, name := range owners() {
		_ = os.Remove(w.logFile(name)) // a process that never said anything has none
	}
	w.start(t, "nats")
	if err := w.connected(patience); err != nil {
		return err
	}
	w.startAll(t, ctx)
	named := "log " + stream.StreamName(stream.Points, 0) + " was changed from outside"
	err = waitFor(patience, "the older log is named", func() bool {
		for _, name := range owners() {
			if strings.HasPrefix(name, "normaliser") && w.said(name, named) {
				return true
			}
		}
		return false
	})
	if err != nil {
		return err
	}
	after, err := w.logs(patience, stream.Features, stream.Scores, stream.Alerts)
	if err != nil {
		return err
	}
	for _, log := range []stream.LogName{stream.Features, stream.Scores, stream.Alerts} {
		for id, h := range before[log] {
			if string(after[log][id].Sum(nil)) != string(h.Sum(nil)) {
				return fmt.Errorf("%s changed for metric %s while POINTS was an older copy", log, id)
			}
		}
	}
	if out, err := w.command("rebuild", "POINTS", "--yes"); err != nil {
		return fmt.Errorf("rebuild: %w\n%s", err, out)
	}
	if err := l.advance(ctx); err != nil {
		return err
	}
	mended, cancel2 := context.WithTimeout(ctx, 90*time.Second)
	defer cancel2()
	_, err = w.verify(mended, l)
	return err
}

// connected waits until the test's own connection has found the broker again.
func (w *world) connected(ctx context.Context) error {
	return waitFor(ctx, "the broker answers", func() bool { return w.broker.Ready(ctx) == nil })
}

// snapshotsCaughtUp waits until the normaliser has a snapshot behind the older copy.
func (w *world) snapshotsCaughtUp(ctx context.Context) error {
	end, err := w.broker.End(ctx, stream.Points, 0)
	if err != nil {
		return err
	}
	return waitFor(ctx, "a snapshot near the end of POINTS_0", func() bool {
		found, _ := filepath.Glob(filepath.Join(w.dir, "state", "snapshots", "normaliser", "0", "*", "*.*"))
		for _, f := range found {
			var root uint64
			if _, err := fmt.Sscanf(filepath.Base(f), "%d.", &root); err == nil && root+3 >= end {
				return true
			}
		}
		return false
	})
}

// rederive throws everything derived away and expects it back, and no webhook.
func rederive(t *testing.T, ctx context.Context, w *world, l *loader) {
	t.Helper()
	_, sent := w.inbox.counts()
	w.stopOwners()
	if out, err := w.command("rebuild", "POINTS", "--yes", "--truncate"); err != nil {
		t.Fatalf("rebuild: %v\n%s", err, out)
	}
	if err := os.RemoveAll(filepath.Join(w.dir, "state")); err != nil {
		t.Fatal(err)
	}
	w.startAll(t, ctx)
	patience, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	_, err := w.verify(patience, l)
	fail(t, w, err)
	if _, again := w.inbox.counts(); again != sent {
		t.Fatalf("%d webhooks were sent again", again-sent)
	}
}
