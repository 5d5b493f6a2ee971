package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/apikey"
	"github.com/edgepulse/edgepulse/schemas/contract"
)

const testPepper = "pepper of the tests"

// testStart is where the simulated clock of the tests begins: that of the vectors.
var testStart = time.Date(2026, 11, 23, 8, 45, 0, 0, time.UTC)

// broker is a JetStream in this process with every log on disk, synced always.
type broker struct {
	js     jetstream.JetStream
	server *server.Server
}

func startBroker(tb testing.TB, partitions int, maxBytes int64) *broker {
	tb.Helper()
	srv, err := server.NewServer(&server.Options{JetStream: true, StoreDir: tb.TempDir(), DontListen: true, SyncAlways: true, NoSigs: true, MaxPayload: 8 << 20})
	if err != nil {
		tb.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		tb.Fatal("broker does not come up")
	}
	nc, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { nc.Close(); srv.Shutdown(); srv.WaitForShutdown() })
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatal(err)
	}
	for p := range partitions {
		if _, err := js.CreateStream(tb.Context(), jetstream.StreamConfig{Name: fmt.Sprintf("INGEST_%d", p), Subjects: []string{fmt.Sprintf("ingest.%d", p)},
			Storage: jetstream.FileStorage, MaxBytes: maxBytes, Discard: jetstream.DiscardNew}); err != nil {
			tb.Fatal(err)
		}
	}
	return &broker{js, srv}
}

// Append is the Log of the tests, over the real broker.
func (b *broker) Append(ctx context.Context, partition int, group []byte) (uint64, error) {
	ack, err := b.js.Publish(ctx, fmt.Sprintf("ingest.%d", partition), group, jetstream.WithRetryAttempts(0))
	if err != nil {
		var refused *jetstream.APIError
		if errors.As(err, &refused) && refused.ErrorCode == 10077 {
			return 0, fmt.Errorf("%w: %w", ErrLogFull, err)
		}
		return 0, err
	}
	return ack.Sequence, nil
}

// groups reads all of a partition.
func (b *broker) groups(tb testing.TB, partition int) [][]*schemas.Entry {
	tb.Helper()
	stream, err := b.js.Stream(context.Background(), fmt.Sprintf("INGEST_%d", partition))
	if err != nil {
		tb.Fatal(err)
	}
	info, err := stream.Info(context.Background())
	if err != nil {
		tb.Fatal(err)
	}
	var all [][]*schemas.Entry
	for seq := max(1, info.State.FirstSeq); seq <= info.State.LastSeq; seq++ {
		msg, err := stream.GetMsg(context.Background(), seq)
		if err != nil {
			tb.Fatal(err)
		}
		var g schemas.Group
		if err := g.UnmarshalVT(msg.Data); err != nil {
			tb.Fatal(err)
		}
		var entries []*schemas.Entry
		for _, raw := range g.Entries {
			e := new(schemas.Entry)
			if err := e.UnmarshalVT(raw); err != nil {
				tb.Fatal(err)
			}
			entries = append(entries, e)
		}
		all = append(all, entries)
	}
	return all
}

// gate holds publishes back until the test lets them pass: the broker stays real,
// the moment is chosen.
type gate struct {
	Log
	mu      sync.Mutex
	entered chan int      // partition of each publish that waits
	pass    chan struct{} // one per publish that may go
	fail    error         // instead of publishing
}

func newGate(log Log) *gate {
	return &gate{Log: log, entered: make(chan int, 1000), pass: make(chan struct{}, 1000)}
}

func (g *gate) Append(ctx context.Context, partition int, group []byte) (uint64, error) {
	g.entered <- partition
	<-g.pass
	g.mu.Lock()
	err := g.fail
	g.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return g.Log.Append(ctx, partition, group)
}

// keyring holds the keys of the tests.
type keyring struct {
	mu      sync.Mutex
	records map[string]KeyRecord
	err     error
	asked   int
}

