//go:build prometheus

package alarms

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/edgepulse/edgepulse/internal/embedded"
	"github.com/edgepulse/edgepulse/internal/store"
)

// deployment is the cluster form on one machine: broker, database, a process per
// stage, and Prometheus with the configuration that the repository ships.
type deployment struct {
	dir, binary string
	env         []string
	procs       map[string]*process
	prometheus  string // address
}

type process struct {
	name string
	path string
	args []string
	env  []string
	cmd  *exec.Cmd
}

const root = "../../.."

func start(t *testing.T, ctx context.Context) *deployment {
	t.Helper()
	d := &deployment{dir: t.TempDir(), procs: map[string]*process{}}
	t.Cleanup(d.close)
	for dir := d.dir; strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { // Postgres runs as another user
			t.Fatal(err)
		}
	}
	d.build(t, ctx)
	pg, err := embedded.StartPostgres(ctx, embedded.PostgresOptions{Dir: filepath.Join(d.dir, "postgres"), NoDownload: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pg.Stop() })
	owner, err := store.EnsureDatabase(ctx, pg.SuperuserDSN("postgres"), "edgepulse")
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(ctx, store.MigrateConfig{OwnerDSN: owner, WriterPassword: "w", AppPassword: "a"}); err != nil {
		t.Fatal(err)
	}
	nats, api := free(t), free(t)
	secret := strings.Repeat("a5", 32)
	d.env = append(os.Environ(), fmt.Sprintf("EDGEPULSE_NATS_URL=nats://m:m@127.0.0.1:%d", nats), "EDGEPULSE_PARTITIONS=2",
		"EDGEPULSE_LOG_MAX_BYTES=536870912", "EDGEPULSE_DATABASE_WRITER_URL="+pg.DSN(store.WriterRole, "w", "edgepulse"),
		"EDGEPULSE_DATABASE_APP_URL="+pg.DSN(store.AppRole, "a", "edgepulse"), "EDGEPULSE_ARCHIVE_URL=file://"+filepath.Join(d.dir, "archive"),
		"EDGEPULSE_PEPPER="+secret, "EDGEPULSE_SECRET_KEY="+secret, "EDGEPULSE_LOG_LEVEL=warn",
		fmt.Sprintf("EDGEPULSE_ADDR=127.0.0.1:%d", api), "EDGEPULSE_DATA="+filepath.Join(d.dir, "none"))
	d.procs["nats"] = &process{name: "nats", path: d.binary,
		args: []string{"nats", "--dir", filepath.Join(d.dir, "nats"), "--port", fmt.Sprint(nats), "--user", "m", "--password", "m"}}
	d.start(t, "nats")
	targets := []string{fmt.Sprintf("127.0.0.1:%d", api)}
	for _, s := range stages {
		p := &process{name: s, path: d.binary, args: []string{s}}
		if s != "gateway" {
			addr := fmt.Sprintf("127.0.0.1:%d", free(t))
			p.env = []string{"EDGEPULSE_METRICS_ADDR=" + addr}
			targets = append(targets, addr)
		}
		d.procs[s] = p
		d.start(t, s)
	}
	d.observe(t, targets)
	return d
}

func (d *deployment) build(t *testing.T, ctx context.Context) {
	t.Helper()
	if d.binary = os.Getenv("EDGEPULSE_BINARY"); d.binary != "" {
		return
	}
	d.binary = filepath.Join(d.dir, "edgepulse")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", d.binary, "./cmd/edgepulse")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the binary: %v\n%s", err, out)
	}
}

// observe starts Prometheus with the shipped configuration; only addresses and
// folders are put in.
func (d *deployment) observe(t *testing.T, targets []string) {
	t.Helper()
	rules, err := filepath.Abs(filepath.Join(root, "dashboard", "prometheus"))
	if err != nil {
		t.Fatal(err)
	}
	shipped, err := os.ReadFile(filepath.Join(rules, "prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	config := string(shipped)
	for from, to := range map[string]string{"[rules/*.yml]": "[" + filepath.Join(rules, "rules/*.yml") + "]",
		"[targets/*.json]": "[" + filepath.Join(d.dir, "targets.json") + "]"} {
		if strings.Count(config, from) != 1 {
			t.Fatalf("prometheus.yml does not name %q once", from)
		}
		config = strings.Replace(config, from, to, 1)
	}
	groups, err := json.Marshal([]map[string]any{{"targets": targets}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"prometheus.yml": config, "targets.json": string(groups)} {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listen := fmt.Sprintf("127.0.0.1:%d", free(t))
	d.prometheus = "http://" + listen
	d.procs["prometheus"] = &process{name: "prometheus", path: "prometheus", args: []string{"--config.file=" + filepath.Join(d.dir, "prometheus.yml"),
		"--storage.tsdb.path=" + filepath.Join(d.dir, "tsdb"), "--web.listen-address=" + listen, "--log.level=warn"}}
	d.start(t, "prometheus")
}

// free finds a port below those that the system gives to outgoing connections: the
// processes here are killed and started again.
func free(t *testing.T) int {
	t.Helper()
	for range 1000 {
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 16_000+rand.IntN(14_000))); err == nil {
			defer l.Close()
			return l.Addr().(*net.TCPAddr).Port
		}
	}
	t.Fatal("no free port on this machine")
	return 0
}

func (d *deployment) start(t *testing.T, name string) {
	t.Helper()
	p := d.procs[name]
	log, err := os.OpenFile(filepath.Join(d.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Env = append(append([]string{}, d.env...), p.env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

// kill is SIGKILL, and waits until the process is gone.
func (d *deployment) kill(name string) {
	p := d.procs[name]
	_ = p.cmd.Process.Kill() // it may have ended by itself
	_ = p.cmd.Wait()
}

func (d *deployment) close() {
	for _, p := range d.procs {
		if p.cmd != nil && p.cmd.Process != nil {
			d.kill(p.name)
		}
	}
}

func (d *deployment) tails() string {
	var b strings.Builder
	for name := range d.procs {
		text, _ := os.ReadFile(filepath.Join(d.dir, name+".log")) // none = said nothing
		fmt.Fprintf(&b, "--- %s\n%s\n", name, text[max(0, len(text)-800):])
	}
	return b.String()
}
