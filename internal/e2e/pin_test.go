//go:build unix

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/schemas/api"
)

// TestPinnedModel pins a metric, rolls it back and unpins it in a running service,
// whose scorers and gateway are killed in between: later scores carry the version
// that was asked for, and the logs are those of an independent recomputation, after
// a rebuild too.
func TestPinnedModel(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	defer cancel()
	w := begin(t, ctx, dose{seed: *seedFlag, owners: 2, devices: 4, lostAcks: 0.1, stall: 90 * time.Second})
	var truths [partitions]*truth
	models := w.learned(t, ctx, 4)
	metric := models[0].MetricID
	path := "/v1/metrics/" + metric + "/model"

	var m api.MetricModel
	check(t, w, w.load.call(ctx, http.MethodPut, path, map[string]string{"version": models[1].Version}, &m))
	w.killed(t, "scorer")
	w.scoresWith(t, ctx, metric, models[1].Version)

	check(t, w, w.load.call(ctx, http.MethodPost, path+"/rollback", struct{}{}, &m))
	if m.InUse != models[2].Version {
		t.Fatalf("rolled back to %s, want %s", m.InUse, models[2].Version)
	}
	w.killed(t, "scorer")
	w.gateway.kill() // its checkpoint repeats the pin
	check(t, w, w.gateway.start())
	w.scoresWith(t, ctx, metric, models[2].Version)
	if now := w.models(t, ctx, metric); now[0].Version != models[0].Version {
		t.Errorf("a model was made behind the pin: %s", now[0].Version)
	}
	_, err := w.verify(ctx, &truths, complete)
	check(t, w, err)

	check(t, w, w.load.call(ctx, http.MethodDelete, path, struct{}{}, nil))
	w.killed(t, "scorer")
	check(t, w, w.settle(ctx, 600, &truths))
	now := w.models(t, ctx, metric)
	if now[0].Version == models[0].Version || !now[0].InUse || now[0].Pinned {
		t.Errorf("after unpinning: %+v", now[0])
	}
	check(t, w, w.command("rebuild", "SCORES", "--yes"))
	check(t, w, w.drained(ctx))
	f, err := w.verify(ctx, &truths, complete)
	check(t, w, err)
	t.Logf("%d models before, %d after; %s", len(models), len(now), f)
}

// learned feeds until a metric has n models, and returns those, the newest first.
func (w *world) learned(t *testing.T, ctx context.Context, n int) []api.Model {
	t.Helper()
	for {
		check(t, w, w.load.feed(ctx, 1500))
		check(t, w, w.drained(ctx))
		of := map[string]int{}
		var page api.Page[api.Model]
		check(t, w, w.load.call(ctx, http.MethodGet, "/v1/models?limit=1000", struct{}{}, &page))
		for _, m := range page.Data {
			if of[m.MetricID]++; of[m.MetricID] == n {
				return w.models(t, ctx, m.MetricID)
			}
		}
	}
}

func (w *world) models(t *testing.T, ctx context.Context, metric string) []api.Model {
	t.Helper()
	var page api.Page[api.Model]
	check(t, w, w.load.call(ctx, http.MethodGet, "/v1/models?limit=1000&metric_id="+metric, struct{}{}, &page))
	return page.Data
}

// killed kills the processes of a stage and starts them again.
func (w *world) killed(t *testing.T, stage string) {
	t.Helper()
	for _, s := range w.stages {
		if s.stage == stage {
			s.kill()
			check(t, w, s.start())
		}
	}
}

// scoresWith feeds more once the change is in the logs, and wants every score behind
// it to carry a version.
func (w *world) scoresWith(t *testing.T, ctx context.Context, metric, version string) {
	t.Helper()
	check(t, w, poll(ctx, "the pin is in the logs", func() (bool, error) {
		var waiting int
		err := w.db.QueryRow(ctx, `SELECT count(*) FROM control_outbox WHERE published_at IS NULL`).Scan(&waiting)
		return err == nil && waiting == 0, err
	}))
	check(t, w, w.drained(ctx))
	before := w.newestScore(t, ctx, metric)
	check(t, w, w.load.feed(ctx, 600))
	check(t, w, w.drained(ctx))
	var page api.Page[api.Score]
	check(t, w, w.load.call(ctx, http.MethodGet, fmt.Sprintf("/v1/scores?limit=1000&metric_id=%s", metric), struct{}{}, &page))
	seen := 0
	for _, s := range page.Data {
		if s.Root <= before {
			continue
		}
		if seen++; s.ModelVersion != version {
			t.Errorf("root %d, %s: scored with %s, want %s", s.Root, s.TS, s.ModelVersion, version)
		}
	}
	if seen < 10 {
		t.Errorf("%d scores behind the change", seen)
	}
}

// newestScore is the highest root of a metric's scores.
func (w *world) newestScore(t *testing.T, ctx context.Context, metric string) uint64 {
	t.Helper()
	var page api.Page[api.Score]
	check(t, w, w.load.call(ctx, http.MethodGet, "/v1/scores?limit=100&metric_id="+metric, struct{}{}, &page))
	root := uint64(0)
	for _, s := range page.Data {
		root = max(root, s.Root)
	}
	return root
}
