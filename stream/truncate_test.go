package stream

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
)

// everything keeps nothing by age.
func everything() Keep { return Keep{Now: time.Now().Add(time.Hour)} }

// namedStages are the toy folds under the names that the map knows.
func namedStages() []Stage {
	s := testStages()
	s[0].Name, s[1].Name = "normaliser", "featurizer"
	return s
}

// truncated is a chain whose logs were cut up to what its stages retain.
type truncatedChain struct {
	*testChain
	stages []Stage
	inputs map[uint64][][]byte // INGEST as it was
}

func newTruncatedChain(t *testing.T, pruned bool) *truncatedChain {
	t.Helper()
	c := &truncatedChain{testChain: newChain(t), stages: namedStages()}
	c.start()
	c.append(20)
	c.waitFeatures()
	for pruned { // until the snapshots of the first roots are pruned
		c.append(5)
		c.waitFeatures()
		c.waitSnapshotsOf()
		a, err := c.b.RetainedSnapshot(c.ctx, c.blobs, Points, 0)
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.b.RetainedSnapshot(c.ctx, c.blobs, Features, 0)
		if err != nil {
			t.Fatal(err)
		}
		if min(a, b) > 50 {
			break
		}
	}
	c.inputs = ingestOf(t, c.b, 0, c.last)
	return c
}

// start is begin with the named stages.
func (c *truncatedChain) start() {
	ctx, cancel := context.WithCancel(c.ctx)
	done := make(chan error, len(c.stages))
	for _, stage := range c.stages {
		r := NewRunner(stage, RunnerConfig{SnapshotEvery: 5 * time.Millisecond, SnapshotLoad: 1}, c.b, c.blobs,
			NewMetrics(prometheus.NewRegistry()), slog.New(slog.NewTextHandler(c.said, nil)), []int{0})
		go func() { done <- r.Run(ctx) }()
	}
	c.stop = func() {
		cancel()
		for range c.stages {
			if err := <-done; err != nil {
				c.t.Error(err)
			}
		}
	}
}

func (c *truncatedChain) waitSnapshotsOf() {
	c.t.Helper()
	waitUntil(c.t, c.ctx, func() bool {
		for _, s := range c.stages {
			generation, err := c.b.generation(c.ctx, s.To, 0)
			if err != nil {
				return false
			}
			if n, err := newSnapshotStore(c.blobs, s.Name, 0, generation).newest(c.ctx); err != nil || n < c.last {
				return false
			}
		}
		return true
	})
}

// cut cuts INGEST and POINTS up to what the stages retain, announced first.
func (c *truncatedChain) cut() (ingest, points uint64) {
	c.t.Helper()
	floor := func(to LogName) uint64 {
		root, err := c.b.RetainedSnapshot(c.ctx, c.blobs, to, 0)
		if err != nil {
			c.t.Fatal(err)
		}
		return root
	}
	a, b := floor(Points), floor(Features)
	cuts, byLog := Cuts{}, map[LogName]Cut{}
	for log, root := range map[LogName]uint64{Ingest: min(a, b), Points: b} {
		cut, err := c.b.Cuttable(c.ctx, log, 0, root, everything())
		if err != nil {
			c.t.Fatal(err)
		}
		cuts[log], byLog[log] = cut.Root, cut
	}
	if err := c.b.Announce(c.ctx, 0, cuts); err != nil {
		c.t.Fatal(err)
	}
	for log, cut := range byLog {
		if err := c.b.Truncate(c.ctx, log, 0, cut); err != nil {
			c.t.Fatal(err)
		}
	}
	return cuts[Ingest], cuts[Points]
}

