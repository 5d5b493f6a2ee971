package archive

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sort"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/edgepulse/edgepulse/stream"
)

// Reader reads one segment, from memory or by ranges from an object store.
// Every byte it answers with has been verified. It is for one goroutine.
type Reader struct {
	info    Segment
	frames  []frame
	decoder *zstd.Decoder
	sealed  bool
	keys    Keys
	fetch   func(ctx context.Context, offset, n int64) ([]byte, error)
}

// Info says what the segment holds; SHA256 is set only by Decode.
func (r *Reader) Info() Segment { return r.info }

// Unseal lets a reader open sealed frames.
func (r *Reader) Unseal(keys Keys) *Reader {
	r.keys = keys
	return r
}

// Decode opens a whole segment and verifies its sum, which takes no keys.
func Decode(data []byte) (*Reader, error) {
	h, err := decodeHeader(data)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != h.Bytes {
		return nil, corrupt("it has %d bytes instead of %d", len(data), h.Bytes)
	}
	body := data[:len(data)-footerSize]
	h.SHA256 = sha256.Sum256(body)
	if h.SHA256 != [32]byte(data[len(body):]) {
		return nil, corrupt("its sum is wrong")
	}
	fetch := func(_ context.Context, offset, n int64) ([]byte, error) {
		return data[offset : offset+n : offset+n], nil
	}
	return newReader(data[:headerSize], h, body[h.indexAt:], fetch)
}

// OpenSegment opens a segment in an object store by two ranged reads.
func OpenSegment(ctx context.Context, blobs stream.Blobs, name string) (*Reader, error) {
	fetch := func(ctx context.Context, offset, n int64) ([]byte, error) {
		return blobs.GetRange(ctx, name, offset, n)
	}
	head, err := fetch(ctx, 0, headerSize)
	if err != nil {
		return nil, fmt.Errorf("open segment %s: %w", name, err)
	}
	h, err := decodeHeader(head)
	if err != nil {
		return nil, fmt.Errorf("open segment %s: %w", name, err)
	}
	if h.Name != name {
		return nil, fmt.Errorf("open segment %s: %w", name, corrupt("it says to be %s", h.Name))
	}
	index, err := fetch(ctx, int64(h.indexAt), int64(h.Messages)*indexEntry)
	if err != nil {
		return nil, fmt.Errorf("open segment %s: %w", name, err)
	}
	r, err := newReader(head, h, index, fetch)
	if err != nil {
		return nil, fmt.Errorf("open segment %s: %w", name, err)
	}
	return r, nil
}

func newReader(head []byte, h header, index []byte, fetch func(context.Context, int64, int64) ([]byte, error)) (*Reader, error) {
	frames, err := decodeIndex(head, &h, index)
	if err != nil {
		return nil, err
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxInflated))
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	return &Reader{info: h.Segment, frames: frames, decoder: decoder, sealed: h.sealed, fetch: fetch}, nil
}

// Close releases the decoder.
func (r *Reader) Close() { r.decoder.Close() }

// At is when the log stored the message of a root that the segment holds.
func (r *Reader) At(root uint64) time.Time {
	return time.Unix(0, r.frames[root-r.info.First].at).UTC()
}

// Size is how many payload bytes the messages of roots first to last have, as
// far as the segment holds them.
func (r *Reader) Size(first, last uint64) int64 {
	n := int64(0)
	for root := max(first, r.info.First); root <= min(last, r.info.Last); root++ {
		n += int64(r.frames[root-r.info.First].inflated) - framePrefix
	}
	return n
}

// Read returns the message of a root.
func (r *Reader) Read(ctx context.Context, root uint64) (Message, error) {
	if root < r.info.First || root > r.info.Last {
		return Message{}, fmt.Errorf("root %d is not in segment %s", root, r.info.Name)
	}
	f := r.frames[root-r.info.First]
	raw, err := r.fetch(ctx, int64(f.offset), int64(f.length))
	if err != nil {
		return Message{}, fmt.Errorf("read root %d of segment %s: %w", root, r.info.Name, err)
	}
	if r.sealed {
		payload, erased, err := openFrame(ctx, r.keys, r.decoder, r.info.Log, r.info.Partition, root, f, raw)
		if err != nil {
			return Message{}, fmt.Errorf("read root %d of segment %s: %w", root, r.info.Name, err)
		}
		return Message{root, time.Unix(0, f.at).UTC(), payload, erased}, nil
	}
	data, err := r.decoder.DecodeAll(raw, make([]byte, 0, f.inflated))
	if err != nil {
		return Message{}, fmt.Errorf("read root %d of segment %s: %w", root, r.info.Name, corrupt("%v", err))
	}
	if len(data) != int(f.inflated) || binary.LittleEndian.Uint64(data) != root || int64(binary.LittleEndian.Uint64(data[8:])) != f.at {
		return Message{}, fmt.Errorf("read root %d of segment %s: %w", root, r.info.Name, corrupt("the frame holds something else"))
	}
	return Message{root, time.Unix(0, f.at).UTC(), data[framePrefix:], 0}, nil
}

// Segments lists the segments of a partition by name: by first root, then by last.
func Segments(ctx context.Context, blobs stream.Blobs, log stream.LogName, partition int) ([]Segment, error) {
	names, err := blobs.List(ctx, segmentPrefix(log, partition))
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	var out []Segment
	for _, name := range names {
		if first, last, ok := parseName(log, partition, name); ok {
			out = append(out, Segment{Log: log, Partition: partition, First: first, Last: last, Name: name})
		}
	}
	return out, nil
}

// ReadRoot finds one message of a log in the archive: a listing and three ranged
// reads. stream.ErrBlobNotFound when no segment holds the root.
func ReadRoot(ctx context.Context, blobs stream.Blobs, keys Keys, log stream.LogName, partition int, root uint64) (Message, error) {
	segments, err := Segments(ctx, blobs, log, partition)
	if err != nil {
		return Message{}, err
	}
	// The last segment that begins at or before the root holds it, unless two
	// archivers wrote overlapping ones: then one before it may.
	for i := sort.Search(len(segments), func(i int) bool { return segments[i].First > root }) - 1; i >= 0; i-- {
		if segments[i].Last < root {
			continue
		}
		r, err := OpenSegment(ctx, blobs, segments[i].Name)
		if err != nil {
			return Message{}, err
		}
		defer r.Close()
		return r.Unseal(keys).Read(ctx, root)
	}
	return Message{}, fmt.Errorf("read root %d of %s: %w", root, stream.StreamName(log, partition), stream.ErrBlobNotFound)
}
