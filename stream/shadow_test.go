package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestNamesOfShadows(t *testing.T) {
	log := Scores.In("a-1")
	if got := StreamName(log, 3); got != "SHADOW_a-1_SCORES_3" {
		t.Errorf("stream %s", got)
	}
	if got := Subject(log, 3); got != "shadow.a-1.scores.3" {
		t.Errorf("subject %s", got)
	}
	if spec, ok := Spec(log); !ok || spec.Name != log || spec.From != Features.In("a-1") || spec.Truth || spec.Writer != "scorer" {
		t.Errorf("spec %+v", spec)
	}
	if spec, ok := Spec(Ingest.In("x")); !ok || !spec.Truth || spec.From != "" {
		t.Errorf("spec of a shadow's INGEST %+v", spec)
	}
	if Scores.In("") != Scores {
		t.Error("the live set has no name")
	}
	if got := fmt.Sprint(Shadowed()); got != "[INGEST POINTS FEATURES SCORES ALERTS]" {
		t.Errorf("logs of a shadow: %s", got)
	}
	for _, bad := range []string{"", "A", "a_b", "a.b", "-a", "a*", strings.Repeat("a", 33)} {
		if err := CheckShadowName(bad); !errors.Is(err, ErrShadowName) {
			t.Errorf("name %q: %v", bad, err)
		}
	}
	if err := halt(log, 1, "x"); !strings.Contains(err.Error(), "replay drop a-1") {
		t.Errorf("a halted shadow says: %v", err)
	}
}