// verifyAfter compares FEATURES behind a root with a recomputation from all of INGEST.
func (c *truncatedChain) verifyAfter(from uint64) {
	c.t.Helper()
	inputs := map[uint64][][]byte{}
	for root, entries := range c.inputs {
		inputs[root] = entries
	}
	err := c.b.Follow(c.ctx, Ingest, 0, slices.Max(keysOf(c.inputs)), func(m Message) (bool, error) {
		for _, r := range m.Roots {
			inputs[r.Root] = r.Entries
		}
		return m.To >= c.last, nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	want := recompute(recompute(inputs, c.last, newHashFold()), c.last, newHashFold())
	got := map[uint64][][]byte{}
	err = c.b.Scan(c.ctx, Features, 0, from, c.last, func(root uint64, _ int, entry []byte) error {
		got[root] = append(got[root], slices.Clone(entry))
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	for root := range want {
		if root <= from {
			delete(want, root)
		}
	}
	compareOutputs(c.t, Features, got, want)
}

func keysOf(m map[uint64][][]byte) []uint64 {
	var out []uint64
	for k := range m {
		out = append(out, k)
	}
	return out
}

func TestTruncatedLogsServeARestart(t *testing.T) {
	c := newTruncatedChain(t, true)
	ingest, points := c.cut()
	if ingest == 0 || points == 0 {
		t.Fatalf("nothing was cut: INGEST up to root %d, POINTS up to %d", ingest, points)
	}
	st, err := c.b.StatusOf(c.ctx, Ingest, 0)
	if err != nil || st.FirstSeq != ingest+1 {
		t.Fatalf("INGEST begins at %d after a cut up to %d: %v", st.FirstSeq, ingest, err)
	}
	c.stop()
	c.start()
	c.append(50)
	c.waitFeatures()
	c.verifyAfter(0)

	// Who needs more than is left stops and says so.
	var h *HaltError
	err = c.b.Follow(c.ctx, Ingest, 0, 0, func(Message) (bool, error) { return false, nil })
	if !errors.As(err, &h) {
		t.Fatalf("a reader of roots that were cut: %v", err)
	}
	err = c.b.Follow(c.ctx, Points, 0, 0, func(Message) (bool, error) { return false, nil })
	if !errors.As(err, &h) {
		t.Fatalf("a reader of commits that were cut: %v", err)
	}
}

func TestTruncationLeavesTheLastMessage(t *testing.T) {
	c := newTruncatedChain(t, false)
	c.waitSnapshotsOf()
	c.stop()
	c.stop = nil
	for _, log := range []LogName{Ingest, Points} {
		cut, err := c.b.Cuttable(c.ctx, log, 0, 1<<40, everything())
		if err != nil {
			t.Fatal(err)
		}
		cut.First += 1000 // a janitor that lost its mind
		if err := c.b.Truncate(c.ctx, log, 0, cut); err != nil {
			t.Fatal(err)
		}
		st, err := c.b.StatusOf(c.ctx, log, 0)
		if err != nil || st.Messages != 1 || st.Root != c.last {
			t.Errorf("%s has %d messages and ends at root %d instead of %d: %v", log, st.Messages, st.Root, c.last, err)
		}
	}
	c.start()
	c.append(30)
	c.waitFeatures()
	c.verifyAfter(0)
}

func TestRebuildOfTruncatedLogs(t *testing.T) {
	c := newTruncatedChain(t, true)
	c.cut()
	reader := uint64(0)
	readers := func(log LogName, _ int) (uint64, bool) { return reader, log == Features }
	// A projection that stands below every snapshot could not go on.
	reader = 1
	if _, err := c.b.Rebuild(c.ctx, Points, c.blobs, readers); !errors.Is(err, ErrNoSeed) {
		t.Fatalf("a rebuild that would leave a reader behind: %v", err)
	}
	if open, err := c.b.Rebuilding(c.ctx, 0); err != nil || open {
		t.Fatalf("a refused rebuild left its mark: %v", err)
	}
	c.append(20)
	c.waitFeatures()

	reader = c.last
	done, err := c.b.Rebuild(c.ctx, Points, c.blobs, readers)
	if err != nil {
		t.Fatal(err)
	}
	from := uint64(0)
	c.append(20)
	c.waitFeatures()
	for _, r := range done {
		if r.Stream == "FEATURES_0" {
			from = r.From
		}
	}
	if from == 0 {
		t.Fatalf("FEATURES was derived from its first root although INGEST does not have it: %+v", done)
	}
	c.verifyAfter(from)
}

// TestCutIsAnnouncedBeforeARebuild: what the janitor may still cut counts as gone.
func TestCutIsAnnouncedBeforeARebuild(t *testing.T) {
	c := newChain(t)
	if err := c.b.Announce(c.ctx, 0, Cuts{Ingest: 7}); err != nil {
		t.Fatal(err)
	}
	if begin, err := c.b.Beginning(c.ctx, Ingest, 0); err != nil || begin != 7 {
		t.Fatalf("INGEST counts as whole after root %d: %v", begin, err)
	}
}

// TestOnlyTheJanitorMayPurge: with users of the broker that have the rights of
// their stage, the archiver's truncates and a stage's can't.
func TestOnlyTheJanitorMayPurge(t *testing.T) {
	all := &server.SubjectPermission{Allow: []string{">"}}
	deny := &server.SubjectPermission{Allow: []string{">"}, Deny: []string{"$JS.API.STREAM.PURGE.>", "$JS.API.STREAM.DELETE.>", "$JS.API.STREAM.MSG.DELETE.>"}}
	janitor := &server.SubjectPermission{Allow: []string{"$JS.API.INFO", "$JS.API.STREAM.INFO.>", "$JS.API.STREAM.MSG.GET.>", "$JS.API.STREAM.PURGE.>", "$JS.API.STREAM.UPDATE.INGEST_0"}}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true, JetStreamMaxStore: 4 << 30,
		Users: []*server.User{
			{Username: "scorer", Password: "p", Permissions: &server.Permissions{Publish: deny, Subscribe: all}},
			{Username: "archiver", Password: "p", Permissions: &server.Permissions{Publish: janitor, Subscribe: all}},
		}})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer stopServer(s)
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("server did not start")
	}
	as := func(user string) *Broker {
		b, err := Connect(BrokerConfig{URL: "nats://" + user + ":p@" + s.Addr().String(), Partitions: 1, Replicas: 1, MaxBytes: 1 << 28, Timeout: time.Second}, user, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		return b
	}
	stage, archiver := as("scorer"), as("archiver")
	if err := stage.Provision(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 9 {
		if _, err := stage.Append(t.Context(), Ingest, 0, group(t, tick(1))); err != nil {
			t.Fatal(err)
		}
	}
	cut, err := archiver.Cuttable(t.Context(), Ingest, 0, 5, everything())
	if err != nil || cut.Root != 5 {
		t.Fatalf("%+v, %v", cut, err)
	}
	if err := stage.Truncate(t.Context(), Ingest, 0, cut); err == nil {
		t.Error("a stage truncated a log")
	}
	if st, err := archiver.StatusOf(t.Context(), Ingest, 0); err != nil || st.FirstSeq != 1 {
		t.Fatalf("INGEST begins at %d, %v", st.FirstSeq, err)
	}
	if err := archiver.Announce(t.Context(), 0, Cuts{Ingest: 5}); err != nil {
		t.Error(err)
	}
	if err := archiver.Truncate(t.Context(), Ingest, 0, cut); err != nil {
		t.Error(err)
	}
	if st, err := archiver.StatusOf(t.Context(), Ingest, 0); err != nil || st.FirstSeq != 6 {
		t.Errorf("INGEST begins at %d, %v", st.FirstSeq, err)
	}
	if err := archiver.provision(t.Context(), Topology[0], 0); err != nil {
		t.Errorf("an announced cut makes the log unsafe: %v", err)
	}
}

// TestRootAt holds the search against every instant around every message.
func TestRootAt(t *testing.T) {
	c := newChain(t)
	if root, err := c.b.RootAt(c.ctx, Ingest, 0, time.Now()); err != nil || root > 1 {
		t.Fatalf("of an empty log: %d, %v", root, err)
	}
	c.append(23)
	var at []time.Time
	first := uint64(0)
	err := c.b.Follow(c.ctx, Ingest, 0, 0, func(m Message) (bool, error) {
		if first == 0 {
			first = m.To
		}
		at = append(at, m.At)
		return m.To >= c.last, nil
	})
	if err != nil || len(at) < 23 {
		t.Fatalf("%d messages, %v", len(at), err)
	}
	for i := range at {
		for _, d := range []time.Duration{-time.Nanosecond, 0, time.Nanosecond} {
			instant := at[i].Add(d)
			want := first
			for want < first+uint64(len(at)) && at[want-first].Before(instant) {
				want++
			}
			if got, err := c.b.RootAt(c.ctx, Ingest, 0, instant); err != nil || got != want {
				t.Errorf("at %s after message %d: root %d, want %d, %v", d, i, got, want, err)
			}
		}
	}
}

// TestSnapshotsFollowAFullLog: what every stage would fall back to is its newest
// snapshot, once INGEST is nearly full: else nothing could be cut, and with a full log
// nothing would ever be snapshotted again.
func TestSnapshotsFollowAFullLog(t *testing.T) {
	c := newTruncatedChain(t, false)
	c.waitSnapshotsOf()
	c.append(5) // behind the bases
	c.waitFeatures()
	c.waitSnapshotsOf()
	retained := func(to LogName) uint64 {
		t.Helper()
		root, err := c.b.RetainedSnapshot(c.ctx, c.blobs, to, 0)
		if err != nil {
			t.Fatal(err)
		}
		return root
	}
	for _, to := range []LogName{Points, Features} {
		if root := retained(to); root >= c.last {
			t.Fatalf("%s: root %d of %d is retained with room to spare", to, root, c.last)
		}
	}
	s, err := c.b.js.Stream(c.ctx, StreamName(Ingest, 0))
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.MaxBytes = int64(float64(s.CachedInfo().State.Bytes) / .85)
	if _, err := c.b.js.UpdateStream(c.ctx, cfg); err != nil {
		t.Fatal(err)
	}
	if fill, err := c.b.Fill(c.ctx, Ingest, 0); err != nil || fill < .84 || fill > .86 {
		t.Fatalf("INGEST is filled to %g, expected .85: %v", fill, err)
	}
	c.append(1)
	c.waitFeatures()
	waitUntil(t, c.ctx, func() bool { return retained(Points) == c.last && retained(Features) == c.last })
}
