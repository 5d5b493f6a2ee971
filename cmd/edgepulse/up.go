package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/edgepulse/edgepulse/dashboard"
	"github.com/edgepulse/edgepulse/gateway"
	"github.com/edgepulse/edgepulse/internal/app"
)

type upCmd struct {
	app.Config
	Data  string `help:"Folder of everything this machine keeps; delete it to start over." default:"./data" env:"EDGEPULSE_DATA" type:"path"`
	Demo  bool   `help:"Also run the demo: a small fleet with two weeks of history, anomalies every few minutes, and an inbox for webhooks."`
	Addr  string `help:"Address of the API." default:"127.0.0.1:8787" env:"EDGEPULSE_ADDR"`
	Clock string `help:"Clock of received_at and ticks: system, or sim (advanced by POST /v1/clock)." default:"system" enum:"system,sim" env:"EDGEPULSE_CLOCK"`
	PGBin string `name:"pg-bin" help:"Folder of PostgreSQL's binaries; default found in PATH and the usual folders." env:"EDGEPULSE_PG_BIN" type:"path" placeholder:"DIR"`
}

func (upCmd) Help() string {
	return `Starts a broker, a private Postgres, the gateway and every stage, all under one data folder, and prints a
development key. Ctrl+C stops it cleanly; the next start goes on where it ended.

Examples:
  edgepulse up --demo
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
	var show *demoRun
	var routes []gateway.Route
	if c.Demo {
		var err error
		if show, routes, err = openDemo(c, log); err != nil {
			return err
		}
	}
	m, err := app.StartMachine(ctx, c.Data, &c.Config, c.PGBin, quiet)
	if err != nil {
		return err
	}
	a, err := app.New(ctx, &c.Config, app.Options{Name: "up", Version: version, InProcess: m.InProcess(), Logger: quiet, Routes: routes})
	if err != nil {
		return stopAll(err, nil, m)
	}
	if err := a.Provision(ctx); err != nil {
		return stopAll(err, a, m)
	}
	_, key, err := m.DevKey(ctx, a.Store())
	if err != nil {
		return stopAll(err, a, m)
	}
	if err := a.Start(ctx, app.Everything...); err != nil {
		return stopAll(err, a, m)
	}
	url := "http://" + ownAddr(a.Addr())
	env, err := m.WriteEnv(&c.Config, url)
	if err != nil {
		return stopAll(err, a, m)
	}
	if show != nil {
		if err := show.start(ctx, key); err != nil {
			return stopAll(err, a, m)
		}
	}
	printReady(time.Since(start), url, env, c.Demo)
	err = a.Wait(ctx)
	fmt.Fprintln(os.Stderr, "stopping …")
	show.end()
	err = stopAll(err, a, m)
	return errors.Join(err, show.close())
}

func printReady(took time.Duration, url, env string, demo bool) {
	rel := env
	if wd, err := os.Getwd(); err == nil {
		if r, err := filepath.Rel(wd, env); err == nil && len(r) < len(env) {
			rel = r
		}
	}
	how := "sign in with EDGEPULSE_API_KEY of the settings"
	if _, built := dashboard.FS(); !built {
		how = "not in this binary: `go tool task dashboard:build`, then build again"
	}
	fmt.Printf("\nEdgePulse is ready after %.1f s\n  dashboard %s (%s)\n  API       %s/v1\n", took.Seconds(), url, how, url)
	if demo {
		fmt.Printf("  inbox     %s/demo/inbox (verified webhooks)\n", url)
	}
	fmt.Printf("  settings  %s (address, development key)\n\nNext, in another terminal:\n  set -a; . %s; set +a\n", rel, rel)
	device, metric, value := "kitchen", "temperature", "21.5"
	if demo {
		fmt.Println("  edgepulse alerts tail --since 5m")
		device, value = "demo-cold-0001", "95" // a metric whose model is trusted: the answer is an alert
	}
	fmt.Printf("  curl -sS -H \"X-API-Key: $EDGEPULSE_API_KEY\" -H 'Content-Type: application/json' \"$EDGEPULSE_URL/v1/ingest\" \\\n"+
		"    -d '{\"device_external_id\":\"%s\",\"metrics\":[{\"name\":\"%s\",\"value\":%s}]}'\n", device, metric, value)
	if !demo {
		fmt.Println("  edgepulse import FILE.csv --device D --metric M")
	}
	fmt.Println("Ctrl+C stops it.")
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
