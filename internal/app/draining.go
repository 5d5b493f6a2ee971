package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/internal/spill"
	"github.com/edgepulse/edgepulse/stream"
)

// drain returns the loop that empties the edge's spill, or nil where another
// process does it: several would only send the same requests twice, so the owner
// of partition 0 is the one.
func (a *App) drain(ctx context.Context) (func(context.Context) error, error) {
	if !slices.Contains(a.partitions, 0) {
		return nil, nil
	}
	cfg := a.cfg.Drain
	address := func() string { return cfg.Gateway }
	switch {
	case cfg.Gateway != "":
		if err := spill.CheckAddress(cfg.Gateway); err != nil {
			return nil, fmt.Errorf("setting drain-gateway: %w", err)
		}
	case slices.Contains(a.starting, "gateway"):
		address = a.ownAddress
	case cfg.Spill != "":
		return nil, errors.New("setting drain-spill needs drain-gateway: this process has no gateway")
	default:
		a.log.Info("no drain: EDGEPULSE_DRAIN_GATEWAY is not set", "stage", "archiver")
		return nil, nil
	}
	blobs, err := a.spillStore(ctx)
	if err != nil {
		return nil, err
	}
	d := spill.New(blobs, spill.NewGateway(address), spill.NewMetrics(a.registry), a.log.With("stage", "archiver"))
	return func(ctx context.Context) error { return d.Run(ctx, cmp.Or(cfg.Every, 5*time.Second)) }, nil
}

func (a *App) spillStore(ctx context.Context) (stream.Blobs, error) {
	if a.cfg.Drain.Spill == "" {
		return a.archive, nil
	}
	return OpenSpill(ctx, a.cfg)
}

// OpenSpill opens the store that the edge spills to.
func OpenSpill(ctx context.Context, cfg *Config) (stream.Blobs, error) {
	url := first(cfg.Drain.Spill, cfg.Objects.Archive)
	if url == "" {
		return nil, errors.New("no spill: set EDGEPULSE_SPILL_URL or EDGEPULSE_ARCHIVE_URL")
	}
	creds := ObjectCredentials()
	if key := firstEnv("EDGEPULSE_SPILL_ACCESS_KEY"); key != "" {
		creds = archive.Credentials{AccessKey: key, SecretKey: firstEnv("EDGEPULSE_SPILL_SECRET_KEY")}
	}
	blobs, err := archive.Open(ctx, url, creds)
	if err != nil {
		return nil, fmt.Errorf("open the spill: %w", err)
	}
	return blobs, nil
}

// ownAddress is how this process reaches its own gateway; empty before it listens.
func (a *App) ownAddress() string {
	addr := a.listening.Load()
	if addr == nil {
		return ""
	}
	host, port, err := net.SplitHostPort(*addr)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
