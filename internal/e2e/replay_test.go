//go:build unix

package e2e

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/stream"
)

// TestReplay takes a deployment's past through the folds again, by the commands
// an operator has: into shadows (interrupted, filtered, from snapshots), into the
// live logs, with folds that break the rules, and into a broker that lost all.
func TestReplay(t *testing.T) {
	t.Parallel() // it waits more than it works
	if testing.Short() {
		t.Skip("starts many processes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	w := begin(t, ctx, dose{seed: *seedFlag, owners: 1, points: 4000, devices: 8, stall: 90 * time.Second})
	began := time.Now()
	var truths [partitions]*truth
	check(t, w, w.settle(ctx, 4000, &truths))
	middle := time.Now().UTC()
	check(t, w, w.settle(ctx, 500, &truths))
	before := w.traces(t, ctx)
	t.Logf("%s: %v", time.Since(began).Round(time.Second), before)
	if before["alert_events"] == 0 || before["webhooks"] == 0 {
		t.Fatal("the load raised no alert: nothing is shown")
	}

	w.replays(t, "0 differ", "verify", "--url", w.url, "--key", w.key)
	w.replays(t, "snapshots of the live stages", "verify", "--from", middle.Format(time.RFC3339Nano))
	w.replays(t, "0 differ", "verify", "--tenant", w.tenant.String())
	w.replays(t, "0 differ", "verify", "--tenant", w.tenant.String(), "--device", w.load.fleet.Devices()[0])

	w.archived(t, ctx)
	t.Logf("%s: archived", time.Since(began).Round(time.Second))
	w.killedReplay(t, ctx)
	w.replays(t, "0 differ", "verify", "--shadow", "killed")
	w.replays(t, "is gone", "replay", "drop", "killed")
	w.replays(t, "no shadows", "replay", "list")

	// Into live, nothing follows; the archive agrees that it is nothing.
	if out, err := w.output("replay", "--into", "live"); err == nil || !strings.Contains(out, "confirm with --yes") {
		t.Fatalf("a live replay without --yes: %v\n%s", err, out)
	}
	w.replays(t, "messages published again", "replay", "--into", "live", "--yes")
	check(t, w, w.drained(ctx))
	if after := w.traces(t, ctx); !maps.Equal(after, before) {
		t.Fatalf("a live replay left traces: %v became %v", before, after)
	}
	w.sins(t)
	w.archived(t, ctx)
	t.Logf("%s: archived", time.Since(began).Round(time.Second))
	w.replays(t, "0 differ", "verify")

	w.lostBroker(t, ctx)
	if after := w.traces(t, ctx); !maps.Equal(after, before) {
		t.Fatalf("a recovered broker left traces: %v became %v", before, after)
	}
	w.usageIsExact(t, ctx)
	w.replays(t, "0 differ", "verify", "--url", w.url, "--key", w.key)
	t.Logf("%s: recovered", time.Since(began).Round(time.Second))
}

// lostBroker throws all logs away and recovers them from the archive.
func (w *world) lostBroker(t *testing.T, ctx context.Context) {
	t.Helper()
	w.stopStages()
	w.broker.stop()
	check(t, w, os.RemoveAll(w.natsDir()))
	check(t, w, w.startBroker(ctx))
	w.replays(t, "start the service", "recover", "--yes")
	check(t, w, w.startStages(ctx))
	check(t, w, w.drained(ctx))
}

// patient: an operator's command outlasts a broker that the machine is too busy
// for; the stages of a world give up early because theirs is killed.
const patient = "EDGEPULSE_NATS_TIMEOUT=20s"

// output runs the operator's tool.
func (w *world) output(args ...string) (string, error) {
	cmd := exec.Command(w.binary, args...)
	cmd.Env = append(w.env[:len(w.env):len(w.env)], patient)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// replays runs a command that must succeed and say something.
func (w *world) replays(t *testing.T, says string, args ...string) string {
	t.Helper()
	start := time.Now()
	out, err := w.output(args...)
	if err != nil || !strings.Contains(out, says) {
		t.Fatalf("edgepulse %s: %v\n%s\nexpected %q\n%s", strings.Join(args, " "), err, out, says, w.tails())
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	t.Logf("edgepulse %s (%.1f s): %s", args[0], time.Since(start).Seconds(), lines[len(lines)-1])
	return out
}

// killedReplay SIGKILLs a replay in its middle and lets another one go on.
func (w *world) killedReplay(t *testing.T, ctx context.Context) {
	t.Helper()
	cmd := exec.Command(w.binary, "replay", "--into", "shadow:killed", "--speed", "30")
	cmd.Env = append(w.env[:len(w.env):len(w.env)], patient)
	check(t, w, cmd.Start())
	check(t, w, poll(ctx, "some of the shadow is folded", func() (bool, error) {
		at, err := w.inspect.End(ctx, stream.Alerts.In("killed"), 0)
		return err == nil && at > 20, nil
	}))
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // killed
	out := w.replays(t, "messages folded", "replay", "--into", "shadow:killed")
	if !strings.Contains(out, "shadow killed is there") || strings.Contains(out, ": 0 of") {
		t.Fatalf("the replay did not go on where it was:\n%s", out)
	}
	if out, err := w.output("replay", "--into", "shadow:killed", "--device", "other"); err == nil || !strings.Contains(out, "is there already") {
		t.Fatalf("a shadow took another request: %v\n%s", err, out)
	}
}

// sins lets the scorer of a verification break the rules of a fold.
func (w *world) sins(t *testing.T) {
	t.Helper()
	for _, sin := range []string{"clock-in-fold", "map-order-in-fold"} {
		cmd := exec.Command(w.binary, "verify")
		cmd.Env = append(append([]string{}, w.env...), patient, "EDGEPULSE_FAULTS="+sin)
		b, err := cmd.CombinedOutput()
		out := string(b)
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(out, "first difference: "+string(stream.Scores)) || !strings.Contains(out, ", root ") {
			t.Fatalf("%s was not caught: %v\n%s", sin, err, out)
		}
		_, found, _ := strings.Cut(out, "first difference: ")
		t.Logf("%s: exit code 1, %s", sin, strings.Join(strings.Split(found, "\n")[:2], " "))
	}
}

// archived waits until the archive holds every root there is now.
func (w *world) archived(t *testing.T, ctx context.Context) {
	t.Helper()
	blobs, err := archive.NewFolder(filepath.Join(w.dir, "archive"))
	check(t, w, err)
	for _, log := range []stream.LogName{stream.Ingest, stream.Deliveries} {
		for p := range partitions {
			end, err := w.inspect.End(ctx, log, p)
			check(t, w, err)
			check(t, w, poll(ctx, "everything is archived", func() (bool, error) {
				_, err := archive.ReadRoot(ctx, blobs, w.keys, log, p, end)
				return err == nil || end == 0, nil
			}))
		}
	}
}

// traces counts all that data leaves behind.
func (w *world) traces(t *testing.T, ctx context.Context) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, table := range []string{"devices", "metrics", "datapoint_samples", "ingest_batches", "features", "anomaly_scores", "models", "alert_events", "webhook_deliveries", "dead_letters"} {
		var n int
		check(t, w, w.db.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&n))
		out[table] = n
	}
	for _, counted := range []string{"points", "evaluations", "webhook_attempts", "webhooks_delivered"} {
		var n int
		check(t, w, w.db.QueryRow(ctx, "SELECT coalesce(sum("+counted+"), 0)::int FROM usage_days").Scan(&n))
		out[counted+" in usage"] = n
	}
	for p := range partitions {
		end, err := w.inspect.End(ctx, stream.Deliveries, p)
		check(t, w, err)
		check(t, w, w.inspect.Scan(ctx, stream.Deliveries, p, 0, end, func(_ uint64, _ int, _ []byte) error {
			out["deliveries"]++
			return nil
		}))
	}
	events, requests := w.inbox.count()
	out["webhooks"], out["webhook requests"] = events, requests
	return out
}
