package stream

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
)

// chain is a broker with two chained stages, one partition.
type testChain struct {
	t     *testing.T
	ctx   context.Context
	dir   string
	blobs dirBlobs
	s     *server.Server
	b     *Broker
	said  *syncBuffer
	stop  func()
	last  uint64
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newChain(t *testing.T) *testChain {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	c := &testChain{t: t, ctx: ctx, dir: t.TempDir(), blobs: dirBlobs{t.TempDir()}, said: &syncBuffer{}}
	c.up()
	if err := c.b.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.down()
		if t.Failed() {
			t.Log(c.said.String())
		}
	})
	return c
}

func (c *testChain) up() { c.s = startServer(c.t, c.dir, -1); c.b = connect(c.t, c.s, 1) }
func (c *testChain) down() {
	c.end()
	c.b.Close()
	stopServer(c.s)
}

// begin starts both stages; end stops them.
func (c *testChain) begin() {
	ctx, cancel := context.WithCancel(c.ctx)
	var wg sync.WaitGroup
	for _, stage := range testStages() {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := NewRunner(stage, RunnerConfig{SnapshotEvery: 20 * time.Millisecond, SnapshotLoad: 1}, c.b, c.blobs,
				NewMetrics(prometheus.NewRegistry()), slog.New(slog.NewTextHandler(c.said, nil)), []int{0})
			if err := r.Run(ctx); err != nil {
				c.t.Errorf("run: %v", err)
			}
		}()
	}
	c.stop = func() { cancel(); wg.Wait() }
}

func (c *testChain) end() {
	if c.stop != nil {
		c.stop()
		c.stop = nil
	}
}

func (c *testChain) append(n int) {
	for i := range n {
		root, err := c.b.Append(c.ctx, Ingest, 0, group(c.t, tick(int64(i)), tick(int64(3*i))))
		if err != nil {
			c.t.Fatal(err)
		}
		c.last = root
	}
}

func (c *testChain) waitFeatures() {
	waitUntil(c.t, c.ctx, func() bool {
		m, _, err := c.b.lastMark(c.ctx, Features, 0)
		return err == nil && m.to >= c.last
	})
}

func (c *testChain) waitSnapshots() {
	waitUntil(c.t, c.ctx, func() bool {
		for _, stage := range []string{"a", "b"} {
			if n, err := newSnapshotStore(c.blobs, stage, 0, "").newest(c.ctx); err != nil || n < c.last {
				return false
			}
		}
		return true
	})
}

func (c *testChain) verify() {
	c.t.Helper()
	points := recompute(ingestOf(c.t, c.b, 0, c.last), c.last, newHashFold())
	compareOutputs(c.t, Points, outputsOf(c.t, c.b, Points, 0, c.last), points)
	compareOutputs(c.t, Features, outputsOf(c.t, c.b, Features, 0, c.last), recompute(points, c.last, newHashFold()))
}

func (c *testChain) waitSaid(log string) {
	waitUntil(c.t, c.ctx, func() bool {
		return strings.Contains(c.said.String(), "log "+log+" was changed from outside")
	})
}

// mendAndVerify rebuilds what was named and expects the same outputs again.
func (c *testChain) mendAndVerify() {
	c.t.Helper()
	if _, err := c.b.Rebuild(c.ctx, Points, c.blobs, nil); err != nil {
		c.t.Fatal(err)
	}
	if c.stop == nil {
		c.begin()
	}
	c.append(20)
	c.waitFeatures()
	c.verify()
}

// TestLogMadeAnewIsNamed deletes POINTS under running stages and makes it again, empty.
func TestLogMadeAnewIsNamed(t *testing.T) {
	c := newChain(t)
	c.begin()
	c.append(60)
	c.waitFeatures()
	before := outputsOf(t, c.b, Features, 0, c.last)
	if err := c.b.js.DeleteStream(c.ctx, "POINTS_0"); err != nil {
		t.Fatal(err)
	}
	if err := c.b.Provision(c.ctx); err != nil {
		t.Fatal(err)
	}
	c.waitSaid("POINTS_0")
	compareOutputs(t, Features, outputsOf(t, c.b, Features, 0, c.last), before)
	c.mendAndVerify()
}

