package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/edgepulse/edgepulse/internal/embedded"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/stream"
)

// Machine is everything `up` needs on one computer: an embedded broker, a
// private Postgres and an archive folder, all under one data folder.
type Machine struct {
	Dir      string
	NATS     *embedded.NATS
	Postgres *embedded.Postgres
	secrets  secrets
}

// secrets are made once per data folder and readable by its owner only.
type secrets struct {
	Pepper         string `json:"pepper"`
	SecretKey      string `json:"secret_key"`
	EdgeSecret     string `json:"edge_secret,omitempty"`
	NATSPassword   string `json:"nats_password"`
	WriterPassword string `json:"writer_password"`
	AppPassword    string `json:"app_password"`
	Partitions     int    `json:"partitions"`
	DevTenant      string `json:"dev_tenant,omitempty"`
	DevKey         string `json:"dev_key,omitempty"`
}

const databaseName = "edgepulse"

// StartMachine starts broker and database side by side and points cfg at them.
func StartMachine(ctx context.Context, dir string, cfg *Config, pgBin string, log *slog.Logger) (*Machine, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find data folder: %w", err)
	}
	m := &Machine{Dir: abs}
	if err := os.MkdirAll(abs, 0o755); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	if err := m.loadSecrets(cfg); err != nil {
		return nil, err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		m.NATS, err = embedded.StartNATS(embedded.NATSOptions{StoreDir: filepath.Join(abs, "nats"), Port: -1,
			Password: m.secrets.NATSPassword, Logger: log})
		return err
	})
	g.Go(func() error { return m.startPostgres(gctx, cfg, pgBin, log) })
	if err := g.Wait(); err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	m.configure(cfg)
	return m, nil
}

func (m *Machine) startPostgres(ctx context.Context, cfg *Config, pgBin string, log *slog.Logger) (err error) {
	m.Postgres, err = embedded.StartPostgres(ctx, embedded.PostgresOptions{Dir: filepath.Join(m.Dir, "postgres"), BinDir: pgBin, Nice: cfg.StorageNice, Logger: log})
	if err != nil {
		return err
	}
	owner, err := store.EnsureDatabase(ctx, m.Postgres.SuperuserDSN("postgres"), databaseName)
	if err != nil {
		return err
	}
	cfg.Database = Database{OwnerURL: owner,
		WriterURL: m.Postgres.DSN(store.WriterRole, m.secrets.WriterPassword, databaseName),
		AppURL:    m.Postgres.DSN(store.AppRole, m.secrets.AppPassword, databaseName)}
	return store.Migrate(ctx, store.MigrateConfig{OwnerDSN: owner, WriterPassword: m.secrets.WriterPassword, AppPassword: m.secrets.AppPassword})
}

// configure points the settings that were left open at this machine.
func (m *Machine) configure(cfg *Config) {
	user, password := m.NATS.Credentials()
	cfg.NATS.URL = strings.Replace(m.NATS.ClientURL(), "://", "://"+user+":"+password+"@", 1)
	cfg.NATS.MaxBytes = min(cfg.NATS.MaxBytes, m.NATS.MaxFileStore()*9/10)
	cfg.Gateway.Pepper, cfg.SecretKey = m.secrets.Pepper, m.secrets.SecretKey
	if cfg.Gateway.EdgeSecrets == "" {
		cfg.Gateway.EdgeSecrets = m.secrets.EdgeSecret
	}
	if cfg.Objects.Archive == "" {
		cfg.Objects.Archive = "file://" + filepath.ToSlash(filepath.Join(m.Dir, "archive"))
	}
	if cfg.Objects.Snapshots == "" {
		cfg.Objects.Snapshots = "file://" + filepath.ToSlash(filepath.Join(m.Dir, "state"))
	}
}

// InProcess connects the stages of this process without a socket.
func (m *Machine) InProcess() nats.InProcessConnProvider { return m.NATS }

// Stop ends database and broker, in this order: what was projected is on disk first.
func (m *Machine) Stop() error {
	var err error
	if m.Postgres != nil {
		err = m.Postgres.Stop()
	}
	if m.NATS != nil {
		m.NATS.Stop()
	}
	return err
}

func (m *Machine) secretsFile() string { return filepath.Join(m.Dir, "secrets.json") }

