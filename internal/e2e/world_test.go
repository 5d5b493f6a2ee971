//go:build unix

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/edgepulse/edgepulse/internal/app"
	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/internal/embedded"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

const partitions = 4

// dose says how big a world is and what is done to it.
type dose struct {
	seed        uint64
	owners      int // of every stage, each with all partitions
	points      int
	devices     int
	kills       int // SIGKILL of anything but the broker
	stops       int // SIGSTOP, later SIGCONT
	brokerKills int
	fault       string // rule switched off in the stages
	lostAcks    float64
	janitor     bool          // logs are cut as soon as nobody needs them
	stall       time.Duration // without progress for so long the run has failed
}

// world is a deployment: a broker, a database and one process per stage.
type world struct {
	dose
	rng       *rand.Rand
	dir       string
	binary    string
	env       []string
	broker    *process
	gateway   *process
	stages    []*process
	cfg       app.Config
	store     *store.Store
	db        *pgx.Conn
	nc        *nats.Conn
	js        jetstream.JetStream
	inspect   *stream.Broker
	tenant    schemas.ID
	url, key  string
	inbox     *inbox
	archive   stream.Blobs
	keys      archive.Keys // of what is sealed there
	load      *load
	metricsAt map[string]string // address of /metrics by process
	say       func(string, ...any)
}

var postgres struct {
	once   sync.Once
	dir    string
	server *embedded.Postgres
	err    error
	count  atomic.Int64
}

// startPostgres starts the one server that all worlds of this test process share.
func startPostgres() (*embedded.Postgres, error) {
	p := &postgres
	p.once.Do(func() {
		// Not under t.TempDir: its folders are closed to the user that the server runs as.
		if p.dir, p.err = os.MkdirTemp("", "epe"); p.err != nil {
			return
		}
		if p.err = os.Chmod(p.dir, 0o711); p.err != nil {
			return
		}
		p.server, p.err = embedded.StartPostgres(context.Background(), embedded.PostgresOptions{
			Dir: p.dir, BinDir: os.Getenv("EDGEPULSE_PG_BIN"), NoDownload: true,
			// No test here cuts the power of the database: what is killed is those who write to it.
			Settings: map[string]string{"fsync": "off", "max_connections": "300"},
		})
	})
	return p.server, p.err
}

func stopPostgres() {
	if postgres.server != nil {
		_ = postgres.server.Stop()
	}
	if postgres.dir != "" {
		_ = os.RemoveAll(postgres.dir)
	}
}

var errNoPostgres = embedded.ErrNoPostgres

// newWorld starts a deployment in dir, with a rule and a webhook in force.
func newWorld(ctx context.Context, dir string, d dose, say func(string, ...any)) (w *world, err error) {
	w = &world{dose: d, rng: rand.New(rand.NewPCG(d.seed, 1)), dir: dir, metricsAt: map[string]string{}, say: say}
	defer func(begun *world) { // a return of an error has w no more
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, begun.tails())
			begun.close()
		}
	}(w)
	if w.binary, err = buildBinary(binDir); err != nil {
		return nil, err
	}
	if err := w.database(ctx); err != nil {
		return nil, err
	}
	natsPort, apiPort := freePort(), freePort()
	w.cfg.NATS = stream.BrokerConfig{URL: fmt.Sprintf("nats://e2e:e2e@127.0.0.1:%d", natsPort), Partitions: partitions, Replicas: 1,
		MaxBytes: 3 << 30, Timeout: 5 * time.Second}
	w.url = fmt.Sprintf("http://127.0.0.1:%d", apiPort)
	w.inbox = newInbox()
	if w.archive, err = archive.NewFolder(filepath.Join(dir, "archive")); err != nil {
		return nil, err
	}
	w.environment(apiPort)
	w.broker = w.process("nats", "nats", "nats", "--dir", w.natsDir(), "--port", fmt.Sprint(natsPort), "--user", "e2e", "--password", "e2e",
		"--max-bytes", fmt.Sprint(4<<30))
	w.gateway = w.process("gateway", "gateway", "gateway")
	for _, stage := range []string{"normaliser", "featurizer", "scorer", "alerter", "projector"} {
		for i := range max(d.owners, 1) {
			w.stages = append(w.stages, w.process(fmt.Sprintf("%s-%c", stage, 'a'+i), stage, stage))
		}
	}
	w.stages = append(w.stages, w.process("deliverer", "deliverer", "deliverer"), w.process("archiver", "archiver", "archiver"))
	if err := w.startBroker(ctx); err != nil {
		return nil, err
	}
	if err := w.startStages(ctx); err != nil {
		return nil, err
	}
	if w.load, err = newLoad(w); err != nil {
		return nil, err
	}
	return w, w.load.configure(ctx)
}

