package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/edgepulse/edgepulse/stream"
)

// A segment holds the messages of one partition of a log, in root order without gaps.
//
//	header   128 bytes: see below
//	frames   one per message. Format 1: a zstd frame of root u64 | stored-at i64 (unix ns) |
//	         payload, byte for byte. Format 2: sealed by tenant, see seal.go
//	index    32 bytes per frame: root u64 | stored-at i64 | offset u64 | length u32 | inflated length u32
//	footer   SHA-256 of all before it, 32 bytes
//
// All numbers are little-endian. The header says where the index is, so one
// message costs three ranged reads (header, index, frame), or one with the index
// in memory. Each frame carries zstd's own checksum, so a single frame is verified
// without the rest. Equal messages give equal bytes for one version of the encoder.
//
//	 0  magic "EPSEG\r\n\x1a"     40  frames u32           64  payload bytes u64 (inflated)
//	 8  format u16                44  reserved u32         72  name of the log, zero-padded, 24 bytes
//	10  reserved, 6 bytes         48  index offset u64     96  SHA-256 of bytes 0-95 and of the index
//	16  partition u64             56  segment bytes u64
//	24  first root u64
//	32  last root u64
const (
	segmentMagic  = "EPSEG\r\n\x1a"
	segmentFormat = 1 // nothing is sealed
	sealedFormat  = 2
	headerSize    = 128
	indexEntry    = 32
	footerSize    = sha256.Size
	framePrefix   = 16
	logNameSize   = 24
	// maxFrames bounds an index that is read from bytes nobody has verified yet.
	maxFrames = 1 << 22
	// maxInflated bounds a frame likewise: the largest message of a log and its prefix.
	maxInflated = stream.MaxPayload + framePrefix
)

// ErrCorrupt says that bytes are not what an archiver wrote.
var ErrCorrupt = errors.New("corrupt segment")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// Message is one message of a log: its root, when the log stored it, its bytes.
type Message struct {
	Root    uint64
	At      time.Time
	Payload []byte
	Erased  int // entries that are empty now, because their tenant's data key was destroyed
}

// Segment says what a segment holds: its row in the index.
type Segment struct {
	Log       stream.LogName
	Partition int
	First     uint64 // root
	Last      uint64 // root
	FirstAt   time.Time
	LastAt    time.Time
	Name      string // of the object
	Bytes     int64  // of the object
	Payload   int64  // bytes of all messages before compression
	Messages  int
	SHA256    [32]byte // of the object up to its footer
}

// SegmentName is the object name of a segment: sorted by name is sorted by root.
func SegmentName(log stream.LogName, partition int, first, last uint64) string {
	return fmt.Sprintf("%s%020d-%020d.seg", segmentPrefix(log, partition), first, last)
}

func segmentPrefix(log stream.LogName, partition int) string {
	return fmt.Sprintf("%s/%d/", strings.ToLower(string(log)), partition)
}

// parseName reads the roots out of a segment's name.
func parseName(log stream.LogName, partition int, name string) (first, last uint64, ok bool) {
	rest, found := strings.CutPrefix(name, segmentPrefix(log, partition))
	if !found {
		return 0, 0, false
	}
	if n, err := fmt.Sscanf(rest, "%d-%d.seg", &first, &last); n != 2 || err != nil {
		return 0, 0, false
	}
	return first, last, SegmentName(log, partition, first, last) == name
}

// Writer gathers messages into a segment. It is for one segment only.
type Writer struct {
	log       stream.LogName
	partition int
	encoder   *zstd.Encoder
	buf       bytes.Buffer // header (written last) and frames
	index     []byte
	scratch   []byte
	info      Segment
	keys      Keys // nil = nothing is sealed
}

