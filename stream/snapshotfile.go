package stream

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/edgepulse/edgepulse/schemas"
)

// A snapshot is the state of one stage and partition at one root: a base with
// every record, then deltas with the records changed since their predecessor.
// Layout, little endian, the body compressed with zstd:
//
//	"EPSNAP01" | fold version u32 | kind u8 | root u64 | predecessor root u64 |
//	records u32 | digest [16] | SHA-256 of the body [32] | body
//	body: per record, ascending by (table, key): table u8 | key [16] |
//	      length+1 uvarint (0 = deleted) | bytes
//
// The digest sums a hash of every live record, so it depends on the state alone,
// not on how bases and deltas were cut: two snapshots of one root that differ
// in it are proof of a fold that is not deterministic.
const snapshotMagic = "EPSNAP01"

const (
	kindBase  = 0
	kindDelta = 1
)

type recordKey struct {
	table uint8
	key   schemas.ID
}

func (a recordKey) compare(b recordKey) int {
	if a.table != b.table {
		return int(a.table) - int(b.table)
	}
	return a.key.Compare(b.key)
}

// digest is the order-independent sum of record hashes.
type digest [2]uint64

func recordHash(k recordKey, b []byte) digest {
	h := sha256.New()
	h.Write([]byte{k.table})
	h.Write(k.key[:])
	h.Write(b)
	var sum [32]byte
	h.Sum(sum[:0])
	return digest{binary.LittleEndian.Uint64(sum[:8]), binary.LittleEndian.Uint64(sum[8:16])}
}

func (d *digest) add(o digest) { d[0] += o[0]; d[1] += o[1] }
func (d *digest) sub(o digest) { d[0] -= o[0]; d[1] -= o[1] }

// snapshot is a decoded snapshot object.
type snapshot struct {
	foldVersion uint32
	kind        uint8
	root        uint64
	prev        uint64
	digest      digest
	records     []record // ascending
}

const snapshotHeader = len(snapshotMagic) + 4 + 1 + 8 + 8 + 4 + 16 + 32

// Encoders and decoders that work in the goroutine of their caller.
var (
	zstdEncoders = sync.Pool{New: func() any {
		e, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1)) // fails for bad options only
		return e
	}}
	zstdDecoders = sync.Pool{New: func() any {
		d, _ := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(8<<30))
		return d
	}}
)

// courtesyStep is how many bytes are hashed or compressed before a fold that waits
// for the same processor gets it: about a millisecond. The scheduler by itself would
// let it wait for ten.
const courtesyStep = 128 << 10

// inSteps hands b over in steps, between which others may run.
func inSteps(b []byte, do func([]byte) error) error {
	for len(b) > 0 {
		n := min(len(b), courtesyStep)
		if err := do(b[:n]); err != nil {
			return err
		}
		b = b[n:]
		runtime.Gosched()
	}
	return nil
}

// bodyHash is the SHA-256 of a body.
func bodyHash(body []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	_ = inSteps(body, func(b []byte) error { h.Write(b); return nil }) // a hash takes all
	h.Sum(sum[:0])
	return sum
}

// deflate appends the compressed body to out.
func deflate(body, out []byte) []byte {
	e := zstdEncoders.Get().(*zstd.Encoder)
	defer zstdEncoders.Put(e)
	w := bytes.NewBuffer(out)
	e.ResetContentSize(w, int64(len(body)))
	err := inSteps(body, func(b []byte) error { _, err := e.Write(b); return err })
	if err = errors.Join(err, e.Close()); err != nil {
		panic("compress snapshot: " + err.Error()) // into memory
	}
	return w.Bytes()
}

