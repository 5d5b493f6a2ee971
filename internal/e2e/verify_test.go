package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/edgepulse/edgepulse/featurizer"
	"github.com/edgepulse/edgepulse/internal/app"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// digests hash what each log says of each metric, in log order.
type digests map[stream.LogName]map[schemas.ID]hash.Hash

var derived = []stream.LogName{stream.Points, stream.Features, stream.Scores, stream.Alerts}

func (d digests) add(log stream.LogName, root uint64, entry []byte) error {
	kind := schemas.KindOf(entry)
	if kind.Forwarded() || kind == schemas.KindReceipt {
		return nil
	}
	e := &schemas.Entry{}
	if err := e.UnmarshalVT(entry); err != nil {
		return err
	}
	switch k := e.Kind.(type) {
	case *schemas.Entry_Points:
		for _, s := range k.Points.Series {
			b, err := s.MarshalVT()
			if err != nil {
				return err
			}
			d.write(log, s.MetricId, root, b)
		}
	case *schemas.Entry_Features:
		d.write(log, k.Features.MetricId, root, entry)
	case *schemas.Entry_Score:
		d.write(log, k.Score.MetricId, root, entry)
	case *schemas.Entry_AlertEvent:
		d.write(log, k.AlertEvent.MetricId, root, entry)
	case *schemas.Entry_DeadLetter:
		return fmt.Errorf("dead letter in %s at root %d: %s: %s", log, root, k.DeadLetter.Reason, k.DeadLetter.Detail)
	}
	return nil
}

func (d digests) write(log stream.LogName, metric []byte, root uint64, b []byte) {
	if d[log] == nil {
		d[log] = map[schemas.ID]hash.Hash{}
	}
	id := schemas.ID(metric)
	h := d[log][id]
	if h == nil {
		h = sha256.New()
		d[log][id] = h
	}
	var r [8]byte
	binary.LittleEndian.PutUint64(r[:], root)
	h.Write(r[:])
	h.Write(b)
}

// compare says for which metric two sets of digests differ.
func (d digests) compare(want digests) error {
	for _, log := range derived {
		for id, h := range want[log] {
			got := d[log][id]
			if got == nil {
				return fmt.Errorf("%s says nothing of metric %s, the recomputation does", log, id)
			}
			if string(got.Sum(nil)) != string(h.Sum(nil)) {
				return fmt.Errorf("%s differs from the recomputation for metric %s", log, id)
			}
		}
		if len(d[log]) != len(want[log]) {
			return fmt.Errorf("%s speaks of %d metrics, the recomputation of %d", log, len(d[log]), len(want[log]))
		}
	}
	return nil
}

// truth is what INGEST says should be: by the folds without a runner, and by a
// plain reading of the payloads.
type truth struct {
	digests digests
	points  map[schemas.ID]map[int64]float64 // by metric and ts; the first one counts
	scores  map[schemas.ID][]*schemas.Score
	alerts  map[schemas.ID]*schemas.AlertEvent
	roots   int
}

// recompute reads all of INGEST.
func (w *world) recompute(ctx context.Context) (*truth, error) {
	t := &truth{digests: digests{}, points: map[schemas.ID]map[int64]float64{}, scores: map[schemas.ID][]*schemas.Score{}, alerts: map[schemas.ID]*schemas.AlertEvent{}}
	for p := range partitions {
		end, err := w.broker.End(ctx, stream.Ingest, p)
		if err != nil {
			return nil, err
		}
		pipe := app.NewPipeline(featurizer.Config{Window: 300 * time.Second, Hop: time.Second})
		pipe.Each = func(log stream.LogName, root uint64, entry []byte) error {
			if err := t.keep(entry); err != nil {
				return err
			}
			return t.digests.add(log, root, entry)
		}
		var root uint64
		var entries [][]byte
		flush := func() error {
			if root == 0 {
				return nil
			}
			t.roots++
			return pipe.Root(p, root, entries)
		}
		err = w.broker.Scan(ctx, stream.Ingest, p, 0, end, func(r uint64, _ int, entry []byte) error {
			if r != root {
				if err := flush(); err != nil {
					return err
				}
				root, entries = r, nil
			}
			entries = append(entries, append([]byte(nil), entry...))
			return t.plain(entry)
		})
		if err == nil {
			err = flush()
		}
		if err != nil {
			return nil, fmt.Errorf("recompute partition %d: %w", p, err)
		}
	}
	return t, nil
}