// NewWriter begins a segment. Without keys nothing in it is sealed.
func NewWriter(log stream.LogName, partition int, keys Keys) (*Writer, error) {
	if len(log) == 0 || len(log) > logNameSize {
		return nil, fmt.Errorf("begin segment: log name %q has a wrong length", log)
	}
	// One goroutine: several would still give equal bytes, and cost memory.
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true), zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		return nil, fmt.Errorf("begin segment: %w", err)
	}
	w := &Writer{log: log, partition: partition, encoder: encoder, keys: keys}
	w.buf.Write(make([]byte, headerSize))
	return w, nil
}

// Add appends a message; roots ascend by one.
func (w *Writer) Add(ctx context.Context, m Message) error {
	if w.info.Messages > 0 && m.Root != w.info.Last+1 {
		return fmt.Errorf("add to segment: root %d does not follow %d", m.Root, w.info.Last)
	}
	if len(m.Payload) > stream.MaxPayload {
		return fmt.Errorf("add to segment: message of root %d has %d bytes", m.Root, len(m.Payload))
	}
	if w.info.Messages >= maxFrames {
		return errors.New("add to segment: it is full")
	}
	at := m.At.UnixNano()
	offset := w.buf.Len()
	frame, err := w.frame(ctx, m, at)
	if err != nil {
		return fmt.Errorf("add to segment: %w", err)
	}
	w.buf.Write(frame)
	w.index = binary.LittleEndian.AppendUint64(w.index, m.Root)
	w.index = binary.LittleEndian.AppendUint64(w.index, uint64(at))
	w.index = binary.LittleEndian.AppendUint64(w.index, uint64(offset))
	w.index = binary.LittleEndian.AppendUint32(w.index, uint32(len(frame)))
	w.index = binary.LittleEndian.AppendUint32(w.index, uint32(framePrefix+len(m.Payload)))
	if w.info.Messages == 0 {
		w.info.First, w.info.FirstAt = m.Root, time.Unix(0, at).UTC()
	}
	w.info.Last, w.info.LastAt = m.Root, time.Unix(0, at).UTC()
	w.info.Messages++
	w.info.Payload += int64(len(m.Payload))
	return nil
}

func (w *Writer) frame(ctx context.Context, m Message, at int64) ([]byte, error) {
	if w.keys != nil {
		return sealFrame(ctx, w.keys, w.encoder, w.log, w.partition, m.Root, at, m.Payload)
	}
	w.scratch = binary.LittleEndian.AppendUint64(w.scratch[:0], m.Root)
	w.scratch = binary.LittleEndian.AppendUint64(w.scratch, uint64(at))
	w.scratch = append(w.scratch, m.Payload...)
	return w.encoder.EncodeAll(w.scratch, nil), nil
}

// Len is the number of messages.
func (w *Writer) Len() int { return w.info.Messages }

// Size is about how many bytes the segment has by now.
func (w *Writer) Size() int { return w.buf.Len() + len(w.index) + footerSize }

// Finish returns the segment's bytes and what it holds.
func (w *Writer) Finish() ([]byte, Segment, error) {
	if w.info.Messages == 0 {
		return nil, Segment{}, errors.New("finish segment: it is empty")
	}
	indexAt := w.buf.Len()
	size := indexAt + len(w.index) + footerSize
	w.buf.Write(w.index)
	data := w.buf.Bytes()
	h := data[:headerSize]
	copy(h, segmentMagic)
	format := uint16(segmentFormat)
	if w.keys != nil {
		format = sealedFormat
	}
	binary.LittleEndian.PutUint16(h[8:], format)
	binary.LittleEndian.PutUint64(h[16:], uint64(w.partition))
	binary.LittleEndian.PutUint64(h[24:], w.info.First)
	binary.LittleEndian.PutUint64(h[32:], w.info.Last)
	binary.LittleEndian.PutUint32(h[40:], uint32(w.info.Messages))
	binary.LittleEndian.PutUint64(h[48:], uint64(indexAt))
	binary.LittleEndian.PutUint64(h[56:], uint64(size))
	binary.LittleEndian.PutUint64(h[64:], uint64(w.info.Payload))
	copy(h[72:72+logNameSize], w.log)
	sum := headerSum(h, w.index)
	copy(h[96:], sum[:])
	total := sha256.Sum256(data)
	data = append(data, total[:]...)
	w.info.Log, w.info.Partition, w.info.Bytes, w.info.SHA256 = w.log, w.partition, int64(len(data)), total
	w.info.Name = SegmentName(w.log, w.partition, w.info.First, w.info.Last)
	return data, w.info, nil
}

