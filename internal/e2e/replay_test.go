package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/stream"
)

// TestReplay takes a deployment's past through the folds again, by the commands
// an operator has: into shadows (interrupted, filtered, from snapshots), into the
// live logs, and with folds that break the rules.
func TestReplay(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	w := newWorld(t, ctx, 0, "")
	began := time.Now()
	l, err := newLoader(ctx, w, 7, 8)
	fail(t, w, err)
	for l.points() < 6000 {
		fail(t, w, l.advance(ctx))
	}
	middle := time.Now().UTC()
	for l.points() < 7000 {
		fail(t, w, l.advance(ctx))
	}
	_, err = w.verify(ctx, l)
	fail(t, w, err)
	before := w.traces(t, ctx)
	t.Logf("%s: %d points; %v", time.Since(began).Round(time.Second), l.points(), before)
	if before["alert_events"] == 0 || before["webhooks"] == 0 {
		t.Fatal("the load raised no alert: nothing is shown")
	}

	w.replays(t, "0 differ", "verify", "--url", w.url(), "--key", w.key)
	w.replays(t, "snapshots of the live stages", "verify", "--from", middle.Format(time.RFC3339Nano))
	w.replays(t, "0 differ", "verify", "--tenant", w.tenant.String())
	device := ""
	for p := range l.acked {
		device = max(device, p.device)
	}
	w.replays(t, "0 differ", "verify", "--tenant", w.tenant.String(), "--device", device)

	w.archived(t, ctx)
	t.Logf("%s: archived", time.Since(began).Round(time.Second))
	w.killedReplay(t, ctx)
	w.replays(t, "0 differ", "verify", "--shadow", "killed")
	w.replays(t, "is gone", "replay", "drop", "killed")
	w.replays(t, "no shadows", "replay", "list")

	// Into live, nothing follows; the archive agrees that it is nothing.
	if out, err := w.command("replay", "--into", "live"); err == nil || !strings.Contains(out, "confirm with --yes") {
		t.Fatalf("a live replay without --yes: %v\n%s", err, out)
	}
	w.replays(t, "messages published again", "replay", "--into", "live", "--yes")
	fail(t, w, w.drained(ctx))
	if after := w.traces(t, ctx); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Fatalf("a live replay left traces: %v became %v", before, after)
	}
	w.sins(t)
	w.archived(t, ctx)
	t.Logf("%s: archived", time.Since(began).Round(time.Second))
	w.replays(t, "0 differ", "verify")

	// A broker that has lost all it had.
	w.stopOwners()
	w.kill("gateway")
	w.kill("nats")
	fail(t, w, os.RemoveAll(filepath.Join(w.dir, "nats")))
	w.start(t, "nats")
	fail(t, w, waitFor(ctx, "the broker answers", func() bool { return w.broker.Provision(ctx) == nil }))
	w.replays(t, "start the service", "recover", "--yes")
	w.start(t, "gateway")
	w.startAll(t, ctx)
	fail(t, w, l.advance(ctx))
	t.Logf("%s: recovered", time.Since(began).Round(time.Second))
	_, err = w.verify(ctx, l)
	fail(t, w, err)
	if distinct, total := w.inbox.counts(); distinct != total {
		t.Errorf("%d webhooks arrived for %d ids: the recovery repeated some", total, distinct)
	}
	t.Logf("%s: still equal", time.Since(began).Round(time.Second))
}

// replays runs a command that must succeed and say something.
func (w *world) replays(t *testing.T, says string, args ...string) string {
	t.Helper()
	start := time.Now()
	out, err := w.command(args...)
	if err != nil || !strings.Contains(out, says) {
		t.Fatalf("edgepulse %s: %v\n%s\nexpected %q", strings.Join(args, " "), err, out, says)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	t.Logf("edgepulse %s (%.1f s): %s", args[0], time.Since(start).Seconds(), lines[len(lines)-1])
	return out
}

// killedReplay SIGKILLs a replay in its middle and lets another one go on.
func (w *world) killedReplay(t *testing.T, ctx context.Context) {
	t.Helper()
	cmd := exec.Command(w.binary, "replay", "--into", "shadow:killed", "--speed", "30")
	cmd.Env = w.env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, ctx, "some of the shadow is folded", func() bool {
		at, err := w.broker.End(ctx, stream.Alerts.In("killed"), 0)
		return err == nil && at > 20
	})
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // killed
	out := w.replays(t, "messages folded", "replay", "--into", "shadow:killed")
	if !strings.Contains(out, "shadow killed is there") || strings.Contains(out, ": 0 of") {
		t.Fatalf("the replay did not go on where it was:\n%s", out)
	}
	if out, err := w.command("replay", "--into", "shadow:killed", "--device", "other"); err == nil || !strings.Contains(out, "is there already") {
		t.Fatalf("a shadow took another request: %v\n%s", err, out)
	}
}

// sins lets the scorer of a verification break the rules of a fold.
func (w *world) sins(t *testing.T) {
	t.Helper()
	for _, sin := range []string{"clock-in-fold", "map-order-in-fold"} {
		cmd := exec.Command(w.binary, "verify")
		cmd.Env = append(append([]string{}, w.env...), "EDGEPULSE_FAULTS="+sin)
		b, err := cmd.CombinedOutput()
		out := string(b)
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(out, "first difference: "+string(stream.Scores)) || !strings.Contains(out, ", root ") {
			t.Fatalf("%s was not caught: %v\n%s", sin, err, out)
		}
		_, first, _ := strings.Cut(out, "first difference: ")
		t.Logf("%s: exit code 1, %s", sin, strings.Join(strings.Split(first, "\n")[:2], " "))
	}
}

// archived waits until the archive holds every root there is now.
func (w *world) archived(t *testing.T, ctx context.Context) {
	t.Helper()
	blobs, err := archive.NewFolder(filepath.Join(w.dir, "archive"))
	if err != nil {
		t.Fatal(err)
	}
	for _, log := range []stream.LogName{stream.Ingest, stream.Deliveries} {
		for p := range partitions {
			end := w.end(t, ctx, log, p)
			until(t, ctx, "everything is archived", func() bool {
				_, err := archive.ReadRoot(ctx, blobs, log, p, end)
				return err == nil
			})
		}
	}
}

// traces counts all that data leaves behind.
func (w *world) traces(t *testing.T, ctx context.Context) map[string]int {
	t.Helper()
	conn, err := pgx.Connect(ctx, w.envOf("EDGEPULSE_DATABASE_OWNER_URL"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	out := map[string]int{}
	for _, table := range []string{"devices", "metrics", "datapoint_rows", "ingest_batches", "features", "anomaly_scores", "models", "alert_events", "webhook_deliveries", "dead_letters"} {
		var n int
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&n); err != nil {
			t.Fatal(err)
		}
		out[table] = n
	}
	var usage int
	if err := conn.QueryRow(ctx, "SELECT coalesce(sum(points), 0)::int FROM usage").Scan(&usage); err != nil {
		t.Fatal(err)
	}
	out["points in usage"] = usage
	for p := range partitions {
		err := w.broker.Scan(ctx, stream.Deliveries, p, 0, w.end(t, ctx, stream.Deliveries, p), func(uint64, int, []byte) error {
			out["deliveries"]++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, out["webhooks"] = w.inbox.counts()
	return out
}

func (w *world) end(t *testing.T, ctx context.Context, log stream.LogName, p int) uint64 {
	t.Helper()
	end, err := w.broker.End(ctx, log, p)
	if err != nil {
		t.Fatal(err)
	}
	return end
}

func (w *world) url() string { return "http://" + w.envOf("EDGEPULSE_ADDR") }
