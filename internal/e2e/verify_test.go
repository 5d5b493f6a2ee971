//go:build unix

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// figures are what a verified run consists of.
type figures struct {
	acked, stored, retries int64
	ticks, batches, roots  int
	outputs                map[stream.LogName]int
	commits                map[stream.LogName]int
	metrics                int
	events, requests       int
}

func (f *figures) String() string {
	s := fmt.Sprintf("points acknowledged %d, stored %d, attempts without acknowledgement %d; INGEST roots %d, batches %d, ticks %d; metrics %d",
		f.acked, f.stored, f.retries, f.roots, f.batches, f.ticks, f.metrics)
	for _, log := range derived {
		s += fmt.Sprintf("; %s %d entries in %d commits", log, f.outputs[log], f.commits[log])
	}
	return s + fmt.Sprintf("; webhook events %d in %d requests", f.events, f.requests)
}

// scope says what a comparison demands. With partial, what has not been derived
// yet is no fault; what has must be right. The log except is not looked at.
type scope struct {
	partial bool
	except  string
}

var complete = scope{}

// verify compares logs and rows with the recomputation.
func (w *world) verify(ctx context.Context, truths *[partitions]*truth, s scope) (*figures, error) {
	at, err := w.positions(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.recompute(ctx, truths); err != nil {
		return nil, fmt.Errorf("recompute: %w", err)
	}
	f := &figures{outputs: map[stream.LogName]int{}, commits: map[stream.LogName]int{}}
	var faults []error
	for p, t := range truths {
		f.ticks, f.batches, f.roots, f.stored = f.ticks+t.ticks, f.batches+t.batches, f.roots+int(t.read), f.stored+int64(len(t.points))
		for _, log := range derived {
			if stream.StreamName(log, p) != s.except {
				faults = append(faults, w.verifyLog(ctx, f, log, t, s.partial))
			}
		}
		if !s.partial && at.behind(p) {
			faults = append(faults, fmt.Errorf("partition %d is behind: %s", p, at))
		}
	}
	for _, log := range derived {
		faults = append(faults, w.verifyRows(ctx, f, log, truths, at))
	}
	faults = append(faults, w.verifyPoints(ctx, truths, s.partial))
	if !s.partial {
		faults = append(faults, w.verifyAcked(f, truths), w.verifyWebhooks(ctx, f))
	}
	return f, errors.Join(faults...)
}

// verifyLog compares entry by entry, with their bytes.
func (w *world) verifyLog(ctx context.Context, f *figures, log stream.LogName, t *truth, partial bool) error {
	name := stream.StreamName(log, t.partition)
	got, from, end, commits, err := w.readLog(ctx, log, t.partition)
	if err != nil {
		return err
	}
	want := t.logs[log]
	want = want[upTo(want, from):]
	if partial {
		want = want[:upTo(want, end)]
	}
	f.outputs[log] += len(got)
	f.commits[log] += commits
	for i := range min(len(got), len(want)) {
		if !got[i].equal(want[i]) {
			return fmt.Errorf("log %s differs from the recomputation at entry %d of %d\n\tgot  %s\n\twant %s", name, i, len(got), got[i], want[i])
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("log %s holds %d entries through root %d, expected %d", name, len(got), end, len(want))
	}
	return nil
}

func upTo(list []output, root uint64) int {
	n, _ := slices.BinarySearchFunc(list, root+1, func(o output, r uint64) int {
		if o.root < r {
			return -1
		}
		return 1
	})
	return n
}

// tally is the rows of one metric, whatever their order.
type tally struct {
	rows int
	sum  [2]uint64
}

func tallies(rows []row, log stream.LogName, upTo [partitions]uint64) map[uuid.UUID]tally {
	out := map[uuid.UUID]tally{}
	for _, r := range rows {
		if r.log != log || r.root > upTo[r.partition] {
			continue
		}
		t := out[r.metric]
		t.rows++
		// The place belongs to the row: a right row of a wrong root is wrong.
		place := uint64(r.partition)<<56 ^ r.root*0x9e3779b97f4a7c15
		t.sum[0] += r.hash[0] ^ place
		t.sum[1] += r.hash[1] + place*r.hash[0]
		out[r.metric] = t
	}
	return out
}

// verifyRows compares a table with the recomputation, metric by metric.
func (w *world) verifyRows(ctx context.Context, f *figures, log stream.LogName, truths *[partitions]*truth, at *reached) error {
	rows, err := w.projectedRows(ctx, log)
	if err != nil {
		return err
	}
	end := at.projected[log]
	for p := range end {
		for _, r := range rows {
			if r.partition == p && r.root > end[p] {
				end[p] = r.root // projected since the positions were read
			}
		}
		end[p] = min(end[p], truths[p].read)
	}
	var all []row
	for _, t := range truths {
		all = append(all, t.rows...)
	}
	got, want := tallies(rows, log, end), tallies(all, log, end)
	f.metrics = max(f.metrics, len(want))
	wrong, example := 0, ""
	for id := range union(got, want) {
		if got[id] != want[id] {
			wrong++
			example = fmt.Sprintf("metric %s has %d rows, expected %d", id, got[id].rows, want[id].rows)
		}
	}
	if wrong > 0 {
		return fmt.Errorf("rows of %s in Postgres differ for %d of %d metrics, e.g. %s", log, wrong, len(want), example)
	}
	return nil
}

func union(a, b map[uuid.UUID]tally) map[uuid.UUID]bool {
	out := map[uuid.UUID]bool{}
	for id := range a {
		out[id] = true
	}
	for id := range b {
		out[id] = true
	}
	return out
}

// verifyPoints compares the stored datapoints with the payloads, past every line of
// the product's decoder and folds.
func (w *world) verifyPoints(ctx context.Context, truths *[partitions]*truth, partial bool) error {
	rows, err := w.db.Query(ctx, `SELECT metric_id, (extract(epoch FROM ts) * 1000000)::bigint, value, root, partition FROM datapoint_samples`)
	if err != nil {
		return fmt.Errorf("read datapoints: %w", err)
	}
	var metric [16]byte
	var ts, root int64
	var value float64
	var p int
	seen := map[identity]bool{}
	_, err = pgx.ForEachRow(rows, []any{&metric, &ts, &value, &root, &p}, func() error {
		id := identity{metric, ts}
		if seen[id] {
			return fmt.Errorf("datapoint of metric %s at %d is stored twice", id.metric, ts)
		}
		seen[id] = true
		if want, ok := truths[p].points[id]; !ok || want != (stored{value, uint64(root)}) {
			return fmt.Errorf("datapoint of metric %s at %d is %v of root %d, the payloads say %+v", id.metric, ts, value, root, want)
		}
		return nil
	})
	if err != nil || partial {
		return err
	}
	total := 0
	for _, t := range truths {
		total += len(t.points)
	}
	if len(seen) != total {
		return fmt.Errorf("%d datapoints are stored, the payloads hold %d", len(seen), total)
	}
	return nil
}

// verifyAcked: what was acknowledged is in INGEST, and verifyPoints has shown that what
// is in INGEST is stored.
func (w *world) verifyAcked(f *figures, truths *[partitions]*truth) error {
	l := w.load
	f.acked, f.retries = int64(len(l.acked)), l.retries.Load()
	lost := 0
	for id, value := range l.acked {
		found := false
		for _, t := range truths {
			if s, ok := t.points[id]; ok && s.value == value {
				found = true
			}
		}
		if !found {
			lost++
		}
	}
	if lost > 0 {
		return fmt.Errorf("%d of %d acknowledged points are not stored", lost, len(l.acked))
	}
	return nil
}

// verifyWebhooks: every event to be notified came, nothing else did, and each
// under one webhook-id, the one that RFC 9562 derives.
func (w *world) verifyWebhooks(ctx context.Context, f *figures) error {
	var endpoint [16]byte
	if err := w.db.QueryRow(ctx, `SELECT endpoint_id FROM webhooks`).Scan(&endpoint); err != nil {
		return fmt.Errorf("read endpoint: %w", err)
	}
	rows, err := w.db.Query(ctx, `SELECT event_id FROM alert_events WHERE notify`)
	if err != nil {
		return fmt.Errorf("read alert events: %w", err)
	}
	want, err := pgx.CollectRows(rows, pgx.RowTo[[16]byte])
	if err != nil {
		return fmt.Errorf("read alert events: %w", err)
	}
	in := w.inbox
	in.mu.Lock()
	defer in.mu.Unlock()
	f.events, f.requests = len(in.byEvent), in.requests
	if len(in.refused) > 0 {
		return fmt.Errorf("%d webhooks were refused by the receiver: %s", len(in.refused), in.refused[0])
	}
	if len(want) != len(in.byEvent) {
		return fmt.Errorf("%d events were received, %d are to be notified", len(in.byEvent), len(want))
	}
	for _, id := range want {
		ids := in.byEvent[uuid.UUID(id).String()]
		expected := uuid.NewSHA1(uuid.UUID(id), endpoint[:]).String()
		if len(ids) != 1 || ids[expected] == 0 {
			return fmt.Errorf("event %s came under the webhook-ids %v, expected %s", uuid.UUID(id), ids, expected)
		}
	}
	return w.verifyPlans(ctx)
}

// verifyPlans: DELIVERIES plans each webhook once, whoever was killed meanwhile.
func (w *world) verifyPlans(ctx context.Context) error {
	planned := map[uuid.UUID]bool{}
	for p := range partitions {
		list, err := w.messages(ctx, stream.StreamName(stream.Deliveries, p), 0)
		if err != nil {
			return err
		}
		for _, m := range list {
			c := &schemas.Commit{}
			if err := proto.Unmarshal(m.data, c); err != nil {
				return fmt.Errorf("DELIVERIES_%d: message %d: %w", p, m.seq, err)
			}
			for _, raw := range c.Facts {
				e := &schemas.Entry{}
				if err := proto.Unmarshal(raw, e); err != nil {
					return fmt.Errorf("DELIVERIES_%d: message %d: %w", p, m.seq, err)
				}
				d := e.GetDelivery()
				if d.GetKind() != schemas.DeliveryKind_DELIVERY_KIND_PLANNED {
					continue
				}
				if id := uuid.UUID(d.WebhookId); planned[id] {
					return fmt.Errorf("webhook %s was planned twice", id)
				} else {
					planned[id] = true
				}
			}
		}
	}
	return nil
}
