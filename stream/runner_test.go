package stream

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgepulse/edgepulse/schemas"
)

// startServer runs a real JetStream server that fsyncs every message.
func startServer(t testing.TB, dir string, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir,
		SyncAlways: true, NoSigs: true, NoLog: true, MaxPayload: MaxPayload, JetStreamMaxStore: 4 << 30})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("server did not start")
	}
	return s
}

func stopServer(s *server.Server) { s.Shutdown(); s.WaitForShutdown() }

func connect(t testing.TB, s *server.Server, partitions int) *Broker {
	t.Helper()
	b, err := Connect(BrokerConfig{URL: s.ClientURL(), Partitions: partitions, Replicas: 1, MaxBytes: 1 << 30, Timeout: 5 * time.Second},
		fmt.Sprintf("test%d", rand.Uint32()), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// memBlobs is a folder as Blobs: the product's own is in internal/archive, which
// this package may not import.
type dirBlobs struct{ dir string }

func (d dirBlobs) path(name string) string { return filepath.Join(d.dir, filepath.FromSlash(name)) }
func (d dirBlobs) Create(_ context.Context, name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(d.path(name)), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(d.dir, "tmp")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.Write(data); err != nil {
		return err
	}
	tmp.Close()
	if err := os.Link(tmp.Name(), d.path(name)); errors.Is(err, os.ErrExist) {
		return ErrBlobExists
	} else if err != nil {
		return err
	}
	return nil
}
func (d dirBlobs) Get(_ context.Context, name string) ([]byte, error) {
	b, err := os.ReadFile(d.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrBlobNotFound
	}
	return b, err
}
func (d dirBlobs) GetRange(ctx context.Context, name string, off, n int64) ([]byte, error) {
	b, err := d.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	return b[off : off+n], nil
}
func (d dirBlobs) List(_ context.Context, prefix string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(d.dir, func(p string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil
		}
		rel, _ := filepath.Rel(d.dir, p)
		if rel = filepath.ToSlash(rel); strings.HasPrefix(rel, prefix) {
			out = append(out, rel)
		}
		return nil
	})
	sort.Strings(out)
	return out, err
}
func (d dirBlobs) Delete(_ context.Context, name string) error {
	err := os.Remove(d.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// hashFold is a toy whose every output depends on the whole history of its key:
// one entry lost, doubled or reordered changes all that follows.
type hashFold struct {
	state *State
	keys  *Table[*hashed]
}

type hashed struct{ sum [32]byte }

func (h *hashed) AppendState(b []byte) []byte { return append(b, h.sum[:]...) }
func (h *hashed) DecodeState(b []byte) error {
	if len(b) != 32 {
		return errors.New("short")
	}
	copy(h.sum[:], b)
	return nil
}

func newHashFold() Fold {
	s := NewState()
	return &hashFold{state: s, keys: NewTable(s, "keys", func() *hashed { return &hashed{} })}
}

func (f *hashFold) State() *State { return f.state }
func (f *hashFold) Apply(in Input, out *Outputs) error {
	e := &schemas.Entry{}
	if err := e.UnmarshalVT(in.Bytes); err != nil {
		return &RejectError{Reason: "undecodable", Detail: "not an entry"}
	}
	n := e.GetTick().GetSecond()
	if n%11 == 3 {
		return nil // roots without output exist too
	}
	h := f.keys.Touch(schemas.ID{0: byte(n % 5)})
	h.sum = sha256.Sum256(append(h.sum[:], in.Bytes...))
	out.Emit(tick(int64(binary.LittleEndian.Uint64(h.sum[:]) >> 1)))
	if n%3 == 0 {
		out.Forward(in.Bytes)
	}
	return nil
}

func tick(n int64) *schemas.Entry {
	return &schemas.Entry{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: n}}}
}

func group(t testing.TB, es ...*schemas.Entry) []byte {
	g := &schemas.Group{}
	for _, e := range es {
		b, err := e.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		g.Entries = append(g.Entries, b)
	}
	b, err := g.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// recompute derives the outputs of every root from the inputs, without a runner.
func recompute(inputs map[uint64][][]byte, last uint64, f Fold) map[uint64][][]byte {
	out := map[uint64][][]byte{}
	for root := uint64(1); root <= last; root++ {
		o := &Outputs{}
		for i, e := range inputs[root] {
			if err := f.Apply(Input{Root: root, Index: i, Bytes: e}, o); err != nil {
				o.Emit(deadLetter("a", root, i, e, err))
			}
		}
		if o.Len() > 0 {
			out[root] = append([][]byte(nil), o.Entries()...)
		}
	}
	return out
}

// outputsOf reads a derived log with the reader itself from root 0 to last.
func outputsOf(t testing.TB, b *Broker, log LogName, p int, last uint64) map[uint64][][]byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	chunks, errs := make(chan Message), make(chan error, 1)
	go func() { errs <- newReader(b, log, p, 0).run(ctx, chunks) }()
	out := map[uint64][][]byte{}
	for {
		select {
		case c := <-chunks:
			for _, r := range c.Roots {
				if out[r.Root] != nil {
					t.Fatalf("root %d stands twice in %s", r.Root, log)
				}
				out[r.Root] = r.Entries
			}
			if c.To >= last {
				return out
			}
		case err := <-errs:
			t.Fatalf("read %s: %v", log, err)
		}
	}
}

func compareOutputs(t testing.TB, log LogName, got, want map[uint64][][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s has outputs for %d roots, expected %d", log, len(got), len(want))
	}
	for root, es := range want {
		if fmt.Sprint(got[root]) != fmt.Sprint(es) {
			t.Fatalf("%s: outputs of root %d differ", log, root)
		}
	}
}

func testStages() []Stage {
	folds := map[uint32]func() Fold{1: newHashFold}
	return []Stage{
		{Name: "a", From: Ingest, To: Points, Folds: folds, Version: 1},
		{Name: "b", From: Points, To: Features, Folds: folds, Version: 1},
	}
}

// TestRunnersUnderTakeover lets two owners fight for every partition of two
// chained stages, ends and starts them at random, restarts the broker under
// them, and compares both logs with a recomputation from INGEST.
func TestRunnersUnderTakeover(t *testing.T) {
	const partitions, messages = 2, 900
	dir := t.TempDir()
	s := startServer(t, dir, -1)
	port := s.Addr().(interface{ String() string }).String()
	_, digits, _ := strings.Cut(port, ":")
	var number int
	fmt.Sscan(digits, &number)
	defer func() { stopServer(s) }()
	b := connect(t, s, partitions)
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()
	if err := b.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.Provision(ctx); err != nil {
		t.Fatalf("second provisioning: %v", err)
	}
	blobs := dirBlobs{t.TempDir()}
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}

	stop := make(chan struct{})
	var owners sync.WaitGroup
	for _, stage := range testStages() {
		for owner := range 2 {
			owners.Add(1)
			go func() {
				defer owners.Done()
				rng := rand.New(rand.NewPCG(uint64(owner), uint64(len(stage.Name))))
				for {
					select {
					case <-stop:
						return
					default:
					}
					life, end := context.WithTimeout(ctx, time.Duration(200+rng.IntN(2500))*time.Millisecond)
					r := NewRunner(stage, RunnerConfig{SnapshotEvery: 50 * time.Millisecond, SnapshotLoad: 1, Takeover: 100 * time.Millisecond}, b, blobs,
						NewMetrics(prometheus.NewRegistry()), log.With("owner", owner), []int{0, 1})
					if err := r.Run(life); err != nil {
						t.Errorf("run: %v", err)
					}
					end()
				}
			}()
		}
	}

	inputs := make([]map[uint64][][]byte, partitions)
	last := make([]uint64, partitions)
	for p := range partitions {
		inputs[p] = map[uint64][][]byte{}
	}
	for n := 0; n < messages; {
		p := n % partitions
		payload := group(t, tick(int64(n)), tick(int64(7*n)))
		if n%100 == 17 {
			payload = group(t, tick(int64(n)), &schemas.Entry{})
			payload = append(payload, 0x0a, 3, 0xff, 0xff, 0xff) // an entry that can't be decoded
		}
		root, err := b.Append(ctx, Ingest, p, payload)
		if err != nil {
			if ctx.Err() != nil {
				t.Fatal(ctx.Err())
			}
			continue
		}
		inputs[p][root] = groupEntries(payload)
		last[p] = root
		n++
		if n == messages/3 || n == 2*messages/3 {
			stopServer(s)
			s = startServer(t, dir, number)
		}
	}
	waitUntil(t, ctx, func() bool {
		for p := range partitions {
			m, _, err := b.lastMark(ctx, Features, p)
			if err != nil || m.to < last[p] {
				return false
			}
		}
		return true
	})
	close(stop)
	owners.Wait()
	for p := range partitions {
		// A publish whose answer was lost may stand in INGEST although nobody waited for it.
		inputs[p] = ingestOf(t, b, p, last[p])
		points := recompute(inputs[p], last[p], newHashFold())
		compareOutputs(t, Points, outputsOf(t, b, Points, p, last[p]), points)
		compareOutputs(t, Features, outputsOf(t, b, Features, p, last[p]), recompute(points, last[p], newHashFold()))
	}
}

func ingestOf(t testing.TB, b *Broker, p int, last uint64) map[uint64][][]byte {
	t.Helper()
	s, err := b.js.Stream(context.Background(), StreamName(Ingest, p))
	if err != nil {
		t.Fatal(err)
	}
	out := map[uint64][][]byte{}
	for seq := uint64(1); seq <= last; seq++ {
		m, err := s.GetMsg(context.Background(), seq)
		if err != nil {
			t.Fatal(err)
		}
		out[seq] = groupEntries(m.Data)
	}
	return out
}

func waitUntil(t testing.TB, ctx context.Context, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal("the expected state was not reached in time")
		case <-time.After(20 * time.Millisecond):
		}
	}
}
