package bench

import (
	"context"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/stream"
)

// Moment is one look at a long run: what must stay flat after the warm-up.
type Moment struct {
	AtSeconds    float64            `json:"at_seconds"`
	Points       int64              `json:"points"`
	RSS          map[string]float64 `json:"resident_mb"`
	LogMB        float64            `json:"logs_mb"`
	ArchiveRoots uint64             `json:"archive_lag_roots"`   // INGEST messages not archived yet
	ProjectRoots uint64             `json:"projector_lag_roots"` // INGEST messages whose scores are not in Postgres yet
}

// watch looks after every sixth of the time: 5 to 30 of 30 minutes.
func (c *cluster) watch(ctx context.Context, whole time.Duration, l *load) []Moment {
	start := time.Now()
	var out []Moment
	for i := range 6 {
		at := whole*time.Duration(i+1)/6 - time.Second
		select {
		case <-ctx.Done():
			return out
		case <-time.After(at - time.Since(start)):
		}
		m, err := c.look(ctx)
		if err != nil {
			return out // its absence in the report says so
		}
		m.AtSeconds, m.Points = time.Since(start).Seconds(), l.points.Load()
		out = append(out, m)
	}
	return out
}

// keep is how long the logs of a watched run keep what nobody needs: so short that
// the janitor is at work from the first look on.
func (s Scenario) keep() time.Duration { return s.Duration / 15 }

func (c *cluster) look(ctx context.Context) (Moment, error) {
	m := Moment{RSS: c.rss()}
	status, err := c.broker.Status(ctx)
	if err != nil {
		return m, err
	}
	for _, s := range status {
		m.LogMB += float64(s.Bytes) / 1e6
	}
	projected, err := c.store.Positions(ctx)
	if err != nil {
		return m, err
	}
	for p := range c.broker.Partitions() {
		end, err := c.broker.End(ctx, stream.Ingest, p)
		if err != nil {
			return m, err
		}
		segments, err := c.store.ListSegments(ctx, stream.Ingest, p, store.SegmentRange{})
		if err != nil {
			return m, err
		}
		archived := uint64(0)
		if n := len(segments); n > 0 {
			archived = segments[n-1].LastRoot
		}
		m.ArchiveRoots += end - min(end, archived)
		m.ProjectRoots += end - min(end, projected[stream.Scores][p])
	}
	return m, nil
}

// folderBytes is the size of all files below a folder.
func folderBytes(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil // a file that went away has no size
		}
		if info, err := e.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	return total
}
