package bench

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"log/slog"

	"github.com/edgepulse/edgepulse/internal/app"
	"github.com/edgepulse/edgepulse/internal/embedded"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// cluster is the service as one process per stage.
type cluster struct {
	dir      string
	cfg      app.Config
	postgres *embedded.Postgres
	store    *store.Store
	broker   *stream.Broker
	children []*child
	url, key string
}

type child struct {
	name  string
	cmd   *exec.Cmd
	log   string
	pprof string // address of its profiles
}

func startCluster(ctx context.Context, binary, dir string, s Scenario) (c *cluster, err error) {
	c = &cluster{dir: dir}
	defer func() {
		if err != nil {
			c.stop()
		}
	}()
	if c.postgres, err = embedded.StartPostgres(ctx, embedded.PostgresOptions{Dir: filepath.Join(dir, "postgres"), Nice: s.StorageNice}); err != nil {
		return c, err
	}
	natsPort, err := freePort()
	if err != nil {
		return c, err
	}
	apiPort, err := freePort()
	if err != nil {
		return c, err
	}
	secret := strings.Repeat("5a", 32) // a benchmark keeps no secret
	owner, err := store.EnsureDatabase(ctx, c.postgres.SuperuserDSN("postgres"), "edgepulse")
	if err != nil {
		return c, err
	}
	c.cfg.Database.URL = owner
	c.cfg.SecretKey, c.cfg.Gateway.Pepper = secret, secret
	if err := store.Migrate(ctx, store.MigrateConfig{OwnerDSN: owner, WriterPassword: "w", AppPassword: "a"}); err != nil {
		return c, err
	}
	c.cfg.Database = app.Database{OwnerURL: owner, WriterURL: c.postgres.DSN(store.WriterRole, "w", "edgepulse"), AppURL: c.postgres.DSN(store.AppRole, "a", "edgepulse")}
	if c.store, err = app.OpenStore(ctx, &c.cfg); err != nil {
		return c, err
	}
	tenant, err := c.store.CreateTenant(ctx, "bench")
	if err != nil {
		return c, err
	}
	if c.key, _, err = c.store.CreateKey(ctx, tenant.ID, []string{"ingest", "backfill", "read", "admin"}, store.KeyOptions{}); err != nil {
		return c, err
	}
	c.cfg.NATS = stream.BrokerConfig{URL: fmt.Sprintf("nats://b:b@127.0.0.1:%d", natsPort), Partitions: s.Partitions, Replicas: 1, MaxBytes: cmp.Or(s.LogBytes, 16<<30), Timeout: 10 * time.Second}
	env := append(os.Environ(), "EDGEPULSE_NATS_URL="+c.cfg.NATS.URL, fmt.Sprint("EDGEPULSE_PARTITIONS=", s.Partitions),
		fmt.Sprint("EDGEPULSE_STORAGE_NICE=", s.StorageNice),
		fmt.Sprint("EDGEPULSE_LOG_MAX_BYTES=", c.cfg.NATS.MaxBytes),
		"EDGEPULSE_DATABASE_OWNER_URL="+owner, "EDGEPULSE_DATABASE_WRITER_URL="+c.cfg.Database.WriterURL, "EDGEPULSE_DATABASE_APP_URL="+c.cfg.Database.AppURL,
		"EDGEPULSE_ARCHIVE_URL=file://"+filepath.Join(dir, "archive"), "EDGEPULSE_SNAPSHOT_URL=file://"+filepath.Join(dir, "state"),
		"EDGEPULSE_WEBHOOK_ALLOW=127.0.0.1/32", "EDGEPULSE_PEPPER="+secret, "EDGEPULSE_SECRET_KEY="+secret, "EDGEPULSE_LOG_LEVEL=warn",
		fmt.Sprintf("EDGEPULSE_ADDR=127.0.0.1:%d", apiPort))
	if s.Watch {
		env = append(env, fmt.Sprint("EDGEPULSE_JANITOR_KEEP=", s.keep()), fmt.Sprint("EDGEPULSE_JANITOR_EVERY=", s.keep()/8))
	}
	c.url = fmt.Sprintf("http://127.0.0.1:%d", apiPort)
	if err := c.spawn(binary, env, "nats", "--dir", filepath.Join(dir, "nats"), "--port", fmt.Sprint(natsPort), "--user", "b", "--password", "b"); err != nil {
		return c, err
	}
	if c.broker, err = stream.Connect(c.cfg.NATS, "bench", nil, slog.New(slog.DiscardHandler)); err != nil {
		return c, err
	}
	if err := c.broker.WaitConnected(ctx); err != nil {
		return c, err
	}
	if err := c.broker.Provision(ctx); err != nil {
		return c, err
	}
	for _, stage := range []string{"normaliser", "featurizer", "scorer", "alerter", "deliverer", "projector", "archiver", "gateway"} {
		if err := c.spawn(binary, env, stage); err != nil {
			return c, err
		}
	}
	return c, c.ready(ctx)
}

