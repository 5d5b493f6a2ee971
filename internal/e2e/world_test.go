package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/app"
	"github.com/edgepulse/edgepulse/internal/client"
	"github.com/edgepulse/edgepulse/internal/embedded"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// world is a deployment as processes of its own: one broker, one gateway, two
// owners of every partition of every stage, two projectors, a deliverer, an archiver.
type world struct {
	dir      string
	binary   string
	env      []string
	faults   []string // environment of the stages only
	postgres *embedded.Postgres
	store    *store.Store
	broker   *stream.Broker
	api      *client.Client
	tenant   schemas.ID
	inbox    *inbox

	mu    sync.Mutex
	procs map[string]*proc
}

// proc is one process and how to start it again.
type proc struct {
	name string
	args []string
	env  []string
	cmd  *exec.Cmd
	done chan struct{}
}

const partitions = 4

var stageNames = []string{"normaliser", "featurizer", "scorer", "alerter"}

// owners are the processes that the nemesis may kill.
func owners() []string {
	var out []string
	for _, s := range append(append([]string{}, stageNames...), "projector") {
		out = append(out, s+"-0", s+"-1")
	}
	return append(out, "deliverer-0", "archiver-0")
}

var build struct {
	once sync.Once
	path string
	err  error
}

// productBinary builds the product with the switches of faults_on.go, once.
func productBinary() (string, error) {
	build.once.Do(func() {
		dir, err := os.MkdirTemp("", "edgepulse-e2e-bin-")
		if err != nil {
			build.err = err
			return
		}
		build.path = filepath.Join(dir, "edgepulse")
		out, err := exec.Command("go", "build", "-tags", "faultinject", "-o", build.path, "../../cmd/edgepulse").CombinedOutput()
		if err != nil {
			build.err = fmt.Errorf("build the binary: %w\n%s", err, out)
		}
	})
	return build.path, build.err
}

func TestMain(m *testing.M) {
	code := m.Run()
	if build.path != "" {
		_ = os.RemoveAll(filepath.Dir(build.path))
	}
	os.Exit(code)
}

