package replay

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/internal/embedded"
	"github.com/edgepulse/edgepulse/stream"
)

func broker(t *testing.T) *stream.Broker {
	t.Helper()
	n, err := embedded.StartNATS(embedded.NATSOptions{StoreDir: t.TempDir(), MaxFileStore: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Stop)
	b, err := stream.Connect(stream.BrokerConfig{Partitions: 1, Replicas: 1, MaxBytes: 256 << 20, Timeout: 5 * time.Second}, "replay-test", n, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := b.Provision(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// store archives messages of INGEST; root r was stored r seconds after noon.
func store(t *testing.T, blobs stream.Blobs, first uint64, payloads ...[]byte) {
	t.Helper()
	w, err := archive.NewWriter(stream.Ingest, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range payloads {
		root := first + uint64(i)
		if err := w.Add(t.Context(), archive.Message{Root: root, At: noon.Add(time.Duration(root) * time.Second), Payload: p}); err != nil {
			t.Fatal(err)
		}
	}
	data, info, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if err := blobs.Create(t.Context(), info.Name, data); err != nil {
		t.Fatal(err)
	}
}

func payloadsOf(t *testing.T, n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = group(t, batch(t, ours, int64(i+1)*1e6, fmt.Sprintf("device-%d", i)), tick(t, int64(i+1)))
	}
	return out
}

func folder(t *testing.T) stream.Blobs {
	t.Helper()
	blobs, err := archive.NewFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return blobs
}

func nobody(int) uint64 { return 0 }

// TestRecoverPutsRootsBack: an empty INGEST gets its messages back under their
// roots, byte for byte; roots that somebody has seen and nobody has are empty.
func TestRecoverPutsRootsBack(t *testing.T) {
	ctx, b, blobs := t.Context(), broker(t), folder(t)
	payloads := payloadsOf(t, 600) // more than two windows
	store(t, blobs, 1, payloads[:250]...)
	store(t, blobs, 251, payloads[250:]...)
	d := Deps{Broker: b, Archive: blobs}
	list, err := d.Recover(ctx, func(int) uint64 { return 905 })
	if err != nil {
		t.Fatal(err)
	}
	if last := list[len(list)-1]; last != (Recovered{Log: stream.Ingest, Archived: 600, Empty: 305}) {
		t.Fatalf("recovered %+v", last)
	}
	err = b.Follow(ctx, stream.Ingest, 0, 0, func(m stream.Message) (bool, error) {
		var want []byte
		if m.To <= 600 {
			want = payloads[m.To-1]
		}
		if !bytes.Equal(m.Payload, want) {
			return true, fmt.Errorf("root %d holds %d bytes, expected %d", m.To, len(m.Payload), len(want))
		}
		return m.To == 905, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// Once more there is nothing to do.
	list, err = d.Recover(ctx, nobody)
	if last := list[len(list)-1]; err != nil || last.Before != 905 || last.Empty != 0 {
		t.Fatalf("recovered again %+v, %v", last, err)
	}
}

func TestRecoverRefusesWhatDoesNotFit(t *testing.T) {
	ctx := t.Context()
	payloads := payloadsOf(t, 20)
	t.Run("another deployment's archive", func(t *testing.T) {
		b, blobs := broker(t), folder(t)
		store(t, blobs, 1, payloads...)
		if err := b.AppendAt(ctx, stream.Ingest, 0, 1, [][]byte{group(t, tick(t, 99))}); err != nil {
			t.Fatal(err)
		}
		if _, err := (Deps{Broker: b, Archive: blobs}).Recover(ctx, nobody); !errors.Is(err, ErrForeign) {
			t.Errorf("recover: %v", err)
		}
	})
	t.Run("archive that begins later", func(t *testing.T) {
		b, blobs := broker(t), folder(t)
		store(t, blobs, 11, payloads[10:]...)
		if _, err := (Deps{Broker: b, Archive: blobs}).Recover(ctx, nobody); !errors.Is(err, ErrGap) {
			t.Errorf("recover: %v", err)
		}
	})
}

// TestPlanByTime finds roots by when they were stored, in the archive and behind it.
func TestPlanByTime(t *testing.T) {
	ctx, b, blobs := t.Context(), broker(t), folder(t)
	payloads := payloadsOf(t, 30)
	if err := b.AppendAt(ctx, stream.Ingest, 0, 1, payloads); err != nil {
		t.Fatal(err)
	}
	store(t, blobs, 1, payloads[:10]...)
	store(t, blobs, 11, payloads[10:20]...)
	d := Deps{Broker: b, Archive: blobs}
	second := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Second) }
	for _, c := range []struct {
		name     string
		from, to time.Time
		want     string
	}{
		{"all", time.Time{}, time.Time{}, "1-30"},
		{"within a segment", second(3), second(6), "3-5"},
		{"over segments", second(5), second(15), "5-14"},
		{"between two messages", second(9).Add(time.Millisecond), time.Time{}, "10-30"},
		{"behind the archive", second(21), time.Now().Add(time.Hour), "21-30"},
		{"before the first", second(-9), second(2), "1-1"},
	} {
		p, err := d.Plan(ctx, Request{From: c.from, To: c.to})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := fmt.Sprintf("%d-%d", p.Parts[0].From, p.Parts[0].To); got != c.want {
			t.Errorf("%s: roots %s, expected %s", c.name, got, c.want)
		}
	}
	if _, err := d.Plan(ctx, Request{To: second(-5)}); !errors.Is(err, ErrEmpty) {
		t.Errorf("an empty range: %v", err)
	}
	if _, err := d.Plan(ctx, Request{From: second(5), To: second(5)}); err == nil {
		t.Error("a range that ends where it begins was taken")
	}
}

// TestSourceTurnsToTheLog reads the archive and then the log, every root once.
func TestSourceTurnsToTheLog(t *testing.T) {
	ctx, b, blobs := t.Context(), broker(t), folder(t)
	payloads := payloadsOf(t, 30)
	store(t, blobs, 1, payloads[:10]...)
	store(t, blobs, 6, payloads[5:20]...) // a second archiver's, overlapping
	read := func(last uint64) (out [][]byte, err error) {
		s, err := Deps{Broker: b, Archive: blobs}.openSource(ctx, stream.Ingest, 0)
		if err != nil {
			return nil, err
		}
		return out, s.each(ctx, 3, last, func(m archive.Message) error {
			if m.Root != uint64(3+len(out)) {
				return fmt.Errorf("root %d comes as number %d", m.Root, len(out))
			}
			out = append(out, bytes.Clone(m.Payload))
			return nil
		})
	}
	if _, err := read(25); !errors.Is(err, errMissing) {
		t.Errorf("roots that nobody has: %v", err)
	}
	if err := b.AppendAt(ctx, stream.Ingest, 0, 1, payloads); err != nil {
		t.Fatal(err)
	}
	got, err := read(25)
	if err != nil || len(got) != 23 || !bytes.Equal(bytes.Join(got, nil), bytes.Join(payloads[2:25], nil)) {
		t.Errorf("%d messages, %v", len(got), err)
	}
	s, err := Deps{Broker: b, Archive: blobs}.openSource(ctx, stream.Ingest, 0)
	if err != nil {
		t.Fatal(err)
	}
	exact := int64(0)
	for _, p := range payloads[2:20] {
		exact += int64(len(p))
	}
	if n, err := s.size(ctx, 3, 20); err != nil || n != exact {
		t.Errorf("%d bytes, %v; expected %d", n, err, exact)
	}
}

// TestCheckLive refuses what would not fold as empty.
func TestCheckLive(t *testing.T) {
	ctx, b, blobs := t.Context(), broker(t), folder(t)
	payloads := payloadsOf(t, 10)
	store(t, blobs, 1, payloads...)
	d := Deps{Broker: b, Archive: blobs}
	p, err := d.Plan(ctx, Request{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.CheckLive(ctx, p); !errors.Is(err, ErrLost) {
		t.Errorf("into a log that lost all: %v", err)
	}
	if err := b.AppendAt(ctx, stream.Ingest, 0, 1, append([][]byte{group(t, tick(t, 77))}, payloads[1:]...)); err != nil {
		t.Fatal(err)
	}
	if err := d.CheckLive(ctx, p); !errors.Is(err, ErrForeign) {
		t.Errorf("into another deployment's log: %v", err)
	}
}

// TestRecoverOfAYoungArchive: segments whose retention has passed are gone; the
// log begins where the archive does, under the original roots.
func TestRecoverOfAYoungArchive(t *testing.T) {
	ctx, b, blobs := t.Context(), broker(t), folder(t)
	payloads := payloadsOf(t, 30)
	store(t, blobs, 11, payloads[10:]...)
	list, err := Deps{Broker: b, Archive: blobs, Young: true}.Recover(ctx, func(int) uint64 { return 0 })
	if err != nil {
		t.Fatalf("%v, %v", list, err)
	}
	st, err := b.StatusOf(ctx, stream.Ingest, 0)
	if err != nil || st.FirstSeq != 11 || st.LastSeq != 30 {
		t.Fatalf("INGEST holds %d to %d, %v", st.FirstSeq, st.LastSeq, err)
	}
	for root := uint64(11); root <= 30; root++ {
		if raw, _, err := b.ReadRoot(ctx, 0, root); err != nil || !bytes.Equal(raw, payloads[root-1]) {
			t.Fatalf("root %d: %v", root, err)
		}
	}
}
