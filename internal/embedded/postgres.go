package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/edgepulse/edgepulse/internal/nice"
)

// Superuser is the role that initdb makes: owner of everything, runs migrations.
const Superuser = "edgepulse_owner"

// PostgresOptions configure the private PostgreSQL.
type PostgresOptions struct {
	Dir          string            // folder of data, log and password; required
	BinDir       string            // folder of the binaries; default: FindPostgres
	CacheDir     string            // for downloaded binaries; default the user's cache folder
	NoDownload   bool              // fail where no binaries are installed
	Password     string            // of Superuser; default random, kept in Dir/password
	Nice         int               // niceness, 0 to 19
	ListenPort   int               // also on 127.0.0.1; 0 = unix socket only
	Settings     map[string]string // server settings, over the defaults
	StartTimeout time.Duration     // default 60 s: crash recovery takes time
	Logger       *slog.Logger      // default discards
}

// Postgres is a running server. It dies with this process.
type Postgres struct {
	opts      PostgresOptions
	bin       Binaries
	owner     osUser
	lock      *dirLock
	socketDir string
	password  string
	pid       int
	done      chan struct{}
	exitErr   error // valid once done is closed
}

// StartPostgres starts the server in o.Dir, after initdb the first time and
// after crash recovery where needed, and answers when it takes connections. A
// server that a killed process left behind in this folder is stopped first.
func StartPostgres(ctx context.Context, o PostgresOptions) (*Postgres, error) {
	p, err := preparePostgres(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.opts.StartTimeout)
	defer cancel()
	if err := p.bringUp(ctx); err != nil {
		p.lock.release()
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	return p, nil
}

func preparePostgres(ctx context.Context, o PostgresOptions) (*Postgres, error) {
	if o.Dir == "" {
		return nil, errors.New("no data folder is set")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = 60 * time.Second
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("resolve folder: %w", err)
	}
	o.Dir = dir
	p := &Postgres{opts: o, done: make(chan struct{})}
	if p.owner, err = serverUser(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o711); err != nil {
		return nil, fmt.Errorf("create folder: %w", err)
	}
	if err := p.owner.checkTraversable(o.Dir); err != nil {
		return nil, err
	}
	if p.bin, err = p.findBinaries(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Postgres) bringUp(ctx context.Context) error {
	var err error
	if p.lock, err = lockDir(p.opts.Dir); err != nil {
		return err
	}
	if p.password, err = p.loadPassword(); err != nil {
		return err
	}
	if err := p.initialise(ctx); err != nil {
		return err
	}
	if err := p.stopOrphan(ctx); err != nil {
		return err
	}
	if p.socketDir, err = p.makeSocketDir(); err != nil {
		return err
	}
	if err := p.removeStaleLocks(); err != nil {
		return err
	}
	return p.launchUntilReady(ctx)
}

func (p *Postgres) findBinaries(ctx context.Context) (Binaries, error) {
	major, err := dataMajor(p.dataDir())
	if err != nil {
		return Binaries{}, err
	}
	b, err := FindPostgres(ctx, p.opts.BinDir, major)
	if err == nil || !errors.Is(err, ErrNoPostgres) || p.opts.BinDir != "" {
		return b, err
	}
	if p.opts.NoDownload || p.owner.drop || (major != 0 && major != downloadedMajor) {
		return Binaries{}, err // as root the trial server of the download can't run
	}
	cache := p.opts.CacheDir
	if cache == "" {
		base, cerr := os.UserCacheDir()
		if cerr != nil {
			return Binaries{}, err
		}
		cache = filepath.Join(base, "edgepulse")
	}
	p.opts.Logger.Info("downloading PostgreSQL binaries once", "folder", cache)
	return fetchPostgres(ctx, cache)
}

// launchUntilReady starts the server; it tries again while the remains of a
// crashed predecessor (backends that are still exiting) hold its shared memory.
func (p *Postgres) launchUntilReady(ctx context.Context) error {
	for {
		if err := p.launch(); err != nil {
			return err
		}
		err := p.awaitReady(ctx)
		if err == nil {
			return nil
		}
		if !errors.Is(err, errShmemInUse) {
			p.kill()
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
		p.done, p.exitErr = make(chan struct{}), nil
	}
}

func (p *Postgres) launch() error {
	logFile, err := p.openLog()
	if err != nil {
		return err
	}
	defer func() { _ = logFile.Close() }() // the child has its own
	cmd := exec.Command(p.bin.path("postgres"), p.args()...)
	cmd.Dir = p.dataDir()
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.SysProcAttr = serverAttr(p.owner)
	started := make(chan error, 1)
	done := p.done
	go func() {
		// The kernel's parent-death signal follows the thread that forked, hence
		// one thread is kept for as long as the server lives.
		unlock := lockThread()
		defer unlock()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.exitErr = cmd.Wait()
		close(done)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	p.pid = cmd.Process.Pid
	if err := nice.Process(p.pid, p.opts.Nice); err != nil { // it has no children yet; they inherit it
		p.opts.Logger.Warn("PostgreSQL does not give way to other processes", "error", err)
	}
	return nil
}

func (p *Postgres) args() []string {
	settings := map[string]string{
		"unix_socket_directories": p.socketDir,
		"unix_socket_permissions": "0700",
		"listen_addresses":        "",
		"port":                    strconv.Itoa(socketPort),
	}
	if p.opts.ListenPort != 0 {
		settings["listen_addresses"] = "127.0.0.1"
		settings["port"] = strconv.Itoa(p.opts.ListenPort)
	}
	for k, v := range defaultSettings {
		settings[k] = v
	}
	for k, v := range p.opts.Settings {
		settings[k] = v
	}
	args := []string{"-D", p.dataDir()}
	names := make([]string, 0, len(settings))
	for k := range settings {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		args = append(args, "-c", k+"="+settings[k])
	}
	return args
}

// defaultSettings suit a small machine that the rest of EdgePulse shares.
// fsync and full_page_writes stay at their default, on.
var defaultSettings = map[string]string{
	"max_connections":                 "60",
	"shared_buffers":                  "128MB",
	"effective_cache_size":            "512MB",
	"work_mem":                        "8MB",
	"maintenance_work_mem":            "64MB",
	"max_wal_size":                    "1GB",
	"checkpoint_timeout":              "15min",
	"wal_compression":                 "on",
	"wal_init_zero":                   "off", // else each 16 MB of the log are written twice, the first time in one burst
	"random_page_cost":                "1.1",
	"jit":                             "off", // short queries: compiling costs more than it saves
	"max_parallel_workers_per_gather": "1",
	"password_encryption":             "scram-sha-256",
	"log_min_messages":                "warning",
	"log_checkpoints":                 "off",
	"log_min_error_statement":         "panic", // no statement texts in the log
	"log_timezone":                    "UTC",
	"timezone":                        "UTC",
	"cluster_name":                    "edgepulse",
}

// DSN is the connection string of a role; dbname is any existing database.
func (p *Postgres) DSN(role, password, dbname string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(role, password), Path: "/" + dbname}
	q := url.Values{}
	q.Set("host", p.socketDir)
	q.Set("port", strconv.Itoa(p.port()))
	q.Set("sslmode", "disable")
	u.RawQuery = q.Encode()
	return u.String()
}

// SuperuserDSN is the connection string of Superuser. It holds its password.
func (p *Postgres) SuperuserDSN(dbname string) string { return p.DSN(Superuser, p.password, dbname) }

func (p *Postgres) port() int {
	if p.opts.ListenPort != 0 {
		return p.opts.ListenPort
	}
	return socketPort
}

// PID is the process id of the server.
func (p *Postgres) PID() int { return p.pid }

// Binaries are what the server runs from.
func (p *Postgres) Binaries() Binaries { return p.bin }

// LogFile is where the server writes its messages.
func (p *Postgres) LogFile() string { return filepath.Join(p.opts.Dir, "postgres.log") }

// Done is closed when the server has exited, asked or not; Err then says how.
func (p *Postgres) Done() <-chan struct{} { return p.done }

// Err is how the server exited: nil after Stop. Valid once Done is closed.
func (p *Postgres) Err() error {
	if p.exitErr == nil {
		return nil
	}
	return fmt.Errorf("postgres exited: %w; see %s", p.exitErr, p.LogFile())
}

// Stop shuts down fast: connections are ended, transactions rolled back, a
// checkpoint written. It returns when the process is gone.
func (p *Postgres) Stop() error {
	defer p.lock.release()
	for _, step := range []struct {
		signal shutdownSignal
		wait   time.Duration
	}{{shutdownFast, 60 * time.Second}, {shutdownImmediate, 10 * time.Second}} {
		if err := signalServer(p.pid, step.signal); err != nil {
			break // gone already
		}
		select {
		case <-p.done:
			return p.Err()
		case <-time.After(step.wait):
		}
	}
	p.kill()
	return p.Err()
}

func (p *Postgres) kill() {
	select {
	case <-p.done:
	default:
		_ = signalServer(p.pid, shutdownKill)
		<-p.done
	}
}

func (p *Postgres) dataDir() string { return filepath.Join(p.opts.Dir, "data") }
