package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/edgepulse/edgepulse/stream"
)

// sourceOf yields messages, then blocks until the context ends, or answers end.
type sourceOf struct {
	messages []Message
	end      error
}

func (s *sourceOf) Next(ctx context.Context) (uint64, time.Time, []byte, error) {
	if len(s.messages) == 0 {
		if s.end != nil {
			return 0, time.Time{}, nil, s.end
		}
		<-ctx.Done()
		return 0, time.Time{}, nil, ctx.Err()
	}
	m := s.messages[0]
	s.messages = s.messages[1:]
	return m.Root, m.At, m.Payload, nil
}

// rows is an Index that tells about every row.
type rows struct {
	mu   sync.Mutex
	list map[string]Segment
	news chan Segment
	fail error
}

func newRows() *rows { return &rows{list: map[string]Segment{}, news: make(chan Segment, 1000)} }

func (r *rows) InsertSegment(_ context.Context, s Segment) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	r.list[s.Name] = s
	r.news <- s
	return nil
}

type handClock chan time.Time

func (c handClock) After(time.Duration) <-chan time.Time { return c }

func numbered(from, to uint64) []Message {
	var out []Message
	for root := from; root <= to; root++ {
		out = append(out, Message{root, time.Unix(int64(root), 0).UTC(), []byte(strings.Repeat(fmt.Sprintf("%d ", root), 50)), 0})
	}
	return out
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestArchiverRestarts cuts a log anywhere, with lost index rows and other
// segment sizes in every life: the archive holds every message once, in order.
func TestArchiverRestarts(t *testing.T) {
	dir := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		blobs, err := NewFolder(fmt.Sprintf("%s/%d", dir, run))
		if err != nil {
			t.Fatal(err)
		}
		all, index := numbered(1, uint64(rapid.IntRange(1, 20).Draw(t, "n"))), newRows()
		for life := 0; life < 4; life++ {
			visible := len(all)
			if life < 3 {
				visible = rapid.IntRange(0, len(all)).Draw(t, "visible")
			}
			index.fail = nil
			if rapid.IntRange(0, 3).Draw(t, "index fails") == 0 && life < 3 {
				index.fail = errors.New("database is down")
			}
			cfg := Config{Log: stream.Ingest, Partition: 1, MaxBytes: rapid.IntRange(1, 2000).Draw(t, "size")}
			if life == 3 {
				cfg.MaxBytes = 1 // flush every message: nothing stays in an open segment
			}
			_ = NewArchiver(cfg, blobs, index, quiet()).Run(context.Background(), func(_ context.Context, after uint64) (Source, error) {
				return &sourceOf{all[min(int(after), visible):visible], io.EOF}, nil
			})
		}
		next := uint64(1)
		segments, err := Segments(context.Background(), blobs, stream.Ingest, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range segments {
			if s.First != next {
				t.Fatalf("segment %s follows root %d", s.Name, next-1)
			}
			if row, ok := index.list[s.Name]; !ok || row.Last != s.Last {
				t.Fatalf("segment %s is not indexed", s.Name)
			}
			next = s.Last + 1
		}
		// The last message may still be on its way when the source ends.
		if int(next) < len(all) {
			t.Fatalf("archived up to %d of %d", next-1, len(all))
		}
		for root := uint64(1); root < next; root++ {
			if m, err := ReadRoot(context.Background(), blobs, nil, stream.Ingest, 1, root); err != nil || !same(m, all[root-1]) {
				t.Fatalf("root %d: %v", root, err)
			}
		}
	})
}

func TestArchiverFlushesByAge(t *testing.T) {
	blobs, index, clock := newFolder(t), newRows(), make(handClock)
	a := NewArchiver(Config{Log: stream.Ingest, Clock: clock}, blobs, index, quiet())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- a.Run(ctx, func(context.Context, uint64) (Source, error) { return &sourceOf{messages: numbered(1, 1)}, nil })
	}()
	clock <- time.Time{} // taken only once a message has opened a segment
	if s := <-index.news; s.First != 1 || s.Messages != 1 || s.Bytes == 0 {
		t.Errorf("segment %+v", s)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestArchiverRefusesGaps(t *testing.T) {
	for name, messages := range map[string][]Message{
		"the log begins too late": numbered(2, 3),
		"one is missing":          append(numbered(1, 2), numbered(4, 5)...),
	} {
		err := NewArchiver(Config{Log: stream.Ingest}, newFolder(t), newRows(), quiet()).Run(t.Context(),
			func(context.Context, uint64) (Source, error) { return &sourceOf{messages: messages}, nil })
		if err == nil || !strings.Contains(err.Error(), "INGEST_0") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTwoArchivers: the same messages are accepted from another archiver, other ones are not.
func TestTwoArchivers(t *testing.T) {
	blobs := newFolder(t)
	a := NewArchiver(Config{Log: stream.Ingest}, blobs, newRows(), quiet())
	flush := func(messages []Message) error {
		w, err := NewWriter(stream.Ingest, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			if err := w.Add(context.Background(), m); err != nil {
				t.Fatal(err)
			}
		}
		return a.flush(t.Context(), w)
	}
	if err := flush(numbered(1, 3)); err != nil {
		t.Fatal(err)
	}
	if err := flush(numbered(1, 3)); err != nil {
		t.Errorf("the same messages again: %v", err)
	}
	other := numbered(1, 3)
	other[1].Payload = []byte("something else")
	if err := flush(other); err == nil || !strings.Contains(err.Error(), "root 2") {
		t.Errorf("other messages: %v", err)
	}
}