func headerSum(header, index []byte) [32]byte {
	h := sha256.New()
	h.Write(header[:96])
	h.Write(index)
	return [32]byte(h.Sum(nil))
}

// header is a decoded header that agrees with itself; only the sums say whether it is true.
type header struct {
	Segment
	indexAt uint64
	sum     [32]byte
	sealed  bool
}

func decodeHeader(b []byte) (header, error) {
	var h header
	if len(b) < headerSize || string(b[:8]) != segmentMagic {
		return h, corrupt("it does not begin like one")
	}
	switch v := binary.LittleEndian.Uint16(b[8:]); v {
	case segmentFormat:
	case sealedFormat:
		h.sealed = true
	default:
		return h, fmt.Errorf("segment has format %d; this version reads %d and %d", v, segmentFormat, sealedFormat)
	}
	partition, size, payload := binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[56:]), binary.LittleEndian.Uint64(b[64:])
	frames := binary.LittleEndian.Uint32(b[40:])
	h.First, h.Last = binary.LittleEndian.Uint64(b[24:]), binary.LittleEndian.Uint64(b[32:])
	h.indexAt = binary.LittleEndian.Uint64(b[48:])
	switch {
	case frames == 0 || frames > maxFrames || partition > math.MaxInt32 || payload > math.MaxInt64:
		return h, corrupt("its header has impossible numbers")
	case h.Last < h.First || h.Last-h.First != uint64(frames)-1:
		return h, corrupt("roots %d to %d are not %d messages", h.First, h.Last, frames)
	case h.indexAt < headerSize || h.indexAt > math.MaxInt64/2 || size != h.indexAt+uint64(frames)*indexEntry+footerSize:
		return h, corrupt("its index is not where it should be")
	}
	h.Log = stream.LogName(bytes.TrimRight(b[72:72+logNameSize], "\x00"))
	h.Partition, h.Bytes, h.Payload, h.Messages = int(partition), int64(size), int64(payload), int(frames)
	h.sum = [32]byte(b[96:headerSize])
	h.Name = SegmentName(h.Log, h.Partition, h.First, h.Last)
	return h, nil
}

// frame is one entry of an index.
type frame struct {
	at       int64
	offset   uint64
	length   uint32
	inflated uint32
}

// decodeIndex reads and verifies an index against its header.
func decodeIndex(head []byte, h *header, b []byte) ([]frame, error) {
	if len(b) != h.Messages*indexEntry {
		return nil, corrupt("its index has %d bytes", len(b))
	}
	if headerSum(head, b) != h.sum {
		return nil, corrupt("the sum of header and index is wrong")
	}
	frames := make([]frame, h.Messages)
	next := uint64(headerSize)
	for i := range frames {
		e := b[i*indexEntry:]
		f := frame{int64(binary.LittleEndian.Uint64(e[8:])), binary.LittleEndian.Uint64(e[16:]),
			binary.LittleEndian.Uint32(e[24:]), binary.LittleEndian.Uint32(e[28:])}
		if binary.LittleEndian.Uint64(e) != h.First+uint64(i) || f.offset != next || f.inflated < framePrefix || f.inflated > maxInflated {
			return nil, corrupt("entry %d of its index does not fit", i)
		}
		next += uint64(f.length)
		frames[i] = f
	}
	if next != h.indexAt {
		return nil, corrupt("its frames do not end where its index begins")
	}
	h.FirstAt, h.LastAt = time.Unix(0, frames[0].at).UTC(), time.Unix(0, frames[len(frames)-1].at).UTC()
	return frames, nil
}
