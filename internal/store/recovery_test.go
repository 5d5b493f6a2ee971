//go:build unix

package store_test

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/edgepulse/edgepulse/internal/embedded"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// The server is killed in the middle of projecting, again and again. After each
// recovery rows and position agree: what a lost commit took with it is applied
// again, nothing is applied twice.
func TestProjectionSurvivesSIGKILL(t *testing.T) {
	storetest.Bare(t) // skips where there is no PostgreSQL
	dir, err := os.MkdirTemp("", "ept")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	start := func() (*embedded.Postgres, string) {
		p, err := embedded.StartPostgres(ctx, embedded.PostgresOptions{Dir: dir, BinDir: os.Getenv("EDGEPULSE_PG_BIN"), NoDownload: true})
		if err != nil {
			t.Fatal(err)
		}
		dsn, err := store.EnsureDatabase(ctx, p.SuperuserDSN("postgres"), "edgepulse")
		if err != nil {
			t.Fatal(err)
		}
		return p, dsn
	}
	p, dsn := start()
	if err := store.Migrate(ctx, store.MigrateConfig{OwnerDSN: dsn, WriterPassword: "w", AppPassword: "a"}); err != nil {
		t.Fatal(err)
	}
	tenant, metric := schemas.NewID(), schemas.NewID()
	for round := range 3 {
		s, err := store.Open(ctx, store.Config{WriterDSN: p.DSN(store.WriterRole, "w", "edgepulse")})
		if err != nil {
			t.Fatal(err)
		}
		rows, pos := state(t, dsn)
		if rows != pos*5 {
			t.Fatalf("round %d: %d rows at position %d", round, rows, pos)
		}
		var commits atomic.Int64
		ended := make(chan error, 1)
		go func() {
			for root := uint64(pos) + 1; ; root++ {
				var rs stream.RowSet
				for i := range 5 {
					s := rs.Series(stream.DatapointSeries, stream.SeriesKey{Tenant: tenant, Metric: metric})
					s.Add(us(int(root))+int64(i), root, 0)
					s.Real(float64(i))
				}
				if err := s.Apply(context.Background(), stream.Points, 0, root-1, root, &rs); err != nil {
					ended <- err
					return
				}
				if commits.Add(1) == 200 {
					_ = syscall.Kill(p.PID(), syscall.SIGKILL)
				}
			}
		}()
		if err := <-ended; errors.Is(err, stream.ErrPositionMoved) {
			t.Fatal(err)
		}
		<-p.Done()
		_ = p.Stop()
		s.Close()
		p, dsn = start()
		if rows, after := state(t, dsn); rows != after*5 || after < pos {
			t.Fatalf("round %d: %d rows at position %d", round, rows, after)
		}
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
}

func state(t *testing.T, dsn string) (rows, position int64) {
	t.Helper()
	c := connect(t, dsn)
	err := c.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM datapoints), coalesce((SELECT root FROM projection_positions), 0)`).Scan(&rows, &position)
	if err != nil {
		t.Fatal(err)
	}
	return rows, position
}
