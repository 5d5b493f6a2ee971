//go:build unix

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/edgepulse/edgepulse/internal/app"
	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// leaver is a tenant that is deleted while it sends.
type leaver struct {
	w      *world
	id     schemas.ID
	key    string
	sent   int
	status int // of the last request
}

const leaverDevice = "the-leavers-boiler"

func newLeaver(t *testing.T, ctx context.Context, w *world) *leaver {
	t.Helper()
	tenant, err := w.store.CreateTenant(ctx, "leaver")
	check(t, w, err)
	l := &leaver{w: w, id: tenant.ID}
	l.key, _, err = w.store.CreateKey(ctx, tenant.ID, []string{"ingest", "read", "admin"}, store.KeyOptions{})
	check(t, w, err)
	l.as(func() {
		check(t, w, w.load.call(ctx, http.MethodPost, "/v1/webhooks", api.Webhook{URL: w.inbox.srv.URL + "/leaver"}, nil))
		check(t, w, w.load.call(ctx, http.MethodPost, "/v1/alert-rules", api.AlertRule{Name: "the leaver's rule", MinScore: 1, MinSeverity: "critical"}, nil))
	})
	return l
}

// as lets the load speak with the leaver's key for a moment.
func (l *leaver) as(do func()) {
	before := l.w.key
	l.w.key = l.key
	do()
	l.w.key = before
}

// send posts some points of the leaver's, at the load's time.
func (l *leaver) send(ctx context.Context) error {
	var metrics []string
	for i := range 20 {
		l.sent++
		metrics = append(metrics, fmt.Sprintf(`{"name":"pressure","ts":%q,"value":%d}`, l.w.load.now.Add(time.Duration(i)*100*time.Millisecond).Format(time.RFC3339Nano), l.sent%17))
	}
	body := fmt.Sprintf(`{"device_external_id":%q,"metrics":[%s]}`, leaverDevice, strings.Join(metrics, ","))
	var err error
	l.as(func() { l.status, _, err = l.w.load.post(ctx, http.MethodPost, "/v1/ingest", []byte(body), "") })
	return err
}

