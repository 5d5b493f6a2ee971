package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/edgepulse/edgepulse/gateway"
	"github.com/edgepulse/edgepulse/internal/client"
	"github.com/edgepulse/edgepulse/internal/demo"
)

// demoRun is `up --demo`: the demo beside the service it demonstrates.
type demoRun struct {
	*demo.Demo
	log    *slog.Logger
	stop   context.CancelFunc
	done   chan struct{}
	target string // host:port of the inbox, the one private address that webhooks may reach
}

// openDemo fixes the address, since the webhook's guard must know it before the
// service runs.
func openDemo(c *upCmd, log *slog.Logger) (*demoRun, []gateway.Route, error) {
	if c.Clock != "system" {
		return nil, nil, errors.New("--demo lives in the present and --clock sim stands still: use `edgepulse simulate --clock sim`")
	}
	addr, err := fixedAddr(c.Addr)
	if err != nil {
		return nil, nil, err
	}
	c.Gateway.Addr = addr
	r := &demoRun{log: log, target: ownAddr(addr), done: make(chan struct{})}
	c.Gateway.WebhookAllow = append(c.Gateway.WebhookAllow, r.target)
	if err := os.MkdirAll(c.Data, 0o755); err != nil {
		return nil, nil, fmt.Errorf("make data folder: %w", err)
	}
	if r.Demo, err = demo.Open(c.Data, log); err != nil {
		return nil, nil, err
	}
	return r, []gateway.Route{
		{Pattern: "POST " + demo.InboxPath, Handler: http.HandlerFunc(r.Inbox.Receive)},
		{Pattern: "GET " + demo.InboxPath, Handler: http.HandlerFunc(r.Inbox.List)},
	}, nil
}

// fixedAddr chooses a free port where the address leaves it open.
func fixedAddr(addr string) (string, error) {
	if !strings.HasSuffix(addr, ":0") {
		return addr, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("listen on %s (setting addr): %w", addr, err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// ownAddr is how a service reaches itself.
func ownAddr(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr // the gateway will say what is wrong with it
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// start makes what the demo needs and lets its sensors measure.
func (r *demoRun) start(ctx context.Context, key string) error {
	base := "http://" + r.target
	c, err := client.New(base, key)
	if err != nil {
		return err
	}
	p := newProgress("points of history", 0)
	if err := r.Prepare(ctx, c, base, p.set); err != nil {
		return fmt.Errorf("prepare the demo: %w", err)
	}
	if p.last > 0 {
		p.end()
	}
	run, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() {
		defer close(r.done)
		for run.Err() == nil {
			if err := r.Run(run); err != nil {
				r.log.Warn("the demo's sensors wait", "error", err)
				select {
				case <-run.Done():
				case <-time.After(2 * time.Second):
				}
			}
		}
	}()
	return nil
}

// end stops the sensors before the service they talk to. A nil demo has none.
func (r *demoRun) end() {
	if r == nil || r.stop == nil {
		return
	}
	r.stop()
	<-r.done
}

// close ends the inbox, after the deliverer.
func (r *demoRun) close() error {
	if r == nil {
		return nil
	}
	return r.Inbox.Close()
}
