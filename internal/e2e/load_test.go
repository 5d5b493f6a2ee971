package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/edgepulse/edgepulse/internal/simulate"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// point names what was acknowledged.
type pointID struct {
	device, metric string
	ts             int64
}

// loader posts a simulated fleet through the API and moves the simulated clock.
type loader struct {
	w     *world
	fleet *simulate.Fleet
	now   time.Time
	step  time.Duration // simulated time per round
	acked map[pointID]float64
	mu    sync.Mutex
	round int
	sent  int
}

// loadStep is the sampling step of the fleet in simulated time.
const loadStep = 10 * time.Second

func newLoader(ctx context.Context, w *world, seed uint64, devices int) (*loader, error) {
	now := time.Now().UTC().Truncate(time.Second).Add(10 * time.Second)
	fleet, err := simulate.New(simulate.Config{Seed: seed, Devices: devices, Start: now, Step: loadStep, Jitter: .1, AnomaliesPerDay: 60})
	if err != nil {
		return nil, err
	}
	l := &loader{w: w, fleet: fleet, now: now, step: 60 * time.Second, acked: map[pointID]float64{}}
	return l, l.configure(ctx)
}

// configure makes one rule and one webhook.
func (l *loader) configure(ctx context.Context) error {
	var hook api.Webhook
	if err := l.w.api.Post(ctx, "/v1/webhooks", api.Webhook{URL: l.w.inbox.srv.URL + "/hook"}, &hook); err != nil {
		return err
	}
	l.w.inbox.mu.Lock()
	l.w.inbox.secret = hook.Secret
	l.w.inbox.mu.Unlock()
	return l.w.api.Post(ctx, "/v1/alert-rules", api.AlertRule{Name: "anything", MinSeverity: "info", Cooldown: "60s"}, nil)
}

// advance posts what the fleet measured in the next round and moves the clock.
func (l *loader) advance(ctx context.Context) error {
	l.now = l.now.Add(l.step)
	if err := l.clock(ctx, l.now); err != nil {
		return err
	}
	devices := map[string][]simulate.Point{}
	var order []string
	for p := range l.fleet.Until(l.now) {
		if devices[p.Device] == nil {
			order = append(order, p.Device)
		}
		devices[p.Device] = append(devices[p.Device], p)
	}
	l.round++
	errs := make(chan error, len(order))
	work := make(chan string)
	for range 4 {
		go func() {
			for d := range work {
				errs <- l.post(ctx, d, devices[d])
			}
		}()
	}
	for _, d := range order {
		work <- d
	}
	close(work)
	var err error
	for range order {
		if e := <-errs; e != nil {
			err = e
		}
	}
	return err
}

func (l *loader) clock(ctx context.Context, to time.Time) error {
	b, err := json.Marshal(map[string]time.Time{"now": to})
	if err != nil {
		return err
	}
	return l.w.api.Do(ctx, http.MethodPost, "/v1/clock", b, http.Header{"Content-Type": {"application/json"}}, nil)
}

// post sends one device until it is acknowledged; some batches twice, some late.
func (l *loader) post(ctx context.Context, device string, points []simulate.Point) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"device_external_id":%q,"metrics":[`, device)
	for i, p := range points {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"name":%q,"ts":%q,"unit":%q,"value":%s}`, p.Metric, time.UnixMicro(p.TS).UTC().Format("2006-01-02T15:04:05.999999Z"), p.Unit,
			strconv.FormatFloat(p.Value, 'g', -1, 64))
	}
	b.WriteString("]}")
	key := ""
	if l.round%3 == 0 {
		key = fmt.Sprintf("%s-%d", device, l.round)
	}
	repeats := 1
	if (l.round+len(device))%7 == 0 {
		repeats = 2 // a careful client that lost its answer
	}
	for range repeats {
		if _, err := l.w.api.Ingest(ctx, b.Bytes(), key); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range points {
		if math.IsNaN(p.Value) {
			continue
		}
		id := pointID{device, p.Metric, p.TS}
		if _, ok := l.acked[id]; !ok {
			l.acked[id] = p.Value
			l.sent++
		}
	}
	return nil
}

func (l *loader) points() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent
}
