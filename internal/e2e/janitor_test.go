//go:build unix

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/stream"
)

// TestJanitor cuts the logs all the while that stages, gateway and broker are
// killed: what is left, the archive and the rows are those of the recomputation.
// Then a stage stands still: nothing it needs goes, and it is named.
func TestJanitor(t *testing.T) {
	t.Parallel() // it waits more than it works
	if testing.Short() {
		t.Skip("starts many processes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	defer cancel()
	w := begin(t, ctx, dose{seed: *seedFlag, owners: 1, points: 3000, devices: 12, kills: 4, stops: 1, brokerKills: 1, lostAcks: 0.1,
		janitor: true, stall: 60 * time.Second})
	var truths [partitions]*truth
	check(t, w, w.equivalence(ctx, &truths))
	// Ticks alone move snapshots on, and with them what may go.
	check(t, w, w.truncatedPast(ctx, stream.Ingest, 1))
	for _, log := range derived {
		check(t, w, w.truncatedPast(ctx, log, 1))
	}
	check(t, w, w.settle(ctx, 1000, &truths))
	t.Logf("logs begin at %v", w.begins(ctx))

	for _, s := range w.stages {
		if s.stage == "scorer" {
			s.stop()
		}
	}
	before := w.begins(ctx)
	check(t, w, w.load.feed(ctx, 3000))
	check(t, w, poll(ctx, "the scorer is named", func() (bool, error) {
		said, err := w.metric(ctx, "archiver", `edgepulse_janitor_held_bytes{log="features",partition="0",stage="scorer"}`)
		return said > 0, err
	}))
	for _, s := range w.stages {
		if s.stage == "archiver" && !s.alarmSaid("the stage named needs what would be truncated") {
			t.Error("the archiver's log does not say that a log is held back")
		}
		if s.stage == "scorer" {
			check(t, w, s.start())
		}
	}
	check(t, w, w.settle(ctx, 500, &truths))
	for p := range partitions {
		name := stream.StreamName(stream.Features, p)
		check(t, w, w.truncatedPast(ctx, stream.Features, before[name]))
	}
	t.Logf("with the scorer back logs begin at %v", w.begins(ctx))
}

// begins is the first sequence of every log.
func (w *world) begins(ctx context.Context) map[string]uint64 {
	out := map[string]uint64{}
	list, err := w.inspect.Status(ctx)
	if err != nil {
		return out
	}
	for _, s := range list {
		out[stream.StreamName(s.Log, s.Partition)] = s.FirstSeq
	}
	return out
}

// truncatedPast waits until every partition of a log begins behind a sequence.
func (w *world) truncatedPast(ctx context.Context, log stream.LogName, seq uint64) error {
	return poll(ctx, fmt.Sprintf("%s begins behind message %d", log, seq), func() (bool, error) {
		if err := w.letPass(ctx); err != nil {
			return false, err
		}
		for p := range partitions {
			st, err := w.inspect.StatusOf(ctx, log, p)
			if err != nil || st.FirstSeq <= seq {
				return false, err
			}
		}
		return true, nil
	})
}

// letPass lets simulated time go on long enough for many snapshots of every stage:
// logs and old snapshots go as newer ones follow.
func (w *world) letPass(ctx context.Context) error {
	for range 40 {
		if err := w.load.tickOn(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(160 * time.Millisecond): // a little longer than from one snapshot to the next
		}
	}
	return nil
}

// tickOn lets a second of simulated time pass without data.
func (l *load) tickOn(ctx context.Context) error {
	l.now = l.now.Add(time.Second)
	for range l.fleet.Until(l.now) {
	}
	return l.advance(ctx)
}

// metric reads one series of a process.
func (w *world) metric(ctx context.Context, process, series string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.metricsAt[process], nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil // not up yet
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			var v float64
			_, err := fmt.Sscan(rest, &v)
			return v, err
		}
	}
	return 0, fmt.Errorf("%s has no series %s", process, series)
}
