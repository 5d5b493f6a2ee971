package stream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// BrokerConfig says how to reach NATS and how the deployment is cut.
type BrokerConfig struct {
	URL         string        `help:"NATS server, e.g. nats://127.0.0.1:4222; several comma separated." env:"EDGEPULSE_NATS_URL" placeholder:"URL"`
	Credentials string        `help:"NATS credentials file (JWT and nkey)." env:"EDGEPULSE_NATS_CREDS" placeholder:"FILE"`
	MonitorURL  string        `help:"Monitoring address of the NATS server; when set, a server that does not fsync every message is refused." env:"EDGEPULSE_NATS_MONITOR_URL" placeholder:"URL"`
	Partitions  int           `help:"Number of partitions; fixed for the life of a deployment. 0 = 4; with up that of the data folder, and half the processors (1 to 4) for a new one." default:"0" env:"EDGEPULSE_PARTITIONS"`
	Replicas    int           `help:"Replicas of every log." default:"1" env:"EDGEPULSE_NATS_REPLICAS"`
	MaxBytes    int64         `help:"Bytes reserved for all logs together; a full log answers 503, nothing is dropped." default:"8589934592" env:"EDGEPULSE_LOG_MAX_BYTES"`
	Timeout     time.Duration `help:"Time-out of one broker operation; a cluster needs up to 7 s for a new leader." default:"10s" env:"EDGEPULSE_NATS_TIMEOUT"`
}

// DefaultPartitions is the number for a deployment that says none.
const DefaultPartitions = 4

// PartitionsFor is the number for a deployment that stays on one machine: every
// message has its price in each stage, so fewer logs with larger messages carry
// more, as long as no stage needs a second processor for itself.
func PartitionsFor(processors int) int { return min(max(processors/2, 1), DefaultPartitions) }

// Broker is a connection to the logs.
type Broker struct {
	cfg  BrokerConfig
	nc   *nats.Conn
	js   jetstream.JetStream
	log  *slog.Logger
	gen  atomic.Uint64 // rises with every disconnect
	name string        // of the process, for connection lists and owners
}

// Connect reaches NATS. A non-nil inProcess provider connects to an embedded
// server without a socket.
func Connect(cfg BrokerConfig, name string, inProcess nats.InProcessConnProvider, log *slog.Logger) (*Broker, error) {
	cfg.Partitions = cmp.Or(cfg.Partitions, DefaultPartitions)
	host, _ := os.Hostname() // an unnamed host is no reason to stop
	b := &Broker{cfg: cfg, log: log, name: fmt.Sprintf("%s@%s:%d", name, host, os.Getpid())}
	opts := []nats.Option{
		nats.Name("edgepulse-" + name),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1), // a publish while disconnected must fail at once, not wait and land later
		nats.CustomReconnectDelay(func(attempts int) time.Duration {
			d := min(50*time.Millisecond<<min(attempts, 5), time.Second)
			return d/2 + rand.N(d)
		}),
		nats.CustomInboxPrefix("_INBOX." + name),
		nats.Timeout(5 * time.Second),
		nats.RetryOnFailedConnect(true),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			b.gen.Add(1)
			if err != nil {
				log.Warn("disconnected from NATS", "error", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) { log.Info("reconnected to NATS", "url", c.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Debug("NATS client", "error", err)
		}),
	}
	if cfg.Credentials != "" {
		opts = append(opts, nats.UserCredentials(cfg.Credentials))
	}
	if inProcess != nil {
		opts = append(opts, nats.InProcessServer(inProcess))
	}
	url := cfg.URL
	if url == "" {
		url = nats.DefaultURL
	}
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w (setting EDGEPULSE_NATS_URL)", err)
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(cfg.Timeout))
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	b.nc, b.js = nc, js
	return b, nil
}

// Close ends the connection.
func (b *Broker) Close() { b.nc.Close() }

// Partitions is how many partitions the deployment has.
func (b *Broker) Partitions() int { return b.cfg.Partitions }

// Ready tells whether the broker answers and every log exists.
func (b *Broker) Ready(ctx context.Context) error {
	if !b.nc.IsConnected() {
		return errors.New("not connected to NATS")
	}
	if _, err := b.js.Stream(ctx, StreamName(Topology[len(Topology)-1].Name, b.cfg.Partitions-1)); err != nil {
		return fmt.Errorf("find the last log: %w", err)
	}
	return nil
}