// runUntil lets stages work until each has reached a root, and those named have
// a snapshot of it; the others take none.
func runUntil(t *testing.T, ctx context.Context, b *Broker, blobs Blobs, root uint64, snapshot string, stages ...Stage) {
	t.Helper()
	life, end := context.WithCancel(ctx)
	done := make(chan error, len(stages))
	for _, s := range stages {
		every := time.Hour
		if strings.Contains(snapshot, s.Name) {
			every = 10 * time.Millisecond
		}
		r := NewRunner(s, RunnerConfig{SnapshotEvery: every, SnapshotLoad: 1}, b, blobs, NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler), []int{0})
		go func() { done <- r.Run(life) }()
	}
	for _, s := range stages {
		waitUntil(t, ctx, func() bool {
			at, err := b.End(ctx, s.To, 0)
			if err != nil || at < root || !strings.Contains(snapshot, s.Name) {
				return err == nil && at >= root
			}
			at, err = newSnapshotStore(blobs, s.Name, 0, "").newest(ctx)
			return err == nil && at == root
		})
	}
	end()
	for range stages {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestShadowGoesOnFromSnapshots folds the end of a log into a shadow that begins
// at retained snapshots, each stage at its own, and gets what the live stages got.
func TestShadowGoesOnFromSnapshots(t *testing.T) {
	s := startServer(t, t.TempDir(), -1)
	defer stopServer(s)
	b := connect(t, s, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := b.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	blobs, copies := dirBlobs{t.TempDir()}, dirBlobs{t.TempDir()}
	stages := testStages()
	var payloads [][]byte
	for n := range 62 {
		payloads = append(payloads, group(t, tick(int64(n)), tick(int64(5*n))))
	}
	// The newest snapshots below the range stand at different roots.
	for _, step := range []struct {
		last      int
		snapshots string
	}{{20, "ab"}, {40, "b"}, {60, ""}, {62, "ab"}} {
		end, err := b.End(ctx, Ingest, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.AppendAt(ctx, Ingest, 0, end+1, payloads[end:step.last]); err != nil {
			t.Fatal(err)
		}
		runUntil(t, ctx, b, blobs, uint64(step.last), step.snapshots, stages...)
	}

	const from, to = 45, 60
	limit := uint64(from - 1)
	seeds := map[string]Seed{}
	for i := len(stages) - 1; i >= 0; i-- {
		seed, err := b.FindSeed(ctx, stages[i], 0, limit, blobs, copies)
		if err != nil {
			t.Fatal(err)
		}
		if seed.Root > limit || seed.Version != 1 {
			t.Fatalf("seed of %s: %+v, wanted at or below %d", stages[i].Name, seed, limit)
		}
		seeds[stages[i].Name], limit = seed, seed.Root
	}
	if seeds["a"].Root != 20 || seeds["b"].Root != 40 {
		t.Fatalf("seeds %v, expected the snapshots at 20 and 40", seeds)
	}
	if err := b.MakeShadowLog(ctx, Ingest.In("x"), 0, ShadowLog{After: limit, MaxBytes: 8 << 20, Note: "plan"}); err != nil {
		t.Fatal(err)
	}
	shadowed := testStages()
	for i := range shadowed {
		st := &shadowed[i]
		o := ShadowLog{After: seeds[st.Name].Root, Version: seeds[st.Name].Version, MaxBytes: 8 << 20}
		st.From, st.To = st.From.In("x"), st.To.In("x")
		for range 2 { // making it twice changes nothing
			if err := b.MakeShadowLog(ctx, st.To, 0, o); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := b.AppendAt(ctx, Ingest.In("x"), 0, limit+1, payloads[limit:to]); err != nil {
		t.Fatal(err)
	}
	if err := b.AppendAt(ctx, Ingest.In("x"), 0, limit+1, payloads[limit:limit+1]); err == nil {
		t.Error("a root was given twice")
	}
	if end, err := b.End(ctx, Ingest.In("x"), 0); err != nil || end != to {
		t.Fatalf("the shadow's INGEST ends at %d (%v), expected sequence = root", end, err)
	}
	runUntil(t, ctx, b, copies, to, "", shadowed...)
	for i, st := range stages {
		live, shadow := map[uint64][][]byte{}, map[uint64][][]byte{}
		for log, into := range map[LogName]map[uint64][][]byte{st.To: live, shadowed[i].To: shadow} {
			err := b.Scan(ctx, log, 0, from-1, to, func(root uint64, _ int, e []byte) error {
				into[root] = append(into[root], bytes.Clone(e))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if len(live) < 10 {
			t.Fatalf("%s has outputs for %d roots only", st.To, len(live))
		}
		compareOutputs(t, st.To, shadow, live)
	}

	list, err := b.Shadows(ctx)
	if err != nil || len(list) != 1 || list[0].Name != "x" || list[0].Note != "plan" || len(list[0].Logs) != 3 {
		t.Fatalf("shadows: %+v, %v", list, err)
	}
	if n, err := b.DropShadow(ctx, "x"); err != nil || n != 3 {
		t.Fatalf("%d logs dropped, %v", n, err)
	}
	if list, err := b.Shadows(ctx); err != nil || len(list) != 0 {
		t.Fatalf("after dropping: %+v, %v", list, err)
	}
	err = b.MakeShadowLog(ctx, Ingest.In("big"), 0, ShadowLog{MaxBytes: 1 << 40})
	if !errors.Is(err, ErrNoRoom) {
		t.Errorf("a shadow larger than the broker: %v", err)
	}
}

// TestRepublishedRootsAreEmpty: a message that names an older root says nothing,
// to a fold and to whoever archives it; one that names none is new.
func TestRepublishedRootsAreEmpty(t *testing.T) {
	s := startServer(t, t.TempDir(), -1)
	defer stopServer(s)
	b := connect(t, s, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := b.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	var payloads [][]byte
	for n := range 5 {
		payloads = append(payloads, group(t, tick(int64(n))))
	}
	if err := b.AppendAt(ctx, Ingest, 0, 1, payloads); err != nil {
		t.Fatal(err)
	}
	// 2 and 4 are known; 9 is not: it would be the root of something lost.
	if err := b.Republish(ctx, 0, []uint64{2, 4, 9}, [][]byte{payloads[1], payloads[3], payloads[0]}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Append(ctx, Ingest, 0, payloads[2]); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := b.Follow(ctx, Ingest, 0, 0, func(m Message) (bool, error) {
		n := 0
		for _, r := range m.Roots {
			n += len(r.Entries)
		}
		got = append(got, fmt.Sprintf("%d:%d/%t", m.To, n, len(m.Payload) > 0))
		return m.To == 9, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "[1:1/true 2:1/true 3:1/true 4:1/true 5:1/true 6:0/false 7:0/false 8:1/true 9:1/true]"; fmt.Sprint(got) != want {
		t.Errorf("root:entries/payload %v\nexpected %s", got, want)
	}
	blobs := dirBlobs{t.TempDir()}
	runUntil(t, ctx, b, blobs, 9, "", testStages()...)
	out := outputsOf(t, b, Points, 0, 9)
	if len(out[2]) == 0 || len(out[6]) != 0 || len(out[7]) != 0 || len(out[9]) == 0 {
		t.Errorf("outputs by root: %d of root 2, %d of 6, %d of 7, %d of 9", len(out[2]), len(out[6]), len(out[7]), len(out[9]))
	}
}
