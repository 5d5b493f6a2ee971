package app

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/stream"
)

// archived are the logs of truth: all else can be derived from them.
var archived = []stream.LogName{stream.Ingest, stream.Deliveries}

func startArchiver(ctx context.Context, a *App) (func(context.Context) error, error) {
	if a.archive == nil {
		return nil, errors.New("no archive: set EDGEPULSE_ARCHIVE_URL")
	}
	if a.store == nil {
		return nil, errNoDatabase
	}
	drain, err := a.drain(ctx)
	if err != nil {
		return nil, err
	}
	metrics := archive.NewMetrics(a.registry)
	keys := ArchiveKeys(a.store.DataKeys())
	if keys == nil {
		a.log.Warn("the archive is not sealed: a deleted tenant's payloads stay in it; set EDGEPULSE_SECRET_KEY", "stage", "archiver")
	}
	swept := newSweepMetrics(a.registry)
	cleaner, err := a.newJanitor()
	if err != nil {
		return nil, err
	}
	return a.background("archiver", func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		for _, log := range archived {
			for _, p := range a.partitions {
				g.Go(func() error {
					return a.archiveLog(ctx, archive.Config{Log: log, Partition: p, MaxAge: a.cfg.Objects.SegmentAge, Metrics: metrics, Keys: keys})
				})
			}
		}
		g.Go(func() error { return a.storeArtefacts(ctx) })
		g.Go(func() error { return cleaner.Run(ctx) })
		if slices.Contains(a.partitions, 0) {
			g.Go(func() error { return a.sweep(ctx, swept) })
		}
		if drain != nil {
			g.Go(func() error { return drain(ctx) })
		}
		return g.Wait()
	}), nil
}

// artefactsEvery is how often models that wait in the database are looked for.
const artefactsEvery = 2 * time.Second

// artefactsRest is how long a batch of them is followed by none, in its own durations.
const artefactsRest = 4

// ArtefactName is where the object store has a model: by its content hash.
func ArtefactName(version []byte) string { return fmt.Sprintf("models/%x", version) }

// storeArtefacts moves models from the projection into the object store. A crash
// in between stores one twice, under the same name.
func (a *App) storeArtefacts(ctx context.Context) error {
	timer := time.NewTicker(artefactsEvery)
	defer timer.Stop()
	for {
		if err := a.storePending(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("models wait for the object store", "stage", "archiver", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
	}
}

func (a *App) storePending(ctx context.Context) error {
	for {
		begun := time.Now()
		list, err := a.store.PendingArtefacts(ctx, 50)
		if err != nil || len(list) == 0 {
			return err
		}
		var stored [][]byte
		var failed error
		for _, m := range list {
			if failed = a.archive.Create(ctx, ArtefactName(m.Version), m.Data); failed != nil && !errors.Is(failed, stream.ErrBlobExists) {
				break
			}
			failed = nil
			stored = append(stored, m.Version)
		}
		if err := errors.Join(failed, a.store.ArtefactsStored(ctx, stored)); err != nil {
			return err
		}
		select { // metrics that began together have their models together, and nobody waits for them
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(artefactsRest * time.Since(begun)):
		}
	}
}

// archiveLog keeps one partition for as long as ctx lives. An outage of the
// object store or the database rides on the log: its lag shows, nothing is lost.
func (a *App) archiveLog(ctx context.Context, cfg archive.Config) error {
	l := a.log.With("stage", "archiver", "log", stream.StreamName(cfg.Log, cfg.Partition))
	said := ""
	for {
		ar := archive.NewArchiver(cfg, a.archive, segmentIndex{a.store}, l)
		err := ar.Run(ctx, func(ctx context.Context, after uint64) (archive.Source, error) {
			return a.follow(ctx, cfg.Log, cfg.Partition, after), nil
		})
		if ctx.Err() != nil {
			return nil
		}
		cfg.Metrics.Failed(cfg)
		if err != nil && err.Error() != said {
			said = err.Error()
			l.Warn("archiving begins again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second + rand.N(time.Second)):
		}
	}
}

// followed is a log as the archiver reads it.
type followed struct {
	messages chan stream.Message
	failed   chan error
}

func (a *App) follow(ctx context.Context, log stream.LogName, partition int, after uint64) *followed {
	f := &followed{messages: make(chan stream.Message), failed: make(chan error, 1)}
	go func() {
		f.failed <- a.broker.Follow(ctx, log, partition, after, func(m stream.Message) (bool, error) {
			select {
			case f.messages <- m:
				return false, nil
			case <-ctx.Done():
				return true, ctx.Err()
			}
		})
	}()
	return f
}

// Next implements archive.Source.
func (f *followed) Next(ctx context.Context) (uint64, time.Time, []byte, error) {
	select {
	case m := <-f.messages:
		return m.To, m.At, m.Payload, nil
	case err := <-f.failed:
		return 0, time.Time{}, nil, err
	case <-ctx.Done():
		return 0, time.Time{}, nil, ctx.Err()
	}
}

// segmentIndex keeps the segments' rows.
type segmentIndex struct{ s *store.Store }

func (i segmentIndex) InsertSegment(ctx context.Context, s archive.Segment) error {
	return i.s.InsertSegment(ctx, store.Segment{Log: s.Log, Partition: s.Partition, FirstRoot: s.First, LastRoot: s.Last,
		FirstAt: s.FirstAt, LastAt: s.LastAt, ObjectKey: s.Name, Bytes: s.Bytes, Entries: int64(s.Messages), SHA256: s.SHA256[:]})
}

// ObjectCredentials are those of the object store, under our names or the usual ones.
func ObjectCredentials() archive.Credentials {
	return archive.Credentials{
		AccessKey:    firstEnv("EDGEPULSE_ARCHIVE_ACCESS_KEY", "R2_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"),
		SecretKey:    firstEnv("EDGEPULSE_ARCHIVE_SECRET_KEY", "R2_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"),
		SessionToken: firstEnv("EDGEPULSE_ARCHIVE_SESSION_TOKEN", "AWS_SESSION_TOKEN"),
	}
}

func firstEnv(names ...string) string {
	for _, n := range names {
		if v := os.Getenv(n); v != "" {
			return v
		}
	}
	return ""
}