func (t *truth) keep(entry []byte) error {
	switch schemas.KindOf(entry) {
	case schemas.KindScore, schemas.KindAlertEvent:
	default:
		return nil
	}
	e := &schemas.Entry{}
	if err := e.UnmarshalVT(entry); err != nil {
		return err
	}
	if s := e.GetScore(); s != nil {
		t.scores[schemas.ID(s.MetricId)] = append(t.scores[schemas.ID(s.MetricId)], s)
	}
	if a := e.GetAlertEvent(); a != nil {
		t.alerts[schemas.ID(a.EventId)] = a
	}
	return nil
}

// plain reads a payload with the standard library alone.
func (t *truth) plain(entry []byte) error {
	if schemas.KindOf(entry) != schemas.KindBatch {
		return nil
	}
	e := &schemas.Entry{}
	if err := e.UnmarshalVT(entry); err != nil {
		return err
	}
	for _, s := range e.GetBatch().Slices {
		var d struct {
			Device  string `json:"device_external_id"`
			Metrics []struct {
				Name  string    `json:"name"`
				TS    time.Time `json:"ts"`
				Value float64   `json:"value"`
			} `json:"metrics"`
		}
		if err := json.Unmarshal(s.Json, &d); err != nil {
			return err
		}
		for _, m := range d.Metrics {
			id := schemas.MetricID(schemas.DeviceID(schemas.ID(e.GetBatch().TenantId), d.Device), m.Name)
			if t.points[id] == nil {
				t.points[id] = map[int64]float64{}
			}
			if _, ok := t.points[id][m.TS.UnixMicro()]; !ok {
				t.points[id][m.TS.UnixMicro()] = m.Value
			}
		}
	}
	return nil
}

// logs reads all derived logs; a root that stands twice is an error.
func (w *world) logs(ctx context.Context, logs ...stream.LogName) (digests, error) {
	d := digests{}
	for _, log := range logs {
		for p := range partitions {
			end, err := w.broker.End(ctx, log, p)
			if err != nil {
				return nil, err
			}
			last := uint64(0)
			err = w.broker.Scan(ctx, log, p, 0, end, func(root uint64, index int, entry []byte) error {
				if root < last || (root == last && index == 0) {
					return fmt.Errorf("root %d stands twice in %s", root, stream.StreamName(log, p))
				}
				last = root
				return d.add(log, root, entry)
			})
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", stream.StreamName(log, p), err)
			}
		}
	}
	return d, nil
}

// drained waits until every log and projection has reached the end of INGEST.
func (w *world) drained(ctx context.Context) error {
	var last string
	err := waitFor(ctx, "all stages at the end of INGEST", func() bool {
		last = w.behind(ctx)
		return last == ""
	})
	if err != nil {
		return fmt.Errorf("%w (%s)", err, last)
	}
	return nil
}

// behind names a reader that is not at the end yet.
func (w *world) behind(ctx context.Context) string {
	positions, err := w.store.Positions(ctx)
	if err != nil {
		return err.Error()
	}
	for p := range partitions {
		end, err := w.broker.End(ctx, stream.Ingest, p)
		if err != nil {
			return err.Error()
		}
		for _, log := range derived {
			at, err := w.broker.End(ctx, log, p)
			if err != nil {
				return err.Error()
			}
			if at < end {
				return fmt.Sprintf("%s is at root %d of %d", stream.StreamName(log, p), at, end)
			}
			if positions[log][p] < end {
				return fmt.Sprintf("the projection of %s is at root %d of %d", stream.StreamName(log, p), positions[log][p], end)
			}
		}
	}
	return ""
}

// verify compares everything with everything.
func (w *world) verify(ctx context.Context, l *loader) (*truth, error) {
	if err := errors.Join(w.drained(ctx), w.connected(ctx)); err != nil {
		return nil, err
	}
	t, err := w.recompute(ctx)
	if err != nil {
		return nil, err
	}
	got, err := w.logs(ctx, derived...)
	if err != nil {
		return t, err
	}
	if err := got.compare(t.digests); err != nil {
		return t, err
	}
	return t, errors.Join(w.verifyRows(ctx, t, l), w.verifyWebhooks(ctx, t))
}

