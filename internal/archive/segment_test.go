package archive

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/edgepulse/edgepulse/stream"
)

func segmentOf(t interface{ Fatal(...any) }, partition int, messages []Message) ([]byte, Segment) {
	w, err := NewWriter(stream.Ingest, partition, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if err := w.Add(context.Background(), m); err != nil {
			t.Fatal(err)
		}
	}
	data, info, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return data, info
}

// messagesFrom draws messages, some empty (filtered roots), some large, times in any order.
func messagesFrom(t *rapid.T) []Message {
	first := rapid.Uint64Range(1, 1<<40).Draw(t, "first")
	n := rapid.IntRange(1, 20).Draw(t, "n")
	out := make([]Message, n)
	for i := range out {
		out[i] = Message{first + uint64(i), time.Unix(0, rapid.Int64Range(0, 1<<61).Draw(t, "at")).UTC(),
			bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "payload"), rapid.IntRange(1, 300).Draw(t, "times")), 0}
	}
	return out
}

func same(a, b Message) bool {
	return a.Root == b.Root && a.At.Equal(b.At) && bytes.Equal(a.Payload, b.Payload)
}

func TestSegmentRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		messages := messagesFrom(t)
		data, info := segmentOf(t, 3, messages)
		again, _ := segmentOf(t, 3, messages)
		if !bytes.Equal(data, again) {
			t.Fatal("equal messages gave other bytes")
		}
		r, err := Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if r.Info() != info {
			t.Fatalf("info %+v, want %+v", r.Info(), info)
		}
		for _, want := range messages {
			got, err := r.Read(context.Background(), want.Root)
			if err != nil || !same(got, want) {
				t.Fatalf("root %d: %v", want.Root, err)
			}
		}
		if _, err := r.Read(context.Background(), info.Last+1); err == nil {
			t.Fatal("a root beyond the segment was read")
		}
	})
}

// TestSegmentDamage: any changed, missing or added byte is an error when the
// segment is opened whole; read by ranges, a message is right or an error.
func TestSegmentDamage(t *testing.T) {
	blobs := map[string][]byte{}
	rapid.Check(t, func(t *rapid.T) {
		messages := messagesFrom(t)
		data, info := segmentOf(t, 3, messages)
		damaged := bytes.Clone(data)
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			i := rapid.IntRange(0, len(damaged)-1).Draw(t, "byte")
			damaged[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "xor"))
		case 1:
			damaged = damaged[:rapid.IntRange(0, len(damaged)-1).Draw(t, "cut")]
		case 2:
			damaged = append(damaged, rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "more")...)
		}
		if _, err := Decode(damaged); err == nil {
			t.Fatal("the damage was not noticed")
		}
		blobs[info.Name] = damaged
		r, err := OpenSegment(context.Background(), memBlobs(blobs), info.Name)
		if err != nil {
			return
		}
		defer r.Close()
		for _, want := range messages {
			if got, err := r.Read(context.Background(), want.Root); err == nil && !same(got, want) {
				t.Fatalf("root %d was read wrong", want.Root)
			}
		}
	})
}