// TestDeleteTenant deletes one of two tenants while both send.
func TestDeleteTenant(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	defer cancel()
	w := begin(t, ctx, dose{seed: *seedFlag, owners: 1, devices: 8, janitor: true, stall: 90 * time.Second})
	gone := newLeaver(t, ctx, w)
	for w.load.sent.Load() < 2500 {
		check(t, w, w.load.round(ctx))
		check(t, w, gone.send(ctx))
	}
	check(t, w, w.logsDrained(ctx))
	check(t, w, poll(ctx, "the leaver has rows of every kind", func() (bool, error) {
		rows, err := w.store.TenantRows(ctx, gone.id)
		return rows["datapoint_recent"]+rows["datapoint_chunks"] > 0 && rows["score_recent"]+rows["score_chunks"] > 0 && rows["webhooks"] == 1, err
	}))
	w.archived(t, ctx)
	if !w.shows(t, ctx, leaverDevice) {
		t.Fatal("neither logs nor archive hold anything of the leaver: nothing is shown")
	}
	at, err := w.positions(ctx)
	check(t, w, err)
	before := w.rowsOfOther(t, ctx, at)

	// The command runs while both send.
	cmd := exec.Command(w.binary, "tenant", "delete", "leaver", "--yes")
	cmd.Env = append(w.env[:len(w.env):len(w.env)], patient, "EDGEPULSE_KEY_TTL=4s")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	check(t, w, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var revoked *time.Time // by the database's clock: the command takes its time to start
	var refused time.Duration
	for running := true; running; {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("delete: %v\n%s%s", err, stdout.String(), stderr.String())
			}
			running = false
		default:
			check(t, w, w.load.round(ctx))
			check(t, w, gone.send(ctx))
			if revoked == nil {
				check(t, w, w.db.QueryRow(ctx, `SELECT max(deleted_at) FROM tenants WHERE id = $1`, gone.id.String()).Scan(&revoked))
			}
			if gone.status == http.StatusUnauthorized && refused == 0 && revoked != nil {
				refused = time.Since(*revoked)
			}
		}
	}
	var report app.Erasure
	check(t, w, json.Unmarshal(stdout.Bytes(), &report))
	t.Logf("deleted in %s, refused after %s: %d metrics, rows %v; then %v", time.Since(began).Round(time.Millisecond), refused.Round(time.Millisecond), report.Metrics, report.Rows, report.Follows)
	if refused == 0 || refused > 6*time.Second {
		t.Errorf("the leaver's key was refused after %s", refused)
	}
	if rows, err := w.store.TenantRows(ctx, gone.id); err != nil || len(rows) > 0 {
		t.Errorf("rows that are left: %v, %v", rows, err)
	}
	if after := w.rowsOfOther(t, ctx, at); after != before {
		t.Errorf("the other tenant's rows changed: %s became %s", before, after)
	}

	// Logs and snapshots lose it by themselves, as simulated time goes on.
	check(t, w, poll(ctx, "logs and snapshots are without the leaver", func() (bool, error) {
		if err := w.letPass(ctx); err != nil {
			return false, err
		}
		logs, snapshots := w.shows(t, ctx, leaverDevice), w.snapshotsShow(t, gone.id)
		t.Logf("%s: logs or archive show it: %v, snapshots: %v", time.Since(began).Round(time.Second), logs, snapshots)
		return !logs && !snapshots, nil
	}))
	t.Logf("logs and snapshots are without it after %s", time.Since(began).Round(time.Second))
	// All that is left, archive included, is what it were without the leaver's entries.
	var truths [partitions]*truth
	check(t, w, w.settle(ctx, 500, &truths))
	out, err := w.output("verify")
	if err != nil || !strings.Contains(out, "0 differ") || !strings.Contains(out, "entries are empty") {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

// rowsOfOther hashes what Postgres has of the tenant that stays, up to some roots.
func (w *world) rowsOfOther(t *testing.T, ctx context.Context, at *reached) string {
	t.Helper()
	var out string
	for _, q := range []string{"SELECT metric_id, ts, value, root, partition FROM datapoints", "SELECT metric_id, ts, score, severity, label, root, partition FROM anomaly_scores"} {
		for p := range partitions {
			log := stream.Points
			if strings.Contains(q, "anomaly") {
				log = stream.Scores
			}
			var sum string
			check(t, w, w.db.QueryRow(ctx, fmt.Sprintf(`SELECT count(*)::text || ' ' || coalesce(md5(string_agg(r::text, ',' ORDER BY r::text)), '') FROM (%s WHERE tenant_id = $1 AND partition = $2 AND root <= $3) r`, q),
				w.tenant.String(), p, int64(at.projected[log][p])).Scan(&sum))
			out += sum + ";"
		}
	}
	return out
}

// shows tells whether any log, or the archive as its readers see it, holds a text.
func (w *world) shows(t *testing.T, ctx context.Context, text string) bool {
	t.Helper()
	for _, spec := range stream.Topology {
		for p := range partitions {
			list, err := w.messages(ctx, stream.StreamName(spec.Name, p), 0)
			if err != nil {
				return true // truncated while it was read: look again
			}
			for _, m := range list {
				if bytes.Contains(m.data, []byte(text)) {
					return true
				}
			}
		}
	}
	for _, log := range []stream.LogName{stream.Ingest, stream.Deliveries} {
		for p := range partitions {
			segments, err := archive.Segments(ctx, w.archive, log, p)
			check(t, w, err)
			for _, s := range segments {
				data, err := w.archive.Get(ctx, s.Name)
				check(t, w, err)
				r, err := archive.Decode(data)
				check(t, w, err)
				for root := s.First; root <= s.Last; root++ {
					m, err := r.Unseal(w.keys).Read(ctx, root)
					check(t, w, err)
					if bytes.Contains(m.Payload, []byte(text)) {
						r.Close()
						return true
					}
				}
				r.Close()
			}
		}
	}
	return false
}

// snapshotsShow tells whether any snapshot holds an id.
func (w *world) snapshotsShow(t *testing.T, id schemas.ID) bool {
	t.Helper()
	const header = 81
	blobs, err := archive.NewFolder(w.snapshotDir())
	check(t, w, err)
	names, err := blobs.List(t.Context(), "snapshots/")
	check(t, w, err)
	d, err := zstd.NewReader(nil)
	check(t, w, err)
	defer d.Close()
	for _, name := range names {
		b, err := blobs.Get(t.Context(), name)
		if err != nil {
			continue // pruned meanwhile
		}
		body, err := d.DecodeAll(b[header:], nil)
		check(t, w, err)
		if bytes.Contains(body, id[:]) {
			return true
		}
	}
	return len(names) == 0
}
