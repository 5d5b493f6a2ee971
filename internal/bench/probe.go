package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/edgepulse/edgepulse/internal/client"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// probes time the whole way from a sensor's request to the webhook. Each is a
// metric whose model has learned ten hours of history; it gets one absurd value.
type probes struct {
	api    *client.Client
	server *http.Server
	names  []string
	points int64 // sent besides the load
	mu     sync.Mutex
	sent   map[string]time.Time
	took   *latencies
}

const (
	probeRows = 600 // one a minute: models are trusted after 500
	probeBody = 200 // rows of one metric in a request
)

// newProbes teaches the models and opens the webhook.
func newProbes(ctx context.Context, c *cluster, n int, progress func(string)) (*probes, error) {
	p := &probes{sent: map[string]time.Time{}, took: newLatencies()}
	var err error
	if p.api, err = client.New(c.url, c.key); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for webhooks: %w", err)
	}
	p.server = &http.Server{Handler: http.HandlerFunc(p.receive), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = p.server.Serve(l) }() // ends with close
	if err := p.api.Post(ctx, "/v1/webhooks", api.Webhook{URL: "http://" + l.Addr().String() + "/"}, nil); err != nil {
		return nil, fmt.Errorf("make webhook: %w", err)
	}
	if err := p.api.Post(ctx, "/v1/alert-rules", api.AlertRule{Name: "probe", DevicePattern: "probe-*", MinSeverity: "info"}, nil); err != nil {
		return nil, fmt.Errorf("make rule: %w", err)
	}
	start := time.Now().Add(-probeRows * time.Minute)
	for i := range n {
		name := fmt.Sprintf("probe-%d", i)
		p.names = append(p.names, name)
		for row := 0; row < probeRows; row += probeBody {
			var b strings.Builder
			fmt.Fprintf(&b, `{"device_external_id":%q,"backfill":true,"metrics":[`, name)
			for j := row; j < row+probeBody; j++ {
				if j > row {
					b.WriteByte(',')
				}
				fmt.Fprintf(&b, `{"name":"value","ts":%q,"value":%.3f}`, start.Add(time.Duration(j)*time.Minute).UTC().Format(time.RFC3339), 20+float64((i*31+j*17)%23)/23)
			}
			b.WriteString("]}")
			if _, err := p.api.Ingest(ctx, []byte(b.String()), ""); err != nil {
				return nil, fmt.Errorf("send history: %w", err)
			}
			p.points += probeBody
		}
		progress(fmt.Sprintf("teaching %d of %d probes", i+1, n))
	}
	return p, c.drained(ctx)
}

// receive notes when the first alert of a probe arrived.
func (p *probes) receive(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	var e struct {
		Data api.AlertEvent `json:"data"`
	}
	if json.NewDecoder(r.Body).Decode(&e) != nil {
		http.Error(w, "not an event", http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if at, ok := p.sent[e.Data.DeviceExternalID]; ok && e.Data.State == "opened" {
		p.took.add(float64(now.Sub(at).Microseconds()) / 1e3)
		delete(p.sent, e.Data.DeviceExternalID)
	}
}

// run sends the absurd values, spread over the middle of the load.
func (p *probes) run(ctx context.Context, whole time.Duration) {
	pause := whole * 8 / 10 / time.Duration(len(p.names))
	next := time.Now().Add(whole / 10)
	for _, name := range p.names {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(next)):
		}
		next = next.Add(pause)
		p.mu.Lock()
		p.sent[name] = time.Now()
		p.mu.Unlock()
		body := fmt.Sprintf(`{"device_external_id":%q,"metrics":[{"name":"value","value":500}]}`, name)
		if _, err := p.api.Ingest(ctx, []byte(body), ""); err == nil {
			p.points++
		}
	}
}

// latencies waits for the last webhooks; unseen spikes are those without one.
func (p *probes) latencies(ctx context.Context) (q Quantiles, unseen int) {
	deadline := time.After(10 * time.Second)
	for {
		p.mu.Lock()
		unseen = len(p.sent)
		p.mu.Unlock()
		if unseen == 0 {
			return p.took.quantiles(), 0
		}
		select {
		case <-ctx.Done():
			return p.took.quantiles(), unseen
		case <-deadline:
			return p.took.quantiles(), unseen
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (p *probes) close() { _ = p.server.Close() }
