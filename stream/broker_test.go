package stream

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// TestProvisionRefusesUnsafeLogs makes a log that could lose what it acknowledged.
func TestProvisionRefusesUnsafeLogs(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s := startServer(t, t.TempDir(), -1)
	defer stopServer(s)
	b := connect(t, s, 1)
	for setting, spoil := range map[string]func(*jetstream.StreamConfig){
		"discard":              func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
		"retention":            func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy },
		"max_age":              func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"storage":              func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"deny_delete":          func(c *jetstream.StreamConfig) { c.DenyDelete = false },
		"max_msgs_per_subject": func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 },
		"partitions":           func(c *jetstream.StreamConfig) { c.Metadata["edgepulse_partitions"] = "16" },
	} {
		spec, _ := Spec(Points)
		cfg := b.config(spec, 0)
		spoil(&cfg)
		if _, err := b.js.CreateStream(ctx, cfg); err != nil {
			t.Fatalf("%s: %v", setting, err)
		}
		err := b.Provision(ctx)
		if err == nil || !strings.Contains(err.Error(), "POINTS_0 is not safe to use: "+setting+" is") {
			t.Errorf("%s: Provision answered %v", setting, err)
		}
		if err := b.js.DeleteStream(ctx, "POINTS_0"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Provision(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestProvisionRefusesAServerThatDoesNotSync asks servers for their settings.
func TestProvisionRefusesAServerThatDoesNotSync(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, sync := range []bool{true, false} {
		s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, HTTPHost: "127.0.0.1", HTTPPort: -1, JetStream: true,
			StoreDir: t.TempDir(), SyncAlways: sync, NoSigs: true, NoLog: true, MaxPayload: MaxPayload, JetStreamMaxStore: 4 << 30})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		if !s.ReadyForConnections(10 * time.Second) {
			t.Fatal("server did not start")
		}
		b := connect(t, s, 1)
		b.cfg.MonitorURL = "http://" + s.MonitorAddr().String()
		err = b.Provision(ctx)
		if sync != (err == nil) || (err != nil && !strings.Contains(err.Error(), "sync_interval: always")) {
			t.Errorf("sync always %v: Provision answered %v", sync, err)
		}
		stopServer(s)
	}
}