func (w *world) database(ctx context.Context) error {
	pg, err := startPostgres()
	if err != nil {
		return err
	}
	name := fmt.Sprintf("world_%d", postgres.count.Add(1))
	owner, err := store.EnsureDatabase(ctx, pg.SuperuserDSN("postgres"), name)
	if err != nil {
		return err
	}
	if err := store.Migrate(ctx, store.MigrateConfig{OwnerDSN: owner, WriterPassword: "w", AppPassword: "a"}); err != nil {
		return err
	}
	secret := strings.Repeat("5a", 32) // a test keeps no secret
	w.cfg.SecretKey, w.cfg.Gateway.Pepper = secret, secret
	w.cfg.Database = app.Database{OwnerURL: owner, WriterURL: pg.DSN(store.WriterRole, "w", name), AppURL: pg.DSN(store.AppRole, "a", name)}
	if w.store, err = app.OpenStore(ctx, &w.cfg); err != nil {
		return err
	}
	if w.db, err = pgx.Connect(ctx, owner); err != nil {
		return fmt.Errorf("connect to database: %w", err)
	}
	w.keys = app.ArchiveKeys(w.store.DataKeys())
	tenant, err := w.store.CreateTenant(ctx, "proof")
	if err != nil {
		return err
	}
	w.tenant = tenant.ID
	w.key, _, err = w.store.CreateKey(ctx, tenant.ID, []string{"ingest", "read", "admin"}, store.KeyOptions{})
	return err
}

func (w *world) environment(apiPort int) {
	own := []string{"EDGEPULSE_NATS_URL=" + w.cfg.NATS.URL, fmt.Sprint("EDGEPULSE_PARTITIONS=", partitions),
		fmt.Sprint("EDGEPULSE_LOG_MAX_BYTES=", w.cfg.NATS.MaxBytes),
		// An answer that a killed broker owes is waited for this long.
		"EDGEPULSE_NATS_TIMEOUT=2s", "EDGEPULSE_APPEND_TIMEOUT=2s",
		"EDGEPULSE_DATABASE_OWNER_URL=" + w.cfg.Database.OwnerURL, "EDGEPULSE_DATABASE_WRITER_URL=" + w.cfg.Database.WriterURL,
		"EDGEPULSE_DATABASE_APP_URL=" + w.cfg.Database.AppURL,
		"EDGEPULSE_ARCHIVE_URL=file://" + filepath.Join(w.dir, "archive"), "EDGEPULSE_SNAPSHOT_URL=file://" + w.snapshotDir(),
		// Owners that live for a second must have had the time for a snapshot, and one that is frozen for a moment must find that it was overtaken.
		"EDGEPULSE_SNAPSHOT_EVERY=150ms", "EDGEPULSE_SNAPSHOT_LOAD=1", "EDGEPULSE_TAKEOVER=200ms",
		"EDGEPULSE_PEPPER=" + w.cfg.Gateway.Pepper, "EDGEPULSE_SECRET_KEY=" + w.cfg.SecretKey,
		fmt.Sprintf("EDGEPULSE_ADDR=127.0.0.1:%d", apiPort), "EDGEPULSE_CLOCK=sim", "EDGEPULSE_WEBHOOK_ALLOW=127.0.0.0/8",
		"EDGEPULSE_DATA=" + filepath.Join(w.dir, "none")}
	if w.janitor {
		own = append(own, "EDGEPULSE_JANITOR_EVERY=300ms", "EDGEPULSE_JANITOR_KEEP=1s", "EDGEPULSE_SEGMENT_AGE=1s")
	}
	if w.lostAcks > 0 {
		own = append(own, fmt.Sprint("EDGEPULSE_FAULT_LOST_ACKS=", w.lostAcks))
	}
	if w.fault != "" {
		own = append(own, "EDGEPULSE_FAULTS="+w.fault)
	}
	// Nothing of the caller's own settings may reach the children.
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "EDGEPULSE_") && !strings.HasPrefix(kv, "DATABASE_URL=") {
			w.env = append(w.env, kv)
		}
	}
	w.env = append(w.env, own...)
}

