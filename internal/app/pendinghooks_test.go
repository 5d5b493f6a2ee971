package app

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgepulse/edgepulse/alerter/deliverer"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// swiftClock runs a hundred times as fast as time does.
type swiftClock struct{ from time.Time }

const swift = 100

func (c swiftClock) Now() time.Time                       { return c.from.Add(time.Since(c.from) * swift) }
func (swiftClock) After(d time.Duration) <-chan time.Time { return time.After(d / swift) }
func (swiftClock) wait(d time.Duration)                   { time.Sleep(d / swift) }

// hookTarget is an endpoint that is down or up, and counts.
type hookTarget struct {
	*httptest.Server
	up       atomic.Bool
	attempts atomic.Int64
}

func newHookTarget(t *testing.T) *hookTarget {
	h := &hookTarget{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h.attempts.Add(1)
		if !h.up.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

// Webhooks that wait for the next attempt when their tenant is deleted are never
// sent, though their endpoint comes up again; they are given up soon, so that the
// log of deliveries need not keep what they would have said; and the report counts
// them. Over a restart of the deliverer, too.
func TestPendingWebhooksOfADeletedTenant(t *testing.T) {
	b := newLiveBench(t)
	gone, stays := newWorld(t, b.db, "leaver"), newWorld(t, b.db, "stays")
	down, up := newHookTarget(t), newHookTarget(t)
	up.up.Store(true)
	for w, target := range map[*world]*hookTarget{gone: down, stays: up} {
		if _, err := b.db.CreateWebhook(t.Context(), w.tenant, api.Webhook{URL: target.URL}, api.RequestKey{}); err != nil {
			t.Fatal(err)
		}
	}
	clock := swiftClock{time.Now()}
	start := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		d, err := deliverer.New(deliverer.Config{Allow: []string{"127.0.0.1/32"}, Clock: clock}, endpoints{b.db.Store}, prometheus.NewRegistry(), b.quiet)
		if err != nil {
			t.Fatal(err)
		}
		var g sync.WaitGroup
		g.Go(func() { _ = d.Run(ctx, b.broker, []int{0, 1}) })
		return func() { cancel(); g.Wait() }
	}
	stop := start()
	alerts := b.log(stream.Alerts, 1)
	const events = 5
	for i := range events {
		alerts.append(gone.alerted(schemas.ID{byte(i + 1)}, 0, schemas.AlertState_ALERT_STATE_OPENED, i))
	}
	await(t, "each event was tried", func() bool { return down.attempts.Load() >= 3*events })
	if n := facts(t, b, gone.tenant); n.pending != events {
		t.Fatalf("%d deliveries are pending, want %d: nothing is shown", n.pending, events)
	}

	// The deletion begins; rows go later.
	if _, err := b.db.BeginErasure(t.Context(), gone.tenant); err != nil {
		t.Fatal(err)
	}
	clock.wait(20 * time.Second) // beyond what a deliverer may believe of endpoints, and an attempt under way
	before := down.attempts.Load()
	down.up.Store(true)
	stop()
	stop = start()
	defer func() { stop() }()
	await(t, "all are given up", func() bool { n := facts(t, b, gone.tenant); return n.pending == 0 && n.gaveUp == events })
	if _, err := b.db.Erase(t.Context(), gone.tenant, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.db.Forget(t.Context(), gone.tenant); err != nil {
		t.Fatal(err)
	}
	// An event that was on its way, and one of the other tenant behind it.
	alerts.append(gone.alerted(schemas.ID{99}, 0, schemas.AlertState_ALERT_STATE_OPENED, 90), stays.alerted(schemas.ID{100}, 0, schemas.AlertState_ALERT_STATE_OPENED, 91))
	await(t, "the other tenant is served", func() bool { return up.attempts.Load() == 1 })
	clock.wait(10 * time.Minute)
	if sent := down.attempts.Load() - before; sent != 0 {
		t.Errorf("%d requests reached the endpoint of a deleted tenant", sent)
	}
	n := facts(t, b, gone.tenant)
	if n.delivered != 0 || n.pending != 0 {
		t.Errorf("the log says of the deleted tenant: %+v", n)
	}
	if n.early != events {
		t.Errorf("%d of %d were given up before their next attempt was due", n.early, events)
	}
	if n.held {
		t.Error("the deliveries hold the log back")
	}
	t.Logf("%d requests before the deletion, none after it; %d given up", before, n.gaveUp)
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for until := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// logged is what DELIVERIES says of a tenant.
type logged struct {
	pending, delivered, gaveUp int
	early                      int  // given up before the next attempt was due
	held                       bool // the log can't be cut behind its end
}

func facts(t *testing.T, b *liveBench, tenant schemas.ID) (out logged) {
	t.Helper()
	for p := range livePartitions {
		st, err := b.broker.StatusOf(t.Context(), stream.Deliveries, p)
		if err != nil {
			t.Fatal(err)
		}
		if st.LastSeq == 0 {
			continue
		}
		ledger, pending, next := deliverer.NewLedger(), map[string]bool{}, map[string]int64{}
		err = b.broker.Follow(t.Context(), stream.Deliveries, p, 0, func(m stream.Message) (bool, error) {
			var entries [][]byte
			for _, r := range m.Roots {
				entries = append(entries, r.Entries...)
			}
			if err := ledger.Take(m.To, entries); err != nil {
				return false, err
			}
			for _, raw := range entries {
				e := &schemas.Entry{}
				if err := e.UnmarshalVT(raw); err != nil {
					return false, err
				}
				f := e.GetDelivery()
				if string(f.GetTenantId()) != string(tenant[:]) {
					continue
				}
				switch {
				case f.Kind == schemas.DeliveryKind_DELIVERY_KIND_PLANNED:
					pending[string(f.WebhookId)] = true
				case f.Outcome == schemas.DeliveryOutcome_DELIVERY_OUTCOME_DELIVERED:
					out.delivered++
					delete(pending, string(f.WebhookId))
				case f.Outcome == schemas.DeliveryOutcome_DELIVERY_OUTCOME_GAVE_UP:
					out.gaveUp++
					if f.At < next[string(f.WebhookId)] {
						out.early++
					}
					delete(pending, string(f.WebhookId))
				default:
					next[string(f.WebhookId)] = f.NextAt
				}
			}
			return m.To >= st.LastSeq, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		out.pending += len(pending)
		out.held = out.held || ledger.Ended() < ledger.Read()
	}
	return out
}
