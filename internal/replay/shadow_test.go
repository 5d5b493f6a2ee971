package replay

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// countFold is a toy: every batch is answered by a score that depends on all
// batches before it. sinful lets it depend on something else.
type countFold struct {
	state  *stream.State
	counts *stream.Table[*count]
	sinful bool
}

type count struct{ n uint64 }

func (c *count) AppendState(b []byte) []byte { return binary.LittleEndian.AppendUint64(b, c.n) }
func (c *count) DecodeState(b []byte) error {
	if len(b) != 8 {
		return errors.New("short")
	}
	c.n = binary.LittleEndian.Uint64(b)
	return nil
}

func newCountFold(sinful bool) stream.Fold {
	s := stream.NewState()
	return &countFold{state: s, counts: stream.NewTable(s, "counts", func() *count { return &count{} }), sinful: sinful}
}

func (f *countFold) State() *stream.State { return f.state }

func (f *countFold) Apply(in stream.Input, out *stream.Outputs) error {
	if schemas.KindOf(in.Bytes) == schemas.KindTick {
		out.Forward(in.Bytes)
		return nil
	}
	c := f.counts.Touch(schemas.ID{1})
	c.n += in.Root
	v := float64(c.n)
	if f.sinful && in.Root == 17 {
		v++
	}
	device := schemas.DeviceID(ours, "device-1")
	out.Emit(&schemas.Entry{Kind: &schemas.Entry_Score{Score: &schemas.Score{TenantId: ours[:], DeviceId: device[:], MetricId: theirs[:], Value: v}}})
	return nil
}

// countStages are POINTS to ALERTS, each of the toy.
func countStages(version uint32, sinful stream.LogName) []stream.Stage {
	var out []stream.Stage
	from := stream.Ingest
	for _, log := range stream.Downstream(stream.Points) {
		out = append(out, stream.Stage{Name: strings.ToLower(string(log)), From: from, To: log, Version: version,
			Folds: map[uint32]func() stream.Fold{version: func() stream.Fold { return newCountFold(log == sinful) }}})
		from = log
	}
	return out
}

// live runs stages until the last one has reached a root.
func live(t *testing.T, b *stream.Broker, snapshots stream.Blobs, stages []stream.Stage, root uint64) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	life, end := context.WithCancel(ctx)
	done := make(chan error, len(stages))
	for _, s := range stages {
		r := stream.NewRunner(s, stream.RunnerConfig{}, b, snapshots, stream.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler), []int{0})
		go func() { done <- r.Run(life) }()
	}
	if err := (Deps{Broker: b}).reached(ctx, stages[len(stages)-1].To, 0, root); err != nil {
		t.Fatal(err)
	}
	end()
	for range stages {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func differing(list []Comparison) (n int, first *Comparison) {
	for i := range list {
		n += list[i].Differing
		if first == nil && list[i].First != nil {
			first = &list[i]
		}
	}
	return n, first
}

// TestShadowAgainstLive folds a range into shadows and compares: as it was, by a
// fold that breaks the rules, and by a binary that lacks the version.
func TestShadowAgainstLive(t *testing.T) {
	ctx, b, archived, snapshots := t.Context(), broker(t), folder(t), folder(t)
	payloads := payloadsOf(t, 40)
	if err := b.AppendAt(ctx, stream.Ingest, 0, 1, payloads); err != nil {
		t.Fatal(err)
	}
	store(t, archived, 1, payloads[:30]...)
	live(t, b, snapshots, countStages(1, ""), 40)

	shadow := func(name string, stages []stream.Stage, r Request) (*Shadow, error) {
		s, err := Deps{Broker: b, Archive: archived, Snapshots: snapshots, Stages: stages}.OpenShadow(ctx, name, r, 0)
		if err != nil {
			return nil, err
		}
		return s, s.Run(ctx, RunOptions{Logger: slog.New(slog.DiscardHandler)})
	}
	s, err := shadow("same", countStages(1, ""), Request{From: noon.Add(5 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.Compare(ctx)
	if err != nil || len(list) != 4 {
		t.Fatalf("%d comparisons, %v", len(list), err)
	}
	if n, _ := differing(list); n != 0 || list[0].Roots != 36 || list[0].Outputs != 72 {
		t.Errorf("%d differ of %d roots and %d outputs", n, list[0].Roots, list[0].Outputs)
	}
	if at, err := s.Progress(ctx); err != nil || !at.Done() || at.Published != at.Total {
		t.Errorf("progress %+v, %v", at, err)
	}
	// The same request goes on with it, another one is refused.
	if again, err := shadow("same", countStages(1, ""), Request{From: noon.Add(5 * time.Second)}); err != nil || !again.Resumed {
		t.Errorf("the same again: %v", err)
	}
	if _, err := shadow("same", countStages(1, ""), Request{From: noon.Add(6 * time.Second)}); err == nil {
		t.Error("a shadow of another range was taken")
	}

	s, err = shadow("sinful", countStages(1, stream.Features), Request{})
	if err != nil {
		t.Fatal(err)
	}
	if list, err = s.Compare(ctx); err != nil {
		t.Fatal(err)
	}
	n, first := differing(list)
	if n != 1 || first.Log != stream.Features || first.First.Root != 17 {
		t.Fatalf("%d roots differ: %+v", n, first)
	}
	if f := first.First.Fields(); len(f) != 1 || f[0].Path != "score.value" {
		t.Errorf("fields %v", f)
	}

	// One device: the others' roots are empty, its own are not what they were in a fold
	// that counts everybody. The real folds share nothing between devices.
	s, err = shadow("filtered", countStages(1, ""), Request{Filter: Filter{Tenant: ours, Device: "device-1"}})
	if err != nil {
		t.Fatal(err)
	}
	if at, err := s.Progress(ctx); err != nil || at.Folded != 40 {
		t.Errorf("a filtered shadow folds %+v, %v: every root is published", at, err)
	}

	d := Deps{Broker: b, Archive: archived, Snapshots: snapshots, Stages: countStages(2, "")}
	other, err := d.Find(ctx, "same")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Compare(ctx); !errors.Is(err, ErrFoldVersion) {
		t.Errorf("a range of another fold version: %v", err)
	}
	if _, err := shadow("newer", countStages(2, ""), Request{}); err == nil {
		t.Error("a range was folded by a version that did not fold it")
	}
	for _, name := range []string{"same", "sinful", "filtered", "newer"} {
		if err := d.Drop(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	left, err := snapshots.List(ctx, "shadows/")
	if err != nil || len(left) != 0 {
		t.Errorf("dropped shadows left %v, %v", left, err)
	}
}