// inflate undoes deflate.
func inflate(b []byte) ([]byte, error) {
	var head zstd.Header
	if err := head.Decode(b); err != nil {
		return nil, err
	}
	d := zstdDecoders.Get().(*zstd.Decoder)
	defer zstdDecoders.Put(d)
	if err := d.Reset(bytes.NewReader(b)); err != nil {
		return nil, err
	}
	defer func() { _ = d.Reset(nil) }() // lets go of b
	// What the header promises is believed as far as the bytes there are make it likely.
	out := make([]byte, 0, min(head.FrameContentSize, 64*uint64(len(b)))+bytes.MinRead)
	for {
		out = slices.Grow(out, bytes.MinRead)
		n, err := d.Read(out[len(out):min(cap(out), len(out)+courtesyStep)])
		out = out[:len(out)+n]
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		runtime.Gosched()
	}
}

// snapshotBodies are used again: a body is megabytes, and memory that was just
// taken from the system is dearer than anything done with it here.
var snapshotBodies = sync.Pool{New: func() any { return new([]byte) }}

func (s *snapshot) encode() []byte {
	size := 0
	for _, r := range s.records {
		size += 1 + len(r.key) + binary.MaxVarintLen32 + len(r.bytes)
	}
	pooled := snapshotBodies.Get().(*[]byte)
	body := slices.Grow((*pooled)[:0], size)
	defer func() { *pooled = body; snapshotBodies.Put(pooled) }()
	for _, r := range s.records {
		body = append(body, r.table)
		body = append(body, r.key[:]...)
		if r.bytes == nil {
			body = binary.AppendUvarint(body, 0)
			continue
		}
		body = binary.AppendUvarint(body, uint64(len(r.bytes))+1)
		body = append(body, r.bytes...)
	}
	sum := bodyHash(body)
	out := make([]byte, 0, snapshotHeader+len(body)/2)
	out = append(out, snapshotMagic...)
	out = binary.LittleEndian.AppendUint32(out, s.foldVersion)
	out = append(out, s.kind)
	out = binary.LittleEndian.AppendUint64(out, s.root)
	out = binary.LittleEndian.AppendUint64(out, s.prev)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(s.records)))
	out = binary.LittleEndian.AppendUint64(out, s.digest[0])
	out = binary.LittleEndian.AppendUint64(out, s.digest[1])
	out = append(out, sum[:]...)
	return deflate(body, out)
}

var errSnapshotDamaged = errors.New("snapshot is damaged")

func decodeSnapshot(b []byte) (*snapshot, error) {
	if len(b) < snapshotHeader || string(b[:8]) != snapshotMagic {
		return nil, fmt.Errorf("%w: no header", errSnapshotDamaged)
	}
	s := &snapshot{
		foldVersion: binary.LittleEndian.Uint32(b[8:]),
		kind:        b[12],
		root:        binary.LittleEndian.Uint64(b[13:]),
		prev:        binary.LittleEndian.Uint64(b[21:]),
	}
	count := binary.LittleEndian.Uint32(b[29:])
	s.digest = digest{binary.LittleEndian.Uint64(b[33:]), binary.LittleEndian.Uint64(b[41:])}
	body, err := inflate(b[snapshotHeader:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSnapshotDamaged, err)
	}
	if sum := bodyHash(body); !bytes.Equal(sum[:], b[49:81]) {
		return nil, fmt.Errorf("%w: checksum differs", errSnapshotDamaged)
	}
	for len(body) > 0 {
		if len(body) < 18 {
			return nil, fmt.Errorf("%w: short record", errSnapshotDamaged)
		}
		r := record{table: body[0], key: schemas.ID(body[1:17])}
		n, w := binary.Uvarint(body[17:])
		if w <= 0 || n > uint64(len(body)-17-w)+1 {
			return nil, fmt.Errorf("%w: record length", errSnapshotDamaged)
		}
		body = body[17+w:]
		if n > 0 {
			r.bytes = body[: n-1 : n-1]
			body = body[n-1:]
		}
		s.records = append(s.records, r)
	}
	if uint32(len(s.records)) != count {
		return nil, fmt.Errorf("%w: %d records, header says %d", errSnapshotDamaged, len(s.records), count)
	}
	return s, nil
}