func (w *world) process(name, stage string, args ...string) *process {
	env := w.env
	if name != "nats" && name != "gateway" {
		addr := fmt.Sprintf("127.0.0.1:%d", freePort())
		w.metricsAt[name] = "http://" + addr + "/metrics"
		env = append(env[:len(env):len(env)], "EDGEPULSE_METRICS_ADDR="+addr)
	}
	return &process{name: name, stage: stage, binary: w.binary, args: args, env: env, log: filepath.Join(w.dir, name+".log")}
}

func (w *world) natsDir() string     { return filepath.Join(w.dir, "nats") }
func (w *world) snapshotDir() string { return filepath.Join(w.dir, "state") }

// startBroker starts the broker and waits until it answers. The test's own
// connection outlives restarts.
func (w *world) startBroker(ctx context.Context) (err error) {
	if err := w.broker.start(); err != nil {
		return err
	}
	if w.nc == nil {
		if w.nc, err = nats.Connect(w.cfg.NATS.URL, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
			nats.RetryOnFailedConnect(true), nats.ReconnectBufSize(-1)); err != nil {
			return fmt.Errorf("connect to broker: %w", err)
		}
		if w.js, err = jetstream.New(w.nc, jetstream.WithDefaultTimeout(2*time.Second)); err != nil {
			return fmt.Errorf("open JetStream: %w", err)
		}
		if w.inspect, err = stream.Connect(w.cfg.NATS, "e2e", nil, slog.New(slog.DiscardHandler)); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return poll(ctx, "the broker answers", func() (bool, error) {
		if !w.nc.IsConnected() {
			return false, w.broker.died
		}
		_, err := w.js.AccountInfo(ctx)
		return err == nil, nil
	})
}

// startStages starts gateway and stages and waits until the way in is open.
func (w *world) startStages(ctx context.Context) error {
	if err := w.gateway.start(); err != nil {
		return err
	}
	for _, p := range w.stages {
		if err := p.start(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	return poll(ctx, "the gateway is ready", func() (bool, error) {
		resp, err := http.Get(w.url + "/v1/ready")
		if err != nil {
			return false, w.gateway.died
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode == http.StatusOK, nil
	})
}

// stopStages ends gateway and stages in an orderly way, all at once.
func (w *world) stopStages() {
	var wg sync.WaitGroup
	for _, p := range w.all() {
		if p != w.broker {
			wg.Go(p.stop)
		}
	}
	wg.Wait()
}

func (w *world) all() []*process {
	all := append([]*process{}, w.stages...)
	if w.gateway != nil {
		all = append(all, w.gateway, w.broker)
	}
	return all
}

func (w *world) close() {
	for _, p := range w.all() {
		p.kill()
	}
	if w.inspect != nil {
		w.inspect.Close()
	}
	if w.nc != nil {
		w.nc.Close()
	}
	if w.db != nil {
		_ = w.db.Close(context.Background())
	}
	if w.store != nil {
		w.store.Close()
	}
	if w.inbox != nil {
		w.inbox.close()
	}
}

// tails are the ends of all logs, for a run that failed.
func (w *world) tails() string {
	var b bytes.Buffer
	for _, p := range w.all() {
		fmt.Fprintf(&b, "--- %s\n%s\n", p.name, p.tail(1500))
	}
	return b.String()
}

var (
	handedMu sync.Mutex
	handed   = map[int]bool{}
)

// freePort finds a port below those that the system gives to outgoing connections:
// processes are killed and started again here, and in between nobody may take it.
func freePort() int {
	handedMu.Lock()
	defer handedMu.Unlock()
	for range 1000 {
		port := 16_000 + rand.IntN(14_000)
		if handed[port] {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		handed[port] = true
		_ = l.Close()
		return port
	}
	panic("no free port on this machine")
}

var errStalled = errors.New("no progress")