func TestSegmentRefuses(t *testing.T) {
	w, err := NewWriter(stream.Ingest, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Finish(); err == nil {
		t.Error("an empty segment was finished")
	}
	if err := w.Add(context.Background(), Message{Root: 5}); err != nil {
		t.Fatal(err)
	}
	for _, root := range []uint64{5, 4, 7} {
		if err := w.Add(context.Background(), Message{Root: root}); err == nil {
			t.Errorf("root %d was taken after 5", root)
		}
	}
	if err := w.Add(context.Background(), Message{Root: 6, Payload: make([]byte, stream.MaxPayload+1)}); err == nil {
		t.Error("an outsized message was taken")
	}
	if err := w.Add(context.Background(), Message{Root: 6, Payload: make([]byte, stream.MaxPayload)}); err != nil {
		t.Error(err)
	}
	data, _, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint16(data[8:], 9)
	if _, err := Decode(data); err == nil || errors.Is(err, ErrCorrupt) {
		t.Errorf("a later format is reported as %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	data, _ := segmentOf(f, 1, []Message{{1, time.Unix(1, 0), []byte("one"), 0}, {2, time.Unix(2, 0), nil, 0}})
	f.Add(data)
	f.Add(data[:headerSize])
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Decode(data)
		if err != nil {
			return
		}
		defer r.Close()
		for root := r.info.First; root <= r.info.Last; root++ {
			if _, err := r.Read(context.Background(), root); err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
		}
	})
}

// FuzzOpenSegment reaches the parts behind the sums: header and index are given valid ones.
func FuzzOpenSegment(f *testing.F) {
	data, _ := segmentOf(f, 1, []Message{{1, time.Unix(1, 0), []byte("one"), 0}, {2, time.Unix(2, 0), nil, 0}})
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := decodeHeader(data)
		if err != nil {
			return
		}
		end := int64(h.indexAt) + int64(h.Messages)*indexEntry
		if int64(h.indexAt) > int64(len(data)) || end > int64(len(data)) {
			return
		}
		sum := headerSum(data[:headerSize], data[h.indexAt:end])
		copy(data[96:], sum[:])
		r, err := OpenSegment(context.Background(), memBlobs{h.Name: data}, h.Name)
		if err != nil {
			return
		}
		defer r.Close()
		for root := r.info.First; root <= r.info.Last; root++ {
			if _, err := r.Read(context.Background(), root); err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
		}
	})
}

func TestReadRoot(t *testing.T) {
	blobs := newFolder(t)
	for _, r := range [][2]uint64{{1, 9}, {10, 10}, {5, 14}, {11, 100}} { // overlapping: two archivers
		var messages []Message
		for root := r[0]; root <= r[1]; root++ {
			messages = append(messages, Message{root, time.Unix(int64(root), 0), fmt.Appendf(nil, "payload of %d", root), 0})
		}
		data, info := segmentOf(t, 2, messages)
		if err := blobs.Create(t.Context(), info.Name, data); err != nil {
			t.Fatal(err)
		}
	}
	for root := uint64(1); root <= 100; root++ {
		m, err := ReadRoot(t.Context(), blobs, nil, stream.Ingest, 2, root)
		if err != nil || string(m.Payload) != fmt.Sprintf("payload of %d", root) {
			t.Errorf("root %d: %q, %v", root, m.Payload, err)
		}
	}
	for _, root := range []uint64{0, 101} {
		if _, err := ReadRoot(t.Context(), blobs, nil, stream.Ingest, 2, root); !errors.Is(err, stream.ErrBlobNotFound) {
			t.Errorf("root %d: %v", root, err)
		}
	}
	if _, err := ReadRoot(t.Context(), blobs, nil, stream.Ingest, 1, 5); !errors.Is(err, stream.ErrBlobNotFound) {
		t.Errorf("another partition: %v", err)
	}
}

// memBlobs answers ranges only: enough for a Reader.
type memBlobs map[string][]byte

func (m memBlobs) GetRange(_ context.Context, name string, offset, n int64) ([]byte, error) {
	data, ok := m[name]
	if !ok {
		return nil, stream.ErrBlobNotFound
	}
	if offset < 0 || n < 0 || offset > int64(len(data)) || n > int64(len(data))-offset {
		return nil, ErrCorrupt
	}
	return data[offset : offset+n], nil
}
func (m memBlobs) Create(context.Context, string, []byte) error   { return errors.ErrUnsupported }
func (m memBlobs) Get(context.Context, string) ([]byte, error)    { return nil, errors.ErrUnsupported }
func (m memBlobs) List(context.Context, string) ([]string, error) { return nil, errors.ErrUnsupported }
func (m memBlobs) Delete(context.Context, string) error           { return errors.ErrUnsupported }

func BenchmarkAdd(b *testing.B) {
	payload := bytes.Repeat([]byte(`{"ts":"2026-11-23T19:20:01Z","value":21.5,"name":"temp"},`), 9000)
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		w, _ := NewWriter(stream.Ingest, 0, nil)
		if err := w.Add(context.Background(), Message{Root: 1, Payload: payload}); err != nil {
			b.Fatal(err)
		}
	}
}
