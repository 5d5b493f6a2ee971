package app

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edgepulse/edgepulse/featurizer"
	"github.com/edgepulse/edgepulse/gateway"
	"github.com/edgepulse/edgepulse/internal/janitor"
	"github.com/edgepulse/edgepulse/internal/monitor"
	"github.com/edgepulse/edgepulse/stream"
)

// Config is everything a process can be told. Each part belongs to the component
// that reads it; flags and EDGEPULSE_* variables derive from the tags.
type Config struct {
	NATS      stream.BrokerConfig `embed:"" prefix:"nats-" group:"NATS JetStream"`
	Database  Database            `embed:"" prefix:"db-" group:"Postgres"`
	Objects   Objects             `embed:"" group:"Object store"`
	Runner    stream.RunnerConfig `embed:"" prefix:"runner-" group:"Stages"`
	Window    Window              `embed:"" group:"Stages"`
	Janitor   janitor.Config      `embed:"" prefix:"janitor-" group:"Stages"`
	Retention Retention           `embed:"" prefix:"retention-" group:"Stages"`
	Drain     Drain               `embed:"" prefix:"drain-" group:"Edge"`
	Gateway   gateway.Config      `embed:"" prefix:"gateway-" group:"Gateway"`
	Monitor   monitor.Config      `embed:"" prefix:"monitor-" group:"Gateway"`
	Log       Log                 `embed:"" prefix:"log-" group:"Logging"`

	StorageNice int `help:"By how much what stores gives way to what takes in and judges, on processors that they share: the niceness, 0 to 19, of projector and archiver as processes of their own and of the PostgreSQL that up starts." default:"5" env:"EDGEPULSE_STORAGE_NICE" placeholder:"N" group:"Stages"`

	SecretKey  string `help:"Key that seals webhook secrets: 32 bytes in hex." env:"EDGEPULSE_SECRET_KEY" placeholder:"HEX" group:"Secrets"`
	Partitions string `help:"Partitions this process works on, e.g. 0-3 or 0,2; default all." env:"EDGEPULSE_OWN_PARTITIONS" placeholder:"LIST" group:"Stages"`
	Metrics    string `help:"Address of /metrics and /healthz of a stage that runs alone; empty = none." env:"EDGEPULSE_METRICS_ADDR" placeholder:"ADDR" group:"Stages"`
	Pprof      string `help:"Address of /debug/pprof, for go tool pprof; keep it private. Empty = none." env:"EDGEPULSE_PPROF_ADDR" placeholder:"ADDR" group:"Stages"`
}

// Database names the roles' addresses. One address serves all where the roles are not separated.
type Database struct {
	URL       string `help:"Postgres address for every role that has none of its own." env:"EDGEPULSE_DATABASE_URL,DATABASE_URL" placeholder:"URL"`
	OwnerURL  string `help:"Role that owns the schema: migrations, tenants, keys." env:"EDGEPULSE_DATABASE_OWNER_URL" placeholder:"URL"`
	WriterURL string `help:"Role of projectors, relay, deliverer and archiver." env:"EDGEPULSE_DATABASE_WRITER_URL" placeholder:"URL"`
	AppURL    string `help:"Role of the API, bound by row-level security." env:"EDGEPULSE_DATABASE_APP_URL" placeholder:"URL"`
}

// Objects says where archive and snapshots live.
type Objects struct {
	Archive    string        `help:"Archive of raw segments and models: file:///folder, s3://bucket/prefix or r2://bucket/prefix." env:"EDGEPULSE_ARCHIVE_URL,MODEL_ARTEFACT_STORE" placeholder:"URL"`
	SegmentAge time.Duration `help:"How long a message waits at most for its archived segment." default:"30s" env:"EDGEPULSE_SEGMENT_AGE"`
	Snapshots  string        `help:"Snapshots of stage states; default the archive." env:"EDGEPULSE_SNAPSHOT_URL" placeholder:"URL"`
}

// Drain brings what the edge kept in an outage into the log; part of the archiver.
type Drain struct {
	Spill   string        `help:"Where the edge keeps what the gateway could not take: like the archive's address; default the archive." env:"EDGEPULSE_SPILL_URL" placeholder:"URL"`
	Gateway string        `help:"Address of the gateway that takes it; default the one in this process." env:"EDGEPULSE_DRAIN_GATEWAY" placeholder:"URL"`
	Every   time.Duration `help:"How often to look." default:"5s" env:"EDGEPULSE_DRAIN_EVERY"`
}

// Window shapes the features.
type Window struct {
	Seconds int           `name:"feature-window-sec" help:"Trailing window of the features in seconds; wider for slow metrics." default:"300" env:"EDGEPULSE_FEATURE_WINDOW_SEC,FEATURE_WINDOW_SEC"`
	Hop     time.Duration `name:"feature-hop" help:"Distance of evaluation instants." default:"1s" env:"EDGEPULSE_FEATURE_HOP"`
}

// Log shapes what the process writes about itself.
type Log struct {
	Level  string `help:"debug, info, warn or error." default:"info" enum:"debug,info,warn,error" env:"EDGEPULSE_LOG_LEVEL"`
	Format string `help:"text or json." default:"text" enum:"text,json" env:"EDGEPULSE_LOG_FORMAT"`
}

// Logger makes the process's logger. It writes to standard error: standard
// output belongs to what a command answers.
func (l Log) Logger() *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l.Level)) // the enum admits only levels
	opts := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opts))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opts))
}

func (w Window) config() featurizer.Config {
	return featurizer.Config{Window: time.Duration(w.Seconds) * time.Second, Hop: w.Hop}
}

func (d Database) owner() string  { return first(d.OwnerURL, d.URL) }
func (d Database) writer() string { return first(d.WriterURL, d.URL) }
func (d Database) app() string    { return first(d.AppURL, d.URL) }

func first(s ...string) string {
	for _, x := range s {
		if x != "" {
			return x
		}
	}
	return ""
}

// ParsePartitions reads "0-3,7" against the number of partitions; empty = all.
func ParsePartitions(s string, partitions int) ([]int, error) {
	var out []int
	if s == "" {
		for p := range partitions {
			out = append(out, p)
		}
		return out, nil
	}
	for _, part := range strings.Split(s, ",") {
		lo, hi, ranged := strings.Cut(strings.TrimSpace(part), "-")
		a, err := strconv.Atoi(lo)
		b := a
		if err == nil && ranged {
			b, err = strconv.Atoi(hi)
		}
		if err != nil || a < 0 || b < a || b >= partitions {
			return nil, fmt.Errorf("setting partitions: %q is no range within 0-%d", part, partitions-1)
		}
		for p := a; p <= b; p++ {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
