//go:build unix

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/edgepulse/edgepulse/internal/simulate"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// identity of a point; metric is derived here by the RFC, not by the product.
type identity struct {
	metric uuid.UUID
	ts     int64 // µs
}

const (
	clients   = 8
	roundStep = 5 * time.Second // of simulated time
)

// load is a fleet whose clients post over HTTP, retry what was not acknowledged,
// and write down what was.
type load struct {
	w     *world
	fleet *simulate.Fleet
	rng   *rand.Rand
	now   time.Time // simulated
	http  *http.Client
	held  [][]byte // bodies kept back: they will be late

	mu      sync.Mutex
	acked   map[identity]float64
	sent    atomic.Int64 // points acknowledged, each once
	retries atomic.Int64 // answers that were lost, refused or never came
	keys    atomic.Int64
}

func newLoad(w *world) (*load, error) {
	// The simulated clock begins at the gateway's, which is the wall's.
	now := time.Now().UTC().Truncate(time.Second).Add(2 * time.Second)
	cfg := simulate.Config{Seed: w.seed, Devices: w.devices, Start: now, Step: time.Second, ClockSkew: 500 * time.Millisecond,
		DropRate: 0.01, AnomaliesPerDay: 400, Prefix: "proof"}
	script, err := simulate.Demo(cfg, now.Add(30*time.Second), 0)
	if err != nil {
		return nil, err
	}
	cfg.Script = script
	fleet, err := simulate.New(cfg)
	if err != nil {
		return nil, err
	}
	return &load{w: w, fleet: fleet, rng: rand.New(rand.NewPCG(w.seed, 2)), now: now, acked: map[identity]float64{},
		http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: clients}}}, nil
}

// configure creates the rule and the webhook, and waits until every partition knows the rule.
func (l *load) configure(ctx context.Context) error {
	if err := l.advance(ctx); err != nil {
		return err
	}
	if err := l.call(ctx, http.MethodPost, "/v1/alert-rules", api.AlertRule{Name: "anything odd", MinSeverity: "info", ResolveAfter: "5s", UpdateEvery: "20s"}, nil); err != nil {
		return err
	}
	var hook api.Webhook
	if err := l.call(ctx, http.MethodPost, "/v1/webhooks", api.Webhook{URL: l.w.inbox.srv.URL + "/hook"}, &hook); err != nil {
		return err
	}
	if err := l.w.inbox.trust(hook.Secret); err != nil {
		return err
	}
	return poll(ctx, "the rule is in the logs", func() (bool, error) {
		var waiting int
		err := l.w.db.QueryRow(ctx, `SELECT count(*) FROM control_outbox WHERE published_at IS NULL`).Scan(&waiting)
		return err == nil && waiting == 0, err
	})
}

func (l *load) call(ctx context.Context, method, path string, body, into any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode body: %w", err)
	}
	status, answer, err := l.post(ctx, method, path, b, "")
	if err != nil {
		return err
	}
	if status/100 != 2 {
		return fmt.Errorf("%s %s: %d %s", method, path, status, answer)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}

func (l *load) post(ctx context.Context, method, path string, body []byte, idempotencyKey string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, l.w.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-API-Key", l.w.key)
	if idempotencyKey != "" {
		req.Header.Set("Idempotency-Key", idempotencyKey)
	}
	resp, err := l.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, b, err
}

// advance moves the service's clock to the load's, however often it takes.
func (l *load) advance(ctx context.Context) error {
	return poll(ctx, "the clock was moved", func() (bool, error) {
		status, answer, err := l.post(ctx, http.MethodPost, "/v1/clock", []byte(`{"now":"`+l.now.Format(time.RFC3339Nano)+`"}`), "")
		if err == nil && status == http.StatusUnprocessableEntity && bytes.Contains(answer, []byte("clock_goes_back")) {
			return true, nil // an earlier try, whose answer was lost, has done it
		}
		return err == nil && status == http.StatusOK, nil
	})
}

// round posts the points of one step of simulated time; it returns when all are acknowledged.
func (l *load) round(ctx context.Context) error {
	l.now = l.now.Add(roundStep)
	if err := l.advance(ctx); err != nil {
		return err
	}
	bodies := l.bodies()
	// Some bodies come a round or more late, and in another order.
	late := l.held
	l.held = nil
	for i := 0; i < len(bodies); i++ {
		if l.rng.Float64() < 0.03 {
			l.held = append(l.held, bodies[i])
			bodies = append(bodies[:i], bodies[i+1:]...)
		}
	}
	return l.postAll(ctx, append(bodies, late...))
}

// feed posts at least so many points, as fast as answers come.
func (l *load) feed(ctx context.Context, points int) error {
	for end := l.sent.Load() + int64(points); l.sent.Load() < end; {
		if err := l.round(ctx); err != nil {
			return err
		}
	}
	return l.finish(ctx)
}