// freePort finds a port below those that the system gives to outgoing connections,
// one of which might take it before the child does.
func freePort() (int, error) {
	var last error
	for range 1000 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 16_000+rand.IntN(14_000)))
		if err != nil {
			last = err
			continue
		}
		defer l.Close()
		return l.Addr().(*net.TCPAddr).Port, nil
	}
	return 0, fmt.Errorf("find a port: %w", last)
}

func (c *cluster) spawn(binary string, env []string, args ...string) error {
	log, err := os.Create(filepath.Join(c.dir, args[0]+".log"))
	if err != nil {
		return fmt.Errorf("make log: %w", err)
	}
	defer log.Close()
	port, err := freePort()
	if err != nil {
		return err
	}
	pprof := fmt.Sprintf("127.0.0.1:%d", port)
	cmd := exec.Command(binary, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(env[:len(env):len(env)], "EDGEPULSE_PPROF_ADDR="+pprof), log, log
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", args[0], err)
	}
	c.children = append(c.children, &child{name: args[0], cmd: cmd, log: log.Name(), pprof: pprof})
	return nil
}

func (c *cluster) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		resp, err := http.Get(c.url + "/v1/ready")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the service did not become ready\n%s", c.tails())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *cluster) tails() string {
	var b strings.Builder
	for _, ch := range c.children {
		text, _ := os.ReadFile(ch.log) // a missing log says nothing
		if len(text) > 400 {
			text = text[len(text)-400:]
		}
		fmt.Fprintf(&b, "--- %s\n%s\n", ch.name, text)
	}
	return b.String()
}

// mostWarnings is how many lines a report quotes.
const mostWarnings = 10

// warnings are what processes had to complain about: a figure that was reached while
// a part of the service did not work is none.
func (c *cluster) warnings() (lines []string) {
	for _, ch := range c.children {
		text, _ := os.ReadFile(ch.log) // a missing log says nothing
		for line := range strings.Lines(string(text)) {
			if (strings.Contains(line, "WARN") || strings.Contains(line, "ERROR")) && len(lines) < mostWarnings {
				lines = append(lines, ch.name+": "+strings.TrimSpace(line))
			}
		}
	}
	return lines
}

func (c *cluster) stop() {
	for i := len(c.children) - 1; i >= 0; i-- {
		_ = c.children[i].cmd.Process.Kill()
		_ = c.children[i].cmd.Wait()
	}
	if c.broker != nil {
		c.broker.Close()
	}
	if c.store != nil {
		c.store.Close()
	}
	if c.postgres != nil {
		_ = c.postgres.Stop()
	}
}

// follow reads SCORES and times every evaluation of a point: its timestamp is
// when it was sent.
func (c *cluster) follow(ctx context.Context, p int, l *latencies, n *atomic.Int64, timed bool) {
	from, err := c.broker.End(ctx, stream.Scores, p)
	if err != nil {
		return
	}
	// The context ends the reading; another error shows as missing evaluations.
	_ = c.broker.Follow(ctx, stream.Scores, p, from, func(m stream.Message) (bool, error) {
		now := time.Now().UnixMicro()
		for _, r := range m.Roots {
			for _, raw := range r.Entries {
				if schemas.KindOf(raw) != schemas.KindScore {
					continue
				}
				n.Add(1)
				if !timed {
					continue
				}
				e := &schemas.Entry{}
				if e.UnmarshalVTUnsafe(raw) == nil && !e.GetScore().Tick {
					l.add(float64(now-e.GetScore().Ts) / 1e3)
				}
			}
		}
		return false, nil
	})
}
