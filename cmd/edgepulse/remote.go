package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/edgepulse/edgepulse/internal/app"
	"github.com/edgepulse/edgepulse/internal/client"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/stream"
)

// remote is how commands reach the API of a running service.
type remote struct {
	URL  string `help:"Address of the service." env:"EDGEPULSE_URL" placeholder:"URL"`
	Key  string `help:"API key." env:"EDGEPULSE_API_KEY" placeholder:"KEY"`
	Data string `help:"Data folder of a local service; its dev.env fills in what is not set." default:"./data" env:"EDGEPULSE_DATA" type:"path"`
}

func (r remote) client() (*client.Client, error) {
	env := readEnv(r.Data)
	return client.New(first(r.URL, env["EDGEPULSE_URL"], "http://127.0.0.1:8787"), first(r.Key, env["EDGEPULSE_API_KEY"]))
}

func first(s ...string) string {
	for _, x := range s {
		if x != "" {
			return x
		}
	}
	return ""
}

// readEnv reads <data>/dev.env; a missing file is an empty one.
func readEnv(dir string) map[string]string {
	out := map[string]string{}
	f, err := os.Open(filepath.Join(dir, "dev.env"))
	if err != nil {
		return out
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		k, v, ok := strings.Cut(s.Text(), "=")
		if ok && !strings.HasPrefix(k, "#") {
			out[k] = strings.ReplaceAll(strings.Trim(v, "'"), `'\''`, "'")
		}
	}
	return out
}

// inside is how operator commands reach broker, database and object store.
type inside struct {
	app.Config
	Data string `help:"Data folder of a local service; its dev.env fills in what is not set." default:"./data" env:"EDGEPULSE_DATA" type:"path"`
}

// fill takes from dev.env what neither flag nor environment has set.
func (i *inside) fill() {
	env := readEnv(i.Data)
	for _, f := range []struct {
		field *string
		name  string
	}{
		{&i.NATS.URL, "EDGEPULSE_NATS_URL"}, {&i.Database.OwnerURL, "EDGEPULSE_DATABASE_OWNER_URL"},
		{&i.Database.WriterURL, "EDGEPULSE_DATABASE_WRITER_URL"}, {&i.Database.AppURL, "EDGEPULSE_DATABASE_APP_URL"},
		{&i.Objects.Archive, "EDGEPULSE_ARCHIVE_URL"}, {&i.Objects.Snapshots, "EDGEPULSE_SNAPSHOT_URL"},
		{&i.Gateway.Pepper, "EDGEPULSE_PEPPER"}, {&i.Gateway.EdgeSecrets, "EDGEPULSE_EDGE_SECRETS"},
		{&i.SecretKey, "EDGEPULSE_SECRET_KEY"},
	} {
		if *f.field == "" && (i.Database.URL == "" || !strings.HasPrefix(f.name, "EDGEPULSE_DATABASE")) {
			*f.field = env[f.name]
		}
	}
	if n := env["EDGEPULSE_PARTITIONS"]; n != "" && os.Getenv("EDGEPULSE_PARTITIONS") == "" {
		fmt.Sscan(n, &i.NATS.Partitions)
	}
}

func (i *inside) broker(ctx context.Context) (*stream.Broker, error) {
	i.fill()
	b, err := stream.Connect(i.NATS, "cli", nil, i.Log.Logger())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := b.WaitConnected(ctx); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (i *inside) store(ctx context.Context) (*store.Store, error) {
	i.fill()
	return app.OpenStore(ctx, &i.Config)
}
