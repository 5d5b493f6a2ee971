package app

import (
	"context"
	"sync/atomic"

	"github.com/edgepulse/edgepulse/alerter"
	"github.com/edgepulse/edgepulse/featurizer"
	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/internal/replay"
	"github.com/edgepulse/edgepulse/normaliser"
	"github.com/edgepulse/edgepulse/scorer"
	"github.com/edgepulse/edgepulse/stream"
)

// Stages are the stages with a fold, in the order of the data path.
func Stages(cfg *Config) []stream.Stage {
	return []stream.Stage{normaliser.Stage(), featurizer.Stage(cfg.Window.config()), scorer.Stage(), alerter.Stage()}
}

// OpenReplay gathers what a replay works with.
func OpenReplay(ctx context.Context, cfg *Config, b *stream.Broker) (replay.Deps, error) {
	d := replay.Deps{Broker: b, Stages: Stages(cfg), Erased: new(atomic.Int64)}
	var err error
	if d.Snapshots, err = OpenSnapshots(ctx, cfg); err != nil {
		return d, err
	}
	if cfg.Objects.Archive == "" {
		return d, nil
	}
	if d.Archive, err = archive.Open(ctx, cfg.Objects.Archive, ObjectCredentials()); err != nil {
		return d, err
	}
	if cfg.Database.writer() == "" && cfg.Database.owner() == "" {
		return d, nil // what is sealed can't be read then, and says so
	}
	s, err := OpenStore(ctx, cfg)
	if err != nil {
		return d, err
	}
	context.AfterFunc(ctx, s.Close)
	d.Keys = ArchiveKeys(s.DataKeys())
	d.Gone, err = s.ErasedTenants(ctx)
	return d, err
}