func (m *Machine) loadSecrets(cfg *Config) error {
	b, err := os.ReadFile(m.secretsFile())
	switch {
	case errors.Is(err, os.ErrNotExist):
		cfg.NATS.Partitions = cmp.Or(cfg.NATS.Partitions, stream.PartitionsFor(runtime.NumCPU()))
		m.secrets = secrets{Pepper: randomHex(32), SecretKey: randomHex(32), EdgeSecret: randomHex(32), NATSPassword: randomHex(16),
			WriterPassword: randomHex(16), AppPassword: randomHex(16), Partitions: cfg.NATS.Partitions}
		return m.saveSecrets()
	case err != nil:
		return fmt.Errorf("read secrets: %w", err)
	}
	if err := json.Unmarshal(b, &m.secrets); err != nil {
		return fmt.Errorf("read %s: %w", m.secretsFile(), err)
	}
	cfg.NATS.Partitions = cmp.Or(cfg.NATS.Partitions, m.secrets.Partitions)
	if m.secrets.Partitions != cfg.NATS.Partitions {
		return fmt.Errorf("setting nats-partitions is %d, but this data folder was made with %d: the number is fixed for its life; set EDGEPULSE_PARTITIONS=%d or use another --data",
			cfg.NATS.Partitions, m.secrets.Partitions, m.secrets.Partitions)
	}
	if m.secrets.EdgeSecret == "" { // the folder is older than the edge
		m.secrets.EdgeSecret = randomHex(32)
		return m.saveSecrets()
	}
	return nil
}

func (m *Machine) saveSecrets() error {
	b, err := json.MarshalIndent(m.secrets, "", "  ")
	if err != nil {
		return fmt.Errorf("encode secrets: %w", err)
	}
	return embedded.WriteFile(m.secretsFile(), append(b, '\n'))
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b)
}

// DevKey returns the tenant and the development key of this machine, made at
// the first start. The key itself stands in secrets.json and dev.env only.
func (m *Machine) DevKey(ctx context.Context, s *store.Store) (tenant, key string, err error) {
	if m.secrets.DevKey != "" {
		return m.secrets.DevTenant, m.secrets.DevKey, nil
	}
	t, err := s.CreateTenant(ctx, "dev")
	if err != nil {
		return "", "", fmt.Errorf("make tenant: %w", err)
	}
	plaintext, _, err := s.CreateKey(ctx, t.ID, []string{"ingest", "backfill", "read", "admin"}, store.KeyOptions{Env: "dev", Name: "development"})
	if err != nil {
		return "", "", fmt.Errorf("make key: %w", err)
	}
	m.secrets.DevTenant, m.secrets.DevKey = t.ID.String(), plaintext
	return m.secrets.DevTenant, m.secrets.DevKey, m.saveSecrets()
}

// WriteEnv writes dev.env: what other commands need to reach this machine.
func (m *Machine) WriteEnv(cfg *Config, url string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by `edgepulse up` at %s; secrets inside, do not share.\n", time.Now().UTC().Format(time.RFC3339))
	for _, kv := range [][2]string{
		{"EDGEPULSE_URL", url},
		{"EDGEPULSE_API_KEY", m.secrets.DevKey},
		{"EDGEPULSE_NATS_URL", cfg.NATS.URL},
		{"EDGEPULSE_PARTITIONS", strconv.Itoa(cfg.NATS.Partitions)},
		{"EDGEPULSE_DATABASE_OWNER_URL", cfg.Database.OwnerURL},
		{"EDGEPULSE_DATABASE_WRITER_URL", cfg.Database.WriterURL},
		{"EDGEPULSE_DATABASE_APP_URL", cfg.Database.AppURL},
		{"EDGEPULSE_ARCHIVE_URL", cfg.Objects.Archive},
		{"EDGEPULSE_SNAPSHOT_URL", cfg.Objects.Snapshots},
		{"EDGEPULSE_PEPPER", cfg.Gateway.Pepper},
		{"EDGEPULSE_SECRET_KEY", cfg.SecretKey},
		{"EDGEPULSE_EDGE_SECRETS", cfg.Gateway.EdgeSecrets},
	} {
		fmt.Fprintf(&b, "%s=%s\n", kv[0], shellQuote(kv[1]))
	}
	path := filepath.Join(m.Dir, "dev.env")
	return path, embedded.WriteFile(path, []byte(b.String()))
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