// WaitConnected blocks until the server answers or ctx ends.
func (b *Broker) WaitConnected(ctx context.Context) error {
	for !b.nc.IsConnected() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("connect to NATS at %s: %w (setting EDGEPULSE_NATS_URL)", b.cfg.URL, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// config is the one safe configuration of a log's stream.
func (b *Broker) config(s LogSpec, partition int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        StreamName(s.Name, partition),
		Description: fmt.Sprintf("EdgePulse %s, partition %d of %d, written by the %s", s.Name, partition, b.cfg.Partitions, s.Writer),
		Subjects:    []string{Subject(s.Name, partition)},
		Storage:     jetstream.FileStorage,
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		MaxBytes:    int64(float64(b.cfg.MaxBytes) * s.Share / float64(b.cfg.Partitions)),
		MaxMsgs:     -1,
		MaxAge:      0,
		MaxMsgSize:  MaxPayload,
		Replicas:    b.cfg.Replicas,
		Duplicates:  100 * time.Millisecond, // ids are never set; the smallest window costs nothing
		DenyDelete:  true,
		AllowDirect: false, // a marker is read from the leader
		Metadata:    map[string]string{"edgepulse_partitions": fmt.Sprint(b.cfg.Partitions)},
	}
}

// Provision creates what is missing and refuses what is unsafe. It never
// changes an existing stream: a log with other settings was made by somebody else.
func (b *Broker) Provision(ctx context.Context) error {
	if err := b.checkSync(ctx); err != nil {
		return err
	}
	for _, spec := range Topology {
		for p := range b.cfg.Partitions {
			if err := b.provision(ctx, spec, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkSync refuses a server that acknowledges before the disk has it: no test by
// killing processes could ever show what a power cut would lose there.
func (b *Broker) checkSync(ctx context.Context) error {
	if b.cfg.MonitorURL == "" {
		return nil
	}
	url := strings.TrimRight(b.cfg.MonitorURL, "/") + "/varz"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("setting nats-monitor-url: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask the NATS server for its settings: %w", err)
	}
	defer resp.Body.Close()
	var varz struct {
		JetStream struct {
			Config struct {
				SyncAlways bool `json:"sync_always"`
			} `json:"config"`
		} `json:"jetstream"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&varz); err != nil {
		return fmt.Errorf("read the settings of the NATS server: %w", err)
	}
	if !varz.JetStream.Config.SyncAlways {
		return fmt.Errorf("%w: the NATS server acknowledges messages before they are on disk; set `jetstream { sync_interval: always }` in its configuration", ErrUnsafe)
	}
	return nil
}

func (b *Broker) provision(ctx context.Context, spec LogSpec, p int) error {
	want := b.config(spec, p)
	s, err := b.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if _, err = b.js.CreateStream(ctx, want); err != nil {
			var api *jetstream.APIError
			if errors.As(err, &api) && int(api.ErrorCode) == codeNoStorage {
				return fmt.Errorf("%w: create log %s: the broker has not the storage for all logs; lower EDGEPULSE_LOG_MAX_BYTES (now %d) or give the broker more (max_file_store)", ErrUnsafe, want.Name, b.cfg.MaxBytes)
			}
			return fmt.Errorf("create log %s: %w", want.Name, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up log %s: %w", want.Name, err)
	}
	return checkSafe(s.CachedInfo().Config, want)
}

// checkSafe names the first setting of an existing stream that could lose or
// rewrite what was acknowledged.
func checkSafe(got, want jetstream.StreamConfig) error {
	type check struct {
		name      string
		ok        bool
		got, want any
	}
	for _, c := range []check{
		{"storage", got.Storage == want.Storage, got.Storage, want.Storage},
		{"retention", got.Retention == want.Retention, got.Retention, want.Retention},
		{"discard", got.Discard == want.Discard, got.Discard, want.Discard},
		{"max_age", got.MaxAge == 0, got.MaxAge, 0},
		{"max_msgs", got.MaxMsgs <= 0, got.MaxMsgs, -1},
		{"max_msgs_per_subject", got.MaxMsgsPerSubject <= 0, got.MaxMsgsPerSubject, -1},
		{"deny_delete", got.DenyDelete, got.DenyDelete, true},
		{"allow_rollup_hdrs", !got.AllowRollup, got.AllowRollup, false},
		{"persist_mode", got.PersistMode == want.PersistMode, got.PersistMode, want.PersistMode},
		{"subjects", len(got.Subjects) == 1 && got.Subjects[0] == want.Subjects[0], got.Subjects, want.Subjects},
		{"sealed", !got.Sealed, got.Sealed, false},
		{"no_ack", !got.NoAck, got.NoAck, false},
		{"partitions", got.Metadata["edgepulse_partitions"] == want.Metadata["edgepulse_partitions"],
			got.Metadata["edgepulse_partitions"], want.Metadata["edgepulse_partitions"]},
	} {
		if !c.ok {
			return fmt.Errorf("%w: log %s is not safe to use: %s is %v, expected %v; change it with `nats stream edit %s`, or set EDGEPULSE_PARTITIONS to what the deployment was made with",
				ErrUnsafe, want.Name, c.name, c.got, c.want, want.Name)
		}
	}
	return nil
}