// verifyRows compares Postgres with the truth, and what was acknowledged with Postgres.
func (w *world) verifyRows(ctx context.Context, t *truth, l *loader) error {
	conn, err := pgx.Connect(ctx, w.envOf("EDGEPULSE_DATABASE_OWNER_URL"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	stored := map[schemas.ID]map[int64]float64{}
	var id [16]byte
	var ts time.Time
	var value float64
	rows, err := conn.Query(ctx, `SELECT metric_id, ts, value FROM datapoint_samples`)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, []any{&id, &ts, &value}, func() error {
		if stored[id] == nil {
			stored[id] = map[int64]float64{}
		}
		if _, ok := stored[id][ts.UnixMicro()]; ok {
			return fmt.Errorf("datapoint (%s, %s) stands twice", schemas.ID(id), ts)
		}
		stored[id][ts.UnixMicro()] = value
		return nil
	})
	if err != nil {
		return err
	}
	if err := sameSeries(stored, t.points); err != nil {
		return fmt.Errorf("datapoints: %w", err)
	}
	for p, v := range l.acked {
		m := schemas.MetricID(schemas.DeviceID(w.tenant, p.device), p.metric)
		if got, ok := stored[m][p.ts]; !ok || got != v {
			return fmt.Errorf("acknowledged point %v of %s is not stored", p, m)
		}
	}
	return errors.Join(verifyScores(ctx, conn, t), verifyAlerts(ctx, conn, t))
}

func sameSeries(got, want map[schemas.ID]map[int64]float64) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d metrics, expected %d", len(got), len(want))
	}
	for id, series := range want {
		if len(got[id]) != len(series) {
			return fmt.Errorf("metric %s has %d rows, expected %d", id, len(got[id]), len(series))
		}
		for ts, v := range series {
			if g, ok := got[id][ts]; !ok || math.Float64bits(g) != math.Float64bits(v) {
				return fmt.Errorf("metric %s at %d is %v, expected %v", id, ts, g, v)
			}
		}
	}
	return nil
}

func verifyScores(ctx context.Context, conn *pgx.Conn, t *truth) error {
	type row struct {
		score, alarm, expected, lower, upper float64
		label, severity                      string
	}
	type key struct {
		metric schemas.ID
		ts     int64
		tick   bool
	}
	got := map[key]row{}
	var id [16]byte
	var ts time.Time
	var tick bool
	var r row
	rows, err := conn.Query(ctx, `SELECT metric_id, ts, tick, score, alarm_score, expected, lower, upper, label, severity FROM anomaly_scores`)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, []any{&id, &ts, &tick, &r.score, &r.alarm, &r.expected, &r.lower, &r.upper, &r.label, &r.severity}, func() error {
		k := key{id, ts.UnixMicro(), tick}
		if _, ok := got[k]; ok {
			return fmt.Errorf("score %v stands twice", k)
		}
		got[k] = r
		return nil
	})
	if err != nil {
		return err
	}
	n := 0
	for m, list := range t.scores {
		for _, s := range list {
			n++
			want := row{s.Score, s.AlarmScore, s.Expected, s.Lower, s.Upper, s.Label.Word(), s.Severity.Word()}
			if g, ok := got[key{m, s.Ts, s.Tick}]; !ok || g != want {
				return fmt.Errorf("score of %s at %d is %v, expected %v", m, s.Ts, g, want)
			}
		}
	}
	if n != len(got) {
		return fmt.Errorf("%d scores in Postgres, expected %d", len(got), n)
	}
	return nil
}

func verifyAlerts(ctx context.Context, conn *pgx.Conn, t *truth) error {
	var id [16]byte
	var state string
	n := 0
	rows, err := conn.Query(ctx, `SELECT event_id, state FROM alert_events`)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, []any{&id, &state}, func() error {
		n++
		if a := t.alerts[id]; a == nil || a.State.Word() != state {
			return fmt.Errorf("alert event %s (%s) is not in the recomputation", schemas.ID(id), state)
		}
		return nil
	})
	if err == nil && n != len(t.alerts) {
		err = fmt.Errorf("%d alert events in Postgres, expected %d", n, len(t.alerts))
	}
	return err
}

// verifyWebhooks: every event that is to be notified arrived, under one id.
func (w *world) verifyWebhooks(ctx context.Context, t *truth) error {
	want := map[string]bool{}
	for id, a := range t.alerts {
		if a.Notify {
			want[id.String()] = true
		}
	}
	err := waitFor(ctx, "all webhooks", func() bool {
		n, _ := w.inbox.counts()
		return n >= len(want)
	})
	w.inbox.mu.Lock()
	defer w.inbox.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%d of %d webhooks arrived: %w", len(w.inbox.received), len(want), err)
	}
	if len(w.inbox.bad) > 0 {
		return fmt.Errorf("%d webhooks did not verify, the first: %s", len(w.inbox.bad), w.inbox.bad[0])
	}
	seen := map[string]string{}
	for id, event := range w.inbox.events {
		if other, ok := seen[event]; ok {
			return fmt.Errorf("event %s came under two webhook-ids, %s and %s", event, other, id)
		}
		seen[event] = id
		if !want[event] {
			return fmt.Errorf("webhook for event %s, which is not to be notified", event)
		}
	}
	return nil
}

func (w *world) envOf(name string) string {
	for i := len(w.env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(w.env[i], name+"="); ok {
			return v
		}
	}
	return ""
}
