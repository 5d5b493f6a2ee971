package stream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/edgepulse/edgepulse/schemas"
)

// TestSnapshotsThroughManyMerges takes snapshot after snapshot of a changing
// state, through merges and prunings, and restores at random limits.
func TestSnapshotsThroughManyMerges(t *testing.T) {
	ctx := context.Background()
	blobs := dirBlobs{t.TempDir()}
	rng := rand.New(rand.NewPCG(1, 2))
	s := NewState()
	table := NewTable(s, "t", func() *counter { return &counter{} })
	st := newSnapshotStore(blobs, "stage", 0, "")
	model := map[uint64]map[schemas.ID]uint64{}
	last := uint64(0)
	for range 200 {
		for range 1 + rng.IntN(20) {
			key := schemas.ID{0: byte(rng.IntN(50))}
			if rng.IntN(6) == 0 {
				table.Delete(key)
			} else {
				table.Touch(key).n = rng.Uint64()
			}
		}
		last += 1 + rng.Uint64N(5)
		now := map[schemas.ID]uint64{}
		for _, k := range table.Keys() {
			c, _ := table.Get(k)
			now[k] = c.n
		}
		model[last] = now
		s.beginCapture(last)
		for !s.stepCapture(100) {
		}
		if err := st.write(ctx, s.endCapture(), 1, 0); err != nil {
			t.Fatalf("snapshot at root %d: %v", last, err)
		}
		if rng.IntN(10) == 0 { // a restart: the chain goes on from what is stored
			st = newSnapshotStore(blobs, "stage", 0, "")
			s = NewState()
			table = NewTable(s, "t", func() *counter { return &counter{} })
			if root, _, err := st.restore(ctx, s, last); err != nil || root != last {
				t.Fatalf("restore at root %d gave %d: %v", last, root, err)
			}
		}
		limit := last - rng.Uint64N(min(last, 30))
		other, fresh := newSnapshotStore(blobs, "stage", 0, ""), NewState()
		got := NewTable(fresh, "t", func() *counter { return &counter{} })
		root, _, err := other.restore(ctx, fresh, limit)
		if err != nil {
			t.Fatalf("restore at or below %d: %v", limit, err)
		}
		if root == 0 {
			continue // pruned: the log is replayed instead
		}
		if root > limit || fmt.Sprint(contents(got)) != fmt.Sprint(model[root]) {
			t.Fatalf("restore at or below %d gave root %d with other contents", limit, root)
		}
	}
}

func contents(t *Table[*counter]) map[schemas.ID]uint64 {
	out := map[schemas.ID]uint64{}
	for _, k := range t.Keys() {
		c, _ := t.Get(k)
		out[k] = c.n
	}
	return out
}

// TestDamagedSnapshotIsPassedOver flips one byte of the newest snapshot.
func TestDamagedSnapshotIsPassedOver(t *testing.T) {
	ctx := context.Background()
	blobs := dirBlobs{t.TempDir()}
	s := NewState()
	table := NewTable(s, "t", func() *counter { return &counter{} })
	st := newSnapshotStore(blobs, "stage", 0, "")
	for root := uint64(1); root <= 3; root++ {
		table.Touch(schemas.ID{0: byte(root)}).n = root
		s.beginCapture(root)
		s.stepCapture(1 << 20)
		if err := st.write(ctx, s.endCapture(), 1, 0); err != nil {
			t.Fatal(err)
		}
	}
	newest := st.name(3, kindDelta)
	b, err := blobs.Get(ctx, newest)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-3] ^= 1
	if err := blobs.Delete(ctx, newest); err != nil {
		t.Fatal(err)
	}
	if err := blobs.Create(ctx, newest, b); err != nil {
		t.Fatal(err)
	}
	fresh := NewState()
	got := NewTable(fresh, "t", func() *counter { return &counter{} })
	root, _, err := newSnapshotStore(blobs, "stage", 0, "").restore(ctx, fresh, 10)
	if err != nil || root != 2 || got.Len() != 2 {
		t.Fatalf("restored root %d with %d records: %v", root, got.Len(), err)
	}
}

// TestBasesFollowWhereTheLogIsFull: what a stage can fall back to moves with the fill of
// its log: two bases far apart, two close together, at last one alone.
func TestBasesFollowWhereTheLogIsFull(t *testing.T) {
	ctx := context.Background()
	blobs := dirBlobs{t.TempDir()}
	s := NewState()
	table := NewTable(s, "t", func() *counter { return &counter{} })
	st := newSnapshotStore(blobs, "stage", 0, "")
	root := uint64(0)
	write := func(fill float64) {
		t.Helper()
		root++
		table.Touch(schemas.ID{0: byte(root)}).n = root
		s.beginCapture(root)
		s.stepCapture(1 << 20)
		if err := st.write(ctx, s.endCapture(), 1, fill); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, bases ...uint64) {
		t.Helper()
		names, err := st.list(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for _, n := range names {
			if n.kind == kindBase {
				got = append(got, n.root)
			}
		}
		if !slices.Equal(got, bases) {
			t.Fatalf("%s: bases at %v, want %v", what, got, bases)
		}
		fresh := NewState()
		again := NewTable(fresh, "t", func() *counter { return &counter{} })
		if at, _, err := newSnapshotStore(blobs, "stage", 0, "").restore(ctx, fresh, root); err != nil || at != root || again.Len() != int(root) {
			t.Fatalf("%s: restored root %d with %d records: %v", what, at, again.Len(), err)
		}
	}
	for range 5 {
		write(.5)
	}
	want("with room", 1)
	write(.7)
	want("pressed", 1, 6)
	write(.7)
	want("pressed again", 6, 7)
	write(.9)
	want("nearly full", 8)
	write(.5)
	write(.5)
	want("with room again", 8)
}
