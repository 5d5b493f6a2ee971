package alerter_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/edgepulse/edgepulse/alerter"
	"github.com/edgepulse/edgepulse/alerter/deliverer"
	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

const patience = 30 * time.Second

var (
	tenant = schemas.ID{1}
	device = schemas.DeviceID(tenant, "pump-7")
	metric = schemas.MetricID(device, "temp")
	ruleID = schemas.ID{2}
	hookID = schemas.ID{3}
	secret = []byte("0123456789abcdef0123456789abcdef")
)

// TestFromScoreToWebhook runs both shells on a real, fsyncing JetStream and a
// real HTTPS receiver; the deliverer dies between two alerts.
func TestFromScoreToWebhook(t *testing.T) {
	b := broker(t)
	log := slog.New(slog.DiscardHandler)
	blobs, err := archive.NewFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	runner := stream.NewRunner(alerter.Stage(), stream.RunnerConfig{}, b, blobs, stream.NewMetrics(prometheus.NewRegistry()), log, []int{0})
	background(t, runner.Run)

	hooks := make(chan string, 100)
	verifier, err := standardwebhooks.NewWebhook("whsec_" + base64.StdEncoding.EncodeToString(secret))
	if err != nil {
		t.Fatal(err)
	}
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := verifier.Verify(body, r.Header); err != nil {
			t.Errorf("verify: %v", err)
		}
		hooks <- r.Header.Get("webhook-id")
	}))
	t.Cleanup(receiver.Close)
	deliver := func() (stop func()) {
		d, err := deliverer.New(deliverer.Config{Allow: []string{"127.0.0.1"}, Transport: func(tr *http.Transport) {
			pool := x509.NewCertPool()
			pool.AddCert(receiver.Certificate())
			tr.TLSClientConfig = &tls.Config{RootCAs: pool}
		}}, oneEndpoint(receiver.URL), prometheus.NewRegistry(), log)
		if err != nil {
			t.Fatal(err)
		}
		return background(t, func(ctx context.Context) error { return d.Run(ctx, b, []int{0}) })
	}

	scores := &scoreLog{t: t, b: b}
	scores.append(entry(&schemas.Control{Version: 1, TenantId: tenant[:], Change: &schemas.Control_AlertRule{AlertRule: &schemas.AlertRule{
		RuleId: ruleID[:], Name: "hot", MinScore: .8, Enabled: true, DevicePattern: "pump-*"}}}),
		entry(&schemas.MetricDeclared{TenantId: tenant[:], DeviceId: device[:], MetricId: metric[:], DeviceExternalId: "pump-7", Name: "temp"}),
		score(10, .9), score(11, .1))
	stop := deliver()
	first := schemas.AlertID(ruleID, metric, 10_000_000, 0)
	expect(t, hooks, first, 0, 1)
	stop()

	scores.append(score(20, .9))
	deliver()
	second := schemas.AlertID(ruleID, metric, 20_000_000, 0)
	expect(t, hooks, second, 0)
	scores.append(score(21, .1))
	expect(t, hooks, second, 1)
}

func expect(t *testing.T, hooks <-chan string, alert schemas.ID, ordinals ...uint32) {
	t.Helper()
	for _, ordinal := range ordinals {
		want := schemas.WebhookID(schemas.EventID(alert, ordinal), hookID).String()
		select {
		case got := <-hooks:
			if got != want {
				t.Fatalf("webhook %s arrived, expected event %d of alert %s (%s)", got, ordinal, alert, want)
			}
		case <-time.After(patience):
			t.Fatalf("event %d of alert %s did not arrive", ordinal, alert)
		}
	}
}

type oneEndpoint string

func (oneEndpoint) Gone(context.Context, []schemas.ID) ([]schemas.ID, error) { return nil, nil }

func (e oneEndpoint) Endpoints(_ context.Context, of schemas.ID) ([]deliverer.Endpoint, error) {
	if of != tenant {
		return nil, nil
	}
	return []deliverer.Endpoint{{ID: hookID, URL: string(e), Secrets: [][]byte{secret}}}, nil
}

func (oneEndpoint) Disable(context.Context, schemas.ID, schemas.ID, string) error { return nil }

// scoreLog writes SCORES as its stage would: commits that name their predecessor.
type scoreLog struct {
	t    *testing.T
	b    *stream.Broker
	seq  uint64
	sum  []byte
	root uint64
}

func (s *scoreLog) append(entries ...*schemas.Entry) {
	s.t.Helper()
	outputs := &schemas.RootOutputs{Root: s.root + 1}
	for _, e := range entries {
		raw, err := e.MarshalVT()
		if err != nil {
			s.t.Fatal(err)
		}
		outputs.Entries = append(outputs.Entries, raw)
	}
	commit := &schemas.Commit{Log: stream.StreamName(stream.Scores, 0), Epoch: 1, Nonce: make([]byte, 16), From: s.root, To: s.root + 1,
		PrevSeq: s.seq, PrevChain: s.sum, FoldVersion: 1, Outputs: []*schemas.RootOutputs{outputs}}
	raw, err := commit.MarshalVT()
	if err != nil {
		s.t.Fatal(err)
	}
	if s.seq, err = s.b.Append(s.t.Context(), stream.Scores, 0, raw); err != nil {
		s.t.Fatal(err)
	}
	sum := sha256.Sum256(raw)
	s.sum, s.root = sum[:], s.root+1
}

func entry(kind any) *schemas.Entry {
	switch k := kind.(type) {
	case *schemas.Control:
		return &schemas.Entry{Kind: &schemas.Entry_Control{Control: k}}
	case *schemas.MetricDeclared:
		return &schemas.Entry{Kind: &schemas.Entry_MetricDeclared{MetricDeclared: k}}
	default:
		return &schemas.Entry{Kind: &schemas.Entry_Score{Score: k.(*schemas.Score)}}
	}
}

func score(second int64, alarm float64) *schemas.Entry {
	return entry(&schemas.Score{TenantId: tenant[:], DeviceId: device[:], MetricId: metric[:], Ts: second * 1_000_000, ReceivedAt: second * 1_000_000,
		Score: alarm, AlarmScore: alarm, WarmUp: schemas.WarmUp_WARM_UP_TRUSTED, Severity: schemas.Severity_SEVERITY_WARNING})
}

// background runs something until the test, or the returned function, ends it.
func background(t *testing.T, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stopped with %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func broker(t *testing.T) *stream.Broker {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true,
		NoSigs: true, NoLog: true, MaxPayload: stream.MaxPayload, JetStreamMaxStore: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("server did not start")
	}
	b, err := stream.Connect(stream.BrokerConfig{URL: s.ClientURL(), Partitions: 1, Replicas: 1, MaxBytes: 1 << 28, Timeout: 5 * time.Second},
		"alerter-test", nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := b.Provision(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}