// newWorld starts everything; lostAcks is the share of commit acknowledgements
// that the stages throw away, mutants the rules they have switched off.
func newWorld(t *testing.T, ctx context.Context, lostAcks float64, mutants string) *world {
	t.Helper()
	bin, err := productBinary()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{dir: t.TempDir(), binary: bin, procs: map[string]*proc{}}
	if err := os.Chmod(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	openParents(t, w.dir)
	t.Cleanup(w.close)
	if w.postgres, err = embedded.StartPostgres(ctx, embedded.PostgresOptions{Dir: filepath.Join(w.dir, "postgres"), NoDownload: true}); err != nil {
		if os.Getenv("EDGEPULSE_TEST_STRICT") == "" && strings.Contains(err.Error(), embedded.ErrNoPostgres.Error()) {
			t.Skip("no PostgreSQL binaries: install postgresql, or set EDGEPULSE_PG_BIN")
		}
		t.Fatal(err)
	}
	w.inbox = newInbox(t)
	w.configure(t, ctx, lostAcks, mutants)
	w.startAll(t, ctx)
	return w
}

// openParents lets the user that Postgres runs as pass the test's folders.
func openParents(t *testing.T, dir string) {
	for d := filepath.Dir(dir); strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) configure(t *testing.T, ctx context.Context, lostAcks float64, mutants string) {
	t.Helper()
	secret := strings.Repeat("a5", 32)
	natsPort, apiPort := freePort(t), freePort(t)
	owner, err := store.EnsureDatabase(ctx, w.postgres.SuperuserDSN("postgres"), "edgepulse")
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(ctx, store.MigrateConfig{OwnerDSN: owner, WriterPassword: "w", AppPassword: "a"}); err != nil {
		t.Fatal(err)
	}
	cfg := app.Config{SecretKey: secret}
	cfg.Gateway.Pepper = secret
	cfg.Database = app.Database{OwnerURL: owner, WriterURL: w.postgres.DSN(store.WriterRole, "w", "edgepulse"), AppURL: w.postgres.DSN(store.AppRole, "a", "edgepulse")}
	cfg.NATS = stream.BrokerConfig{URL: fmt.Sprintf("nats://e:e@127.0.0.1:%d", natsPort), Partitions: partitions, Replicas: 1, MaxBytes: 4 << 30, Timeout: 10 * time.Second}
	if w.store, err = app.OpenStore(ctx, &cfg); err != nil {
		t.Fatal(err)
	}
	tenant, err := w.store.CreateTenant(ctx, "e2e")
	if err != nil {
		t.Fatal(err)
	}
	w.tenant = tenant.ID
	key, _, err := w.store.CreateKey(ctx, tenant.ID, []string{"ingest", "backfill", "read", "admin"}, store.KeyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	url := fmt.Sprintf("http://127.0.0.1:%d", apiPort)
	if w.api, err = client.New(url, key); err != nil {
		t.Fatal(err)
	}
	w.env = append(os.Environ(), "EDGEPULSE_NATS_URL="+cfg.NATS.URL, fmt.Sprint("EDGEPULSE_PARTITIONS=", partitions),
		fmt.Sprint("EDGEPULSE_LOG_MAX_BYTES=", cfg.NATS.MaxBytes),
		"EDGEPULSE_DATABASE_OWNER_URL="+cfg.Database.OwnerURL, "EDGEPULSE_DATABASE_WRITER_URL="+cfg.Database.WriterURL, "EDGEPULSE_DATABASE_APP_URL="+cfg.Database.AppURL,
		"EDGEPULSE_ARCHIVE_URL=file://"+filepath.Join(w.dir, "archive"), "EDGEPULSE_SNAPSHOT_URL=file://"+filepath.Join(w.dir, "state"),
		"EDGEPULSE_PEPPER="+secret, "EDGEPULSE_SECRET_KEY="+secret, "EDGEPULSE_CLOCK=sim", "EDGEPULSE_WEBHOOK_ALLOW=127.0.0.1/32",
		"EDGEPULSE_SNAPSHOT_EVERY=300ms", "EDGEPULSE_SNAPSHOT_LOAD=1",
		fmt.Sprintf("EDGEPULSE_ADDR=127.0.0.1:%d", apiPort), "EDGEPULSE_DATA="+filepath.Join(w.dir, "none"))
	w.faults = []string{fmt.Sprint("EDGEPULSE_FAULT_LOST_ACKS=", lostAcks), "EDGEPULSE_FAULTS=" + mutants}
	w.procs["nats"] = &proc{name: "nats", args: []string{"nats", "--dir", filepath.Join(w.dir, "nats"), "--port", fmt.Sprint(natsPort), "--user", "e", "--password", "e"}}
	w.procs["gateway"] = &proc{name: "gateway", args: []string{"gateway"}}
	for _, name := range owners() {
		stage, _, _ := strings.Cut(name, "-")
		w.procs[name] = &proc{name: name, args: []string{stage}, env: w.faults}
	}
	w.start(t, "nats")
	if w.broker, err = stream.Connect(cfg.NATS, "e2e", nil, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if err := w.broker.WaitConnected(ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.broker.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	w.start(t, "gateway")
	until(t, ctx, "the gateway is ready", func() bool {
		resp, err := http.Get(url + "/v1/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func (w *world) startAll(t *testing.T, _ context.Context) {
	for _, name := range owners() {
		w.start(t, name)
	}
}

func (w *world) stopOwners() {
	for _, name := range owners() {
		w.kill(name)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// start runs a process; its log goes on in the same file.
func (w *world) start(t *testing.T, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.procs[name]
	f, err := os.OpenFile(w.logFile(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	cmd := exec.Command(w.binary, p.args...)
	cmd.Env = append(append([]string{}, w.env...), p.env...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return
	}
	p.cmd, p.done = cmd, make(chan struct{})
	go func(done chan struct{}) {
		_ = cmd.Wait() // a killed process ends with an error
		close(done)
	}(p.done)
}

// kill is SIGKILL, and waits until the process is gone.
func (w *world) kill(name string) {
	w.mu.Lock()
	p := w.procs[name]
	w.mu.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.done
}

func (w *world) signal(name string, s syscall.Signal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.procs[name]; p.cmd != nil {
		_ = p.cmd.Process.Signal(s) // it may have ended by itself
	}
}

func (w *world) logFile(name string) string { return filepath.Join(w.dir, name+".log") }

// said tells whether a process has written a text.
func (w *world) said(name, text string) bool {
	b, _ := os.ReadFile(w.logFile(name)) // not there yet = not said
	return strings.Contains(string(b), text)
}

// tails is the end of every log, for a failure.
func (w *world) tails() string {
	var b strings.Builder
	for name := range w.procs {
		text, _ := os.ReadFile(w.logFile(name))
		if len(text) > 1500 {
			text = text[len(text)-1500:]
		}
		fmt.Fprintf(&b, "--- %s\n%s\n", name, text)
	}
	return b.String()
}

// command runs an operator's command of the product.
func (w *world) command(args ...string) (string, error) {
	cmd := exec.Command(w.binary, args...)
	cmd.Env = w.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (w *world) close() {
	w.stopOwners()
	w.kill("gateway")
	w.kill("nats")
	if w.broker != nil {
		w.broker.Close()
	}
	if w.store != nil {
		w.store.Close()
	}
	if w.postgres != nil {
		_ = w.postgres.Stop()
	}
}

func until(t *testing.T, ctx context.Context, what string, ok func() bool) {
	t.Helper()
	if err := waitFor(ctx, what, ok); err != nil {
		t.Fatal(err)
	}
}

func waitFor(ctx context.Context, what string, ok func() bool) error {
	for !ok() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for: %s: %w", what, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}