func newKeyring() *keyring { return &keyring{records: map[string]KeyRecord{}} }

func (k *keyring) LookupKey(_ context.Context, id string) (KeyRecord, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	if k.err != nil {
		return KeyRecord{}, k.err
	}
	r, ok := k.records[id]
	if !ok {
		return r, fmt.Errorf("key %s: %w", id, ErrNotFound)
	}
	return r, nil
}

// add makes a key; change may alter its record.
func (k *keyring) add(tenant schemas.ID, change func(*KeyRecord), scopes ...string) string {
	plain, id, hash := apikey.New("test", []byte(testPepper))
	r := KeyRecord{KeyID: id, TenantID: tenant, Hash: hash, Scopes: scopes}
	if change != nil {
		change(&r)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.records[id] = r
	return plain
}

func (k *keyring) change(plain string, f func(*KeyRecord)) {
	id, _, _ := apikey.Parse(plain)
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.records[id]
	f(&r)
	k.records[id] = r
}

// bench is a gateway with what surrounds it.
type bench struct {
	tb     testing.TB
	broker *broker
	keys   *keyring
	store  *shelf
	server *Server
	reg    *prometheus.Registry
	logs   *syncBuffer
	wall   *wallClock
	tenant schemas.ID
	key    string // all scopes
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

type wallClock struct {
	mu  sync.Mutex
	now time.Time
}

func (w *wallClock) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *wallClock) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// newBench starts a gateway with a simulated clock over a real broker.
func newBench(tb testing.TB, change func(*Config, *Deps)) *bench {
	tb.Helper()
	b := &bench{tb: tb, keys: newKeyring(), store: newShelf(), reg: prometheus.NewRegistry(), logs: &syncBuffer{}, wall: &wallClock{now: testStart}}
	cfg := DefaultConfig()
	cfg.Addr, cfg.Clock, cfg.Pepper, cfg.Partitions, cfg.RefusalPause = "", "sim", testPepper, 4, 0
	deps := Deps{Keys: b.keys, Queries: b.store, Registry: b.reg, Wall: b.wall.Now, Clock: NewSimClock(testStart.UnixMicro()),
		Logger: slog.New(slog.NewTextHandler(b.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	b.broker = startBroker(tb, cfg.Partitions, 1<<30)
	deps.Log = b.broker
	if change != nil {
		change(&cfg, &deps)
	}
	s, err := New(cfg, deps)
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.Start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Stop(context.Background()) })
	b.server, b.tenant = s, schemas.NewID()
	b.key = b.keys.add(b.tenant, nil, ScopeIngest, ScopeBackfill, ScopeRead, ScopeAdmin)
	return b
}

// do sends a request through the handler. Headers are name, value pairs.
func (b *bench) do(method, target, key string, body io.Reader, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, body)
	if key != "" {
		r.Header.Set("X-API-Key", key)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
		}
	}
	w := httptest.NewRecorder()
	b.handler().ServeHTTP(w, r)
	return w
}

// theContract is read once: building its validator takes longer than most tests.
var theContract = sync.OnceValues(contract.Load)

// handler holds every request and answer against the contract.
func (b *bench) handler() http.Handler {
	if _, test := b.tb.(*testing.T); !test { // a fuzz target must not name its outer test, a benchmark measures the gateway
		return b.server.Handler()
	}
	b.tb.Helper()
	c, err := theContract()
	if err != nil {
		b.tb.Fatal(err)
	}
	return c.Handler(b.server.Handler(), func(why string) { b.tb.Error(why) })
}

func (b *bench) ingest(body string, headers ...string) *httptest.ResponseRecorder {
	return b.do(http.MethodPost, "/v1/ingest", b.key, bytes.NewReader([]byte(body)), headers...)
}

// oneMetric is a small good body.
func oneMetric(device string) string {
	return fmt.Sprintf(`{"device_external_id":%q,"metrics":[{"name":"v","ts":"2026-11-23T08:44:00Z","value":1}]}`, device)
}

func serve(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}
