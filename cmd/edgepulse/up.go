package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/edgepulse/edgepulse/internal/app"
)

type upCmd struct {
	app.Config
	Data  string `help:"Folder of everything this machine keeps; delete it to start over." default:"./data" env:"EDGEPULSE_DATA" type:"path"`
	Addr  string `help:"Address of the API." default:"127.0.0.1:8787" env:"EDGEPULSE_ADDR"`
	Clock string `help:"Clock of received_at and ticks: system, or sim (advanced by POST /v1/clock)." default:"system" enum:"system,sim" env:"EDGEPULSE_CLOCK"`
	PGBin string `name:"pg-bin" help:"Folder of PostgreSQL's binaries; default found in PATH and the usual folders." env:"EDGEPULSE_PG_BIN" type:"path" placeholder:"DIR"`
}

func (upCmd) Help() string {
	return `Starts a broker, a private Postgres, the gateway and every stage, all under one data folder, and prints a
development key. Ctrl+C stops it cleanly; the next start goes on where it ended.

Examples:
  edgepulse up
  edgepulse up --data /var/lib/edgepulse --addr 0.0.0.0:8787`
}

func (c *upCmd) Run(ctx context.Context) error {
	start := time.Now()
	log := c.Log.Logger()
	if !isTerminal(os.Stderr) || c.Log.Level != "info" {
		log.Info("starting", "data", c.Data)
	} else {
		fmt.Fprintf(os.Stderr, "starting EdgePulse in %s …\n", c.Data)
	}
	c.Gateway.Addr, c.Gateway.Clock = c.Addr, c.Clock
	quiet := log
	if c.Log.Level == "info" {
		l := c.Log
		l.Level = "warn" // the machine's own noise; what matters is printed below
		quiet = l.Logger()
	}
	m, err := app.StartMachine(ctx, c.Data, &c.Config, c.PGBin, quiet)
	if err != nil {
		return err
	}
	a, err := app.New(ctx, &c.Config, app.Options{Name: "up", InProcess: m.InProcess(), Logger: quiet})
	if err != nil {
		return stopAll(err, nil, m)
	}
	if err := a.Provision(ctx); err != nil {
		return stopAll(err, a, m)
	}
	if _, _, err := m.DevKey(ctx, a.Store()); err != nil {
		return stopAll(err, a, m)
	}
	if err := a.Start(ctx, app.Everything...); err != nil {
		return stopAll(err, a, m)
	}
	url := "http://" + a.Addr()
	env, err := m.WriteEnv(&c.Config, url)
	if err != nil {
		return stopAll(err, a, m)
	}
	printReady(time.Since(start), url, env)
	err = a.Wait(ctx)
	fmt.Fprintln(os.Stderr, "stopping …")
	return stopAll(err, a, m)
}

func printReady(took time.Duration, url, env string) {
	rel := env
	if wd, err := os.Getwd(); err == nil {
		if r, err := filepath.Rel(wd, env); err == nil && len(r) < len(env) {
			rel = r
		}
	}
	fmt.Printf(`
EdgePulse is ready after %.1f s
  API      %s
  settings %s (address, development key)

Next:
  set -a; . %s; set +a
  curl -sS -H "X-API-Key: $EDGEPULSE_API_KEY" -H 'Content-Type: application/json' "$EDGEPULSE_URL/v1/ingest" \
    -d '{"device_external_id":"kitchen","metrics":[{"name":"temperature","value":21.5,"unit":"degC"}]}'
  edgepulse import FILE.csv --device D --metric M
Ctrl+C stops it.
`, took.Seconds(), url, rel, rel)
}

// stopAll ends what runs, in order, and keeps the first reason.
func stopAll(cause error, a *app.App, m *app.Machine) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if a != nil {
		if err := a.Stop(ctx); cause == nil && err != nil {
			cause = err
		}
	}
	if m != nil {
		if err := m.Stop(); cause == nil && err != nil {
			cause = err
		}
	}
	return cause
}

func isTerminal(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}
