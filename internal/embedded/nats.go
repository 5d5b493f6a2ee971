package embedded

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// NATSOptions configure the embedded broker.
type NATSOptions struct {
	StoreDir     string        // folder of the logs; required
	Host         string        // address to listen on; default 127.0.0.1
	Port         int           // 0: in-process connections only; -1: a random port
	User         string        // for TCP clients; default "edgepulse" when it listens
	Password     string        // for TCP clients; default random when it listens
	MaxFileStore int64         // bytes; default half of the free disk plus what the logs already hold, at most 256 GiB
	MaxPayload   int32         // bytes of one message; default 8 MiB
	ServerName   string        // default "edgepulse"
	StartTimeout time.Duration // default 30 s: recovery of large logs takes time
	Logger       *slog.Logger  // warnings and up; default discards
}

// maxFileStoreCap bounds the default budget: beyond it an operator should decide.
const maxFileStoreCap = 256 << 30

// NATS is a running broker.
type NATS struct {
	srv      *server.Server
	lock     *dirLock
	listens  bool
	user     string
	password string
	maxStore int64
}

// StartNATS starts the broker and waits until it takes connections. Every
// message is on disk before it is acknowledged (sync_interval: always).
func StartNATS(o NATSOptions) (*NATS, error) {
	if o.StoreDir == "" {
		return nil, fmt.Errorf("start nats: StoreDir is not set")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.StoreDir, 0o700); err != nil {
		return nil, fmt.Errorf("create nats store folder: %w", err)
	}
	if o.MaxFileStore == 0 {
		n, err := defaultFileStore(o.StoreDir)
		if err != nil {
			return nil, fmt.Errorf("size nats store: %w", err)
		}
		o.MaxFileStore = n
	}
	lock, err := lockDir(o.StoreDir)
	if err != nil {
		return nil, fmt.Errorf("start nats: %w", err)
	}
	n := &NATS{lock: lock, listens: o.Port != 0, maxStore: o.MaxFileStore}
	opts := n.serverOptions(o)
	srv, err := server.NewServer(opts)
	if err != nil {
		lock.release()
		return nil, fmt.Errorf("configure nats: %w", err)
	}
	n.srv = srv
	logger := &natsLogger{log: o.Logger}
	srv.SetLoggerV2(logger, false, false, false)
	srv.Start()
	timeout := o.StartTimeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	if !srv.ReadyForConnections(timeout) {
		n.Stop()
		if msg := logger.lastFatal(); msg != "" {
			return nil, fmt.Errorf("start nats: %s", msg)
		}
		return nil, fmt.Errorf("start nats: not ready after %s", timeout)
	}
	if !srv.JetStreamEnabled() {
		n.Stop()
		return nil, fmt.Errorf("start nats: jetstream did not start: %s", logger.lastFatal())
	}
	return n, nil
}

func (n *NATS) serverOptions(o NATSOptions) *server.Options {
	opts := &server.Options{
		ServerName:         o.ServerName,
		Host:               o.Host,
		Port:               o.Port,
		DontListen:         !n.listens,
		NoSigs:             true,
		NoSystemAccount:    false,
		JetStream:          true,
		StoreDir:           o.StoreDir,
		JetStreamMaxStore:  o.MaxFileStore,
		JetStreamMaxMemory: 64 << 20, // all logs are files
		SyncAlways:         !faultNoSync,
		MaxPayload:         o.MaxPayload,
	}
	if opts.ServerName == "" {
		opts.ServerName = "edgepulse"
	}
	if opts.Host == "" {
		opts.Host = "127.0.0.1"
	}
	if opts.MaxPayload == 0 {
		opts.MaxPayload = 8 << 20
	}
	if !n.listens {
		return opts
	}
	n.user, n.password = o.User, o.Password
	if n.user == "" {
		n.user = "edgepulse"
	}
	if n.password == "" {
		n.password = rand.Text()
	}
	opts.Username, opts.Password = n.user, n.password
	return opts
}

// ClientURL is the address for TCP clients, without credentials; empty when
// the broker takes in-process connections only.
func (n *NATS) ClientURL() string {
	if !n.listens {
		return ""
	}
	a, ok := n.srv.Addr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	return "nats://" + net.JoinHostPort(a.IP.String(), strconv.Itoa(a.Port))
}

// Credentials are user and password of every connection, in-process ones too;
// empty when the broker does not listen.
func (n *NATS) Credentials() (user, password string) { return n.user, n.password }

// InProcessConn opens a connection without a socket. It makes *NATS a
// nats.InProcessConnProvider.
func (n *NATS) InProcessConn() (net.Conn, error) { return n.srv.InProcessConn() }

// MaxFileStore is the budget of all logs in bytes.
func (n *NATS) MaxFileStore() int64 { return n.maxStore }

// SyncAlways reports what JetStream runs with, not what it was asked for.
func (n *NATS) SyncAlways() bool {
	c := n.srv.JetStreamConfig()
	return c != nil && c.SyncAlways
}

// Stop closes all connections, flushes the logs and returns when the server is down.
func (n *NATS) Stop() {
	n.srv.Shutdown()
	n.srv.WaitForShutdown()
	n.lock.release()
}

// defaultFileStore is half of what this folder could grow to: logs already
// there count as free, so that the budget does not shrink with every restart.
func defaultFileStore(dir string) (int64, error) {
	free, err := freeBytes(dir)
	if err != nil {
		return 0, err
	}
	var held int64
	err = filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() {
			held += info.Size()
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return min((free+held)/2, maxFileStoreCap), nil
}
