package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/edgepulse/edgepulse/internal/app"
	"github.com/edgepulse/edgepulse/internal/embedded"
	"github.com/edgepulse/edgepulse/internal/nice"
	"github.com/edgepulse/edgepulse/stream"
)

// stage runs a stage in a process of its own. It works on each partition in one
// goroutine and can use about as many processors as it has partitions: with more, the
// scheduler wakes threads that find nothing to do, an eighth of all CPU on a small
// machine. Who sets GOMAXPROCS is obeyed.
func stage(ctx context.Context, i *inside, name string) error {
	i.fill()
	if os.Getenv("GOMAXPROCS") == "" {
		own, err := app.ParsePartitions(i.Partitions, cmp.Or(i.NATS.Partitions, stream.DefaultPartitions))
		if err != nil {
			return err
		}
		runtime.GOMAXPROCS(min(runtime.GOMAXPROCS(0), len(own)))
	}
	return alone(ctx, i, name)
}

// alone runs components in a process of their own.
func alone(ctx context.Context, i *inside, names ...string) error {
	i.fill()
	log := i.Log.Logger()
	if err := app.ServeProfiles(ctx, i.Pprof); err != nil {
		return err
	}
	a, err := app.New(ctx, &i.Config, app.Options{Name: names[0], Version: version, Logger: log})
	if err != nil {
		return err
	}
	if i.Metrics != "" {
		names = append(names, "metrics")
	}
	if err := a.Provision(ctx); err != nil {
		return stopAll(err, a, nil)
	}
	if err := a.Start(ctx, names...); err != nil {
		return stopAll(err, a, nil)
	}
	log.Info("ready", "components", names, "addr", a.Addr())
	return stopAll(a.Wait(ctx), a, nil)
}

const aloneHelp = `Reads where to find broker, database and object store from flags or EDGEPULSE_* variables. Several processes
may be started; --partitions says who works on what, and the log refuses a second owner. A stage uses as many
processors as it has partitions, unless GOMAXPROCS says otherwise.`

type (
	gatewayCmd    struct{ inside }
	normaliserCmd struct{ inside }
	featurizerCmd struct{ inside }
	scorerCmd     struct{ inside }
	alerterCmd    struct{ inside }
	delivererCmd  struct{ inside }
	projectorCmd  struct{ inside }
	archiverCmd   struct{ inside }
)

func (gatewayCmd) Help() string    { return aloneHelp }
func (normaliserCmd) Help() string { return aloneHelp }
func (featurizerCmd) Help() string { return aloneHelp }
func (scorerCmd) Help() string     { return aloneHelp }
func (alerterCmd) Help() string    { return aloneHelp }
func (delivererCmd) Help() string  { return aloneHelp }
func (projectorCmd) Help() string  { return aloneHelp }
func (archiverCmd) Help() string   { return aloneHelp }

func (c *gatewayCmd) Run(ctx context.Context) error {
	return alone(ctx, &c.inside, "gateway", "relay", "monitor")
}
func (c *normaliserCmd) Run(ctx context.Context) error { return stage(ctx, &c.inside, "normaliser") }
func (c *featurizerCmd) Run(ctx context.Context) error { return stage(ctx, &c.inside, "featurizer") }
func (c *scorerCmd) Run(ctx context.Context) error     { return stage(ctx, &c.inside, "scorer") }
func (c *alerterCmd) Run(ctx context.Context) error    { return stage(ctx, &c.inside, "alerter") }
func (c *delivererCmd) Run(ctx context.Context) error  { return stage(ctx, &c.inside, "deliverer") }
func (c *projectorCmd) Run(ctx context.Context) error  { return storage(ctx, &c.inside, "projector") }
func (c *archiverCmd) Run(ctx context.Context) error   { return storage(ctx, &c.inside, "archiver") }

// storage runs a stage that gives way to ingest and detection: what it has not stored
// yet is in the logs.
func storage(ctx context.Context, i *inside, name string) error {
	if n := i.StorageNice; n < 0 || n > 19 {
		return fmt.Errorf("storage niceness %d: expected 0 to 19 (setting storage-nice, EDGEPULSE_STORAGE_NICE)", n)
	}
	if err := nice.Self(i.StorageNice); err != nil {
		i.Log.Logger().Warn("this stage does not give way to others", "error", err)
	}
	return stage(ctx, i, name)
}

type natsCmd struct {
	app.Log  `embed:"" prefix:"log-"`
	Dir      string `help:"Folder of the logs." default:"./data/nats" type:"path"`
	Host     string `help:"Address to listen on." default:"127.0.0.1"`
	Port     int    `help:"Port to listen on; -1 = a free one." default:"4222"`
	User     string `help:"User that clients name." default:"edgepulse" env:"EDGEPULSE_NATS_USER"`
	Password string `help:"Password that clients name; random and printed when empty." env:"EDGEPULSE_NATS_PASSWORD"`
	MaxBytes int64  `help:"Most bytes on disk; 0 = half of what is free." default:"0"`
	Pprof    string `help:"Address of /debug/pprof, for go tool pprof; keep it private. Empty = none." env:"EDGEPULSE_PPROF_ADDR" placeholder:"ADDR"`
}

func (natsCmd) Help() string {
	return "A NATS server with JetStream that has every message on disk before it is acknowledged (sync_interval: always).\nProduction clusters run nats-server itself, with the same setting."
}

func (c *natsCmd) Run(ctx context.Context) error {
	log := c.Log.Logger()
	if err := app.ServeProfiles(ctx, c.Pprof); err != nil {
		return err
	}
	n, err := embedded.StartNATS(embedded.NATSOptions{StoreDir: c.Dir, Host: c.Host, Port: c.Port, User: c.User, Password: c.Password,
		MaxFileStore: c.MaxBytes, Logger: log})
	if err != nil {
		return err
	}
	user, password := n.Credentials()
	if c.Password == "" {
		fmt.Printf("EDGEPULSE_NATS_URL=%s\n", strings.Replace(n.ClientURL(), "://", "://"+user+":"+password+"@", 1))
	}
	log.LogAttrs(ctx, slog.LevelInfo, "ready", slog.String("url", n.ClientURL()), slog.Bool("sync_always", n.SyncAlways()))
	<-ctx.Done()
	done := make(chan struct{})
	go func() { n.Stop(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
	}
	return nil
}