// TestLogMadeAnewAfterRebuildIsNamed: nobody reads FEATURES here, and the new log
// bears no mark of the rebuild that the old one went through.
func TestLogMadeAnewAfterRebuildIsNamed(t *testing.T) {
	c := newChain(t)
	c.begin()
	c.append(40)
	c.waitFeatures()
	if _, err := c.b.Rebuild(c.ctx, Points, c.blobs, nil); err != nil {
		t.Fatal(err)
	}
	c.append(20)
	c.waitFeatures()
	waitUntil(t, c.ctx, func() bool {
		names, err := c.blobs.List(c.ctx, snapshotPrefix("b", 0))
		return err == nil && slices.ContainsFunc(names, func(n string) bool { return !strings.HasPrefix(n, snapshotPrefix("b", 0)+"0/") })
	})
	if err := c.b.js.DeleteStream(c.ctx, "FEATURES_0"); err != nil {
		t.Fatal(err)
	}
	if err := c.b.Provision(c.ctx); err != nil {
		t.Fatal(err)
	}
	// By the owner that was there, then by one that begins and has the snapshots only.
	waitUntil(t, c.ctx, func() bool {
		_, after, ok := strings.Cut(c.said.String(), "FEATURES_0 was changed from outside")
		return ok && strings.Contains(after, "a snapshot was taken")
	})
	if m, _, err := c.b.lastMark(c.ctx, Features, 0); err != nil || m.to != 0 {
		t.Fatalf("%v, %v: written to although it was changed", m, err)
	}
	c.mendAndVerify()
}

// TestRebuildIsNoticedWhenIdle: nothing arrives that would make an owner write.
func TestRebuildIsNoticedWhenIdle(t *testing.T) {
	c := newChain(t)
	c.begin()
	c.append(40)
	c.waitFeatures()
	for range 2 {
		if _, err := c.b.Rebuild(c.ctx, Points, c.blobs, nil); err != nil {
			t.Fatal(err)
		}
		c.waitFeatures()
		c.verify()
	}
	if said := c.said.String(); strings.Contains(said, "changed from outside") {
		t.Fatalf("a rebuild raised an alarm:\n%s", said)
	}
}

// TestOlderCopyIsNamed puts an older copy of POINTS in place while the stage
// after it, and the snapshots of its writer, are ahead.
func TestOlderCopyIsNamed(t *testing.T) {
	c := newChain(t)
	c.begin()
	c.append(40)
	c.waitFeatures()
	c.down()
	old := filepath.Join(t.TempDir(), "old")
	live := filepath.Join(c.dir, "jetstream", "$G", "streams", "POINTS_0")
	if err := os.CopyFS(old, os.DirFS(live)); err != nil {
		t.Fatal(err)
	}
	c.up()
	c.begin()
	c.append(60)
	c.waitFeatures()
	c.waitSnapshots()
	before := outputsOf(t, c.b, Features, 0, c.last)
	c.down()
	if err := os.RemoveAll(live); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(live, os.DirFS(old)); err != nil {
		t.Fatal(err)
	}
	c.up()
	c.begin()
	c.waitSaid("POINTS_0")
	compareOutputs(t, Features, outputsOf(t, c.b, Features, 0, c.last), before)
	c.mendAndVerify()
}

// TestEditedCommitIsNamed replaces the newest commit of POINTS by another one.
func TestEditedCommitIsNamed(t *testing.T) {
	c := newChain(t)
	c.begin()
	c.append(30)
	c.waitFeatures()
	c.end()
	m, commit, err := c.b.lastMark(c.ctx, Points, 0)
	if err != nil {
		t.Fatal(err)
	}
	commit.PrevSeq, commit.PrevChain = m.seq-1, make([]byte, 32)
	commit.From, commit.To, commit.Outputs = m.to, m.to+1, nil
	payload, err := commit.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.b.Append(c.ctx, Points, 0, payload); err != nil {
		t.Fatal(err)
	}
	c.begin()
	c.waitSaid("POINTS_0")
	c.mendAndVerify()
}