// finish posts what was kept back, and one more minute of ticks.
func (l *load) finish(ctx context.Context) error {
	held := l.held
	l.held = nil
	if err := l.postAll(ctx, held); err != nil {
		return err
	}
	l.now = l.now.Add(time.Minute)
	// The silence of the fleet is not over: the next round goes on where it was.
	for range l.fleet.Until(l.now) {
	}
	return l.advance(ctx)
}

func (l *load) postAll(ctx context.Context, bodies [][]byte) error {
	work := make(chan []byte, len(bodies))
	for _, b := range bodies {
		work <- b
	}
	close(work)
	var wg sync.WaitGroup
	errs := make(chan error, clients)
	for i := range clients {
		rng := rand.New(rand.NewPCG(l.rng.Uint64(), uint64(i)))
		wg.Go(func() {
			for b := range work {
				if err := l.ingest(ctx, b, rng); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

type wireMetric struct {
	Name  string    `json:"name"`
	TS    time.Time `json:"ts"`
	Value float64   `json:"value"`
	Unit  string    `json:"unit,omitempty"`
}

type wireDevice struct {
	Device  string       `json:"device_external_id"`
	Metrics []wireMetric `json:"metrics"`
}

type wireBody struct {
	Batches []wireDevice `json:"batches"`
}

// bodies spreads the devices over requests; one request usually spans partitions.
func (l *load) bodies() [][]byte {
	byDevice := map[string][]wireMetric{}
	for p := range l.fleet.Until(l.now) {
		byDevice[p.Device] = append(byDevice[p.Device], wireMetric{p.Metric, time.UnixMicro(p.TS).UTC(), p.Value, p.Unit})
	}
	requests := make([]wireBody, clients)
	for i, id := range l.fleet.Devices() {
		if m := byDevice[id]; len(m) > 0 {
			r := &requests[i%clients]
			r.Batches = append(r.Batches, wireDevice{id, m})
		}
	}
	var out [][]byte
	for _, r := range requests {
		if len(r.Batches) == 0 {
			continue
		}
		b, err := json.Marshal(r)
		if err != nil {
			panic("encode body: " + err.Error()) // finite numbers and plain names
		}
		out = append(out, b)
	}
	return out
}

// ingest posts one body until it is acknowledged, as a careful client does, and
// sometimes as if the acknowledgement had been lost on its way.
func (l *load) ingest(ctx context.Context, body []byte, rng *rand.Rand) error {
	key := fmt.Sprintf("proof-%d", l.keys.Add(1))
	for {
		status, answer, err := l.post(ctx, http.MethodPost, "/v1/ingest", body, key)
		if ctx.Err() != nil {
			return fmt.Errorf("post points: %w", ctx.Err())
		}
		var ack api.IngestAnswer
		if err == nil && status == http.StatusAccepted {
			if err := json.Unmarshal(answer, &ack); err != nil {
				return fmt.Errorf("read answer: %w", err)
			}
			if ack.Rejected == 0 && rng.Float64() >= 0.05 {
				return l.note(body)
			}
		}
		l.retries.Add(1)
		switch {
		case err != nil, status >= 500, status == http.StatusTooManyRequests, status == http.StatusConflict:
		case status == http.StatusAccepted && ack.Rejected == 0:
			if rng.IntN(2) == 0 {
				key = fmt.Sprintf("proof-%d", l.keys.Add(1)) // a client that forgot its key
			}
		case status == http.StatusAccepted, status == http.StatusUnprocessableEntity:
			// A gateway that was started anew begins at the wall's clock: our points are its future.
			key = fmt.Sprintf("proof-%d", l.keys.Add(1))
			if err := l.advance(ctx); err != nil {
				return err
			}
		default:
			return fmt.Errorf("post points: %d %s", status, answer)
		}
		select {
		case <-ctx.Done():
		case <-time.After(20*time.Millisecond + rand.N(50*time.Millisecond)):
		}
	}
}

// note writes down what has been acknowledged.
func (l *load) note(body []byte) error {
	var b wireBody
	if err := json.Unmarshal(body, &b); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range b.Batches {
		for _, m := range d.Metrics {
			l.acked[identity{metricOf(uuid.UUID(l.w.tenant), d.Device, m.Name), m.TS.UnixMicro()}] = m.Value
		}
	}
	l.sent.Store(int64(len(l.acked)))
	return nil
}

// metricOf derives a metric's id from its names, as RFC 9562 says.
func metricOf(tenant uuid.UUID, device, metric string) uuid.UUID {
	return uuid.NewSHA1(uuid.NewSHA1(tenant, []byte(device)), []byte(metric))
}
