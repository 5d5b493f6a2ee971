package archive

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// A frame of format 2 holds one message in parts: one per tenant, sealed with the
// tenant's data key, and one in the clear for what is nobody's (ticks, the frame
// around the entries). The message is put together again from runs of the parts,
// byte for byte; of a tenant whose key was destroyed an empty entry stays in each
// place, so that neither sequences nor positions within a message move.
//
//	runs   uvarint count, then per run: uvarint part | uvarint length
//	parts  uvarint count, then per part: key id [16] | uvarint stored length
//	sum    CRC-32C of root, stored-at and all of the above, 4 bytes
//	bytes  of the parts, one after the other
//
// A part in the clear has the key id 0 and is a zstd frame. A sealed one is a
// nonce [12] and AES-256-GCM over a zstd frame. Key and nonce of a part are derived
// from the data key, its place (log, partition, root) and its content, so that
// equal messages give equal bytes and no nonce is ever used for two contents.
// What was received of a tenant after its key was destroyed is not stored at all:
// key id of ones, no bytes.

// DataKey is a tenant's key for its entries in the archive.
type DataKey struct {
	ID  schemas.ID
	Key [32]byte
}

// Keys are the tenants' data keys.
type Keys interface {
	// SealingKey is the key that a tenant's entries are sealed with, made at its
	// first use; ErrErased when it was destroyed.
	SealingKey(ctx context.Context, tenant schemas.ID) (DataKey, error)
	// OpeningKey finds a key by the id in a frame; ErrErased when it was destroyed.
	OpeningKey(ctx context.Context, id schemas.ID) (DataKey, error)
}

var (
	// ErrErased says that a key was destroyed: what it sealed is gone for good.
	ErrErased = errors.New("the tenant's data key was destroyed")
	// ErrSealed says that a reader has no keys.
	ErrSealed = errors.New("the frame is sealed, and this process has no data keys: set EDGEPULSE_SECRET_KEY and the database")
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	unstored   = schemas.ID{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}
)

// run is a stretch of a message that stands in one part.
type run struct{ part, length int }

// part gathers what is sealed together.
type part struct {
	tenant schemas.ID // Nil = in the clear
	plain  []byte
}

// entryField is the field of a log's messages that holds entries.
func entryField(log stream.LogName) (protowire.Number, bool) {
	switch log {
	case stream.Ingest:
		return 1, true // Group.entries
	case stream.Deliveries:
		return 10, true // Commit.facts
	}
	return 0, false
}

// split tells whose each byte of a message is. What can't be split is nobody's:
// the folds make a dead letter of it without knowing a tenant.
func split(log stream.LogName, payload []byte) ([]run, []part) {
	parts, runs := []part{{}}, []run(nil)
	index := map[schemas.ID]int{}
	add := func(p, n int, b []byte) {
		parts[p].plain = append(parts[p].plain, b...)
		if last := len(runs) - 1; p == 0 && last >= 0 && runs[last].part == 0 {
			runs[last].length += n
			return
		}
		runs = append(runs, run{p, n})
	}
	whole := func() ([]run, []part) {
		if len(payload) == 0 {
			return nil, []part{{}}
		}
		return []run{{0, len(payload)}}, []part{{plain: payload}}
	}
	number, ok := entryField(log)
	if !ok {
		return whole()
	}
	for rest := payload; len(rest) > 0; {
		n, kind, head := protowire.ConsumeTag(rest)
		if head < 0 {
			return whole()
		}
		size := protowire.ConsumeFieldValue(n, kind, rest[head:])
		if size < 0 {
			return whole()
		}
		p := 0
		if n == number && kind == protowire.BytesType {
			entry, _ := protowire.ConsumeBytes(rest[head:])
			if tenant, ok := schemas.TenantOf(entry); ok && !deletes(entry) {
				if p, ok = index[tenant]; !ok {
					p = len(parts)
					index[tenant], parts = p, append(parts, part{tenant: tenant})
				}
			}
		}
		add(p, head+size, rest[:head+size])
		rest = rest[head+size:]
	}
	return runs, parts
}

// deletes tells whether an entry is the deletion of its tenant: that one stays, for
// the folds of a replay that reads segments from before anything was sealed.
func deletes(entry []byte) bool {
	if schemas.KindOf(entry) != schemas.KindControl {
		return false
	}
	e := &schemas.Entry{}
	return e.UnmarshalVTUnsafe(entry) == nil && e.GetControl().GetTenantDeleted() != nil
}

// place is where a part stands: what its key and nonce are bound to.
func place(log stream.LogName, partition int, root uint64, at int64) []byte {
	b := append([]byte("edgepulse archive 1\x00"), log...)
	b = append(b, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(partition))
	b = binary.LittleEndian.AppendUint64(b, root)
	return binary.LittleEndian.AppendUint64(b, uint64(at))
}

func derive(key [32]byte, purpose byte, place []byte, more ...byte) [32]byte {
	m := hmac.New(sha256.New, key[:])
	m.Write([]byte{purpose})
	m.Write(place)
	m.Write(more)
	return [32]byte(m.Sum(nil))
}

func aeadOf(key [32]byte, place []byte) (cipher.AEAD, error) {
	sub := derive(key, 'k', place)
	block, err := aes.NewCipher(sub[:])
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return cipher.NewGCM(block)
}

const nonceSize = 12

func sealPart(k DataKey, place, compressed []byte) ([]byte, error) {
	aead, err := aeadOf(k.Key, place)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(compressed)
	nonce := derive(k.Key, 'n', place, sum[:]...)
	out := make([]byte, nonceSize, nonceSize+len(compressed)+aead.Overhead())
	copy(out, nonce[:nonceSize])
	return aead.Seal(out, out[:nonceSize], compressed, append(place, k.ID[:]...)), nil
}

func openPart(k DataKey, place, sealed []byte) ([]byte, error) {
	aead, err := aeadOf(k.Key, place)
	if err != nil {
		return nil, err
	}
	if len(sealed) < nonceSize {
		return nil, corrupt("a sealed part is too short")
	}
	out, err := aead.Open(nil, sealed[:nonceSize], sealed[nonceSize:], append(place, k.ID[:]...))
	if err != nil {
		return nil, corrupt("a sealed part does not open with its key")
	}
	return out, nil
}

// sealFrame makes a frame of a message.
func sealFrame(ctx context.Context, keys Keys, encoder *zstd.Encoder, log stream.LogName, partition int, root uint64, at int64, payload []byte) ([]byte, error) {
	runs, parts := split(log, payload)
	where := place(log, partition, root, at)
	head := binary.AppendUvarint(nil, uint64(len(runs)))
	for _, r := range runs {
		head = binary.AppendUvarint(head, uint64(r.part))
		head = binary.AppendUvarint(head, uint64(r.length))
	}
	head = binary.AppendUvarint(head, uint64(len(parts)))
	var body []byte
	for _, p := range parts {
		stored, id, err := storePart(ctx, keys, encoder, where, p)
		if err != nil {
			return nil, err
		}
		head = append(head, id[:]...)
		head = binary.AppendUvarint(head, uint64(len(stored)))
		body = append(body, stored...)
	}
	head = binary.LittleEndian.AppendUint32(head, headSum(root, at, head))
	return append(head, body...), nil
}

func headSum(root uint64, at int64, head []byte) uint32 {
	prefix := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, root), uint64(at))
	return crc32.Update(crc32.Checksum(prefix, castagnoli), castagnoli, head)
}

func storePart(ctx context.Context, keys Keys, encoder *zstd.Encoder, where []byte, p part) ([]byte, schemas.ID, error) {
	if p.tenant == schemas.Nil {
		return encoder.EncodeAll(p.plain, nil), schemas.Nil, nil
	}
	k, err := keys.SealingKey(ctx, p.tenant)
	if errors.Is(err, ErrErased) {
		return nil, unstored, nil
	}
	if err != nil {
		return nil, schemas.Nil, fmt.Errorf("find data key: %w", err)
	}
	sealed, err := sealPart(k, where[:len(where):len(where)], encoder.EncodeAll(p.plain, nil))
	return sealed, k.ID, err
}

// openFrame reads a frame of format 2; erased is how many entries were.
func openFrame(ctx context.Context, keys Keys, decoder *zstd.Decoder, log stream.LogName, partition int, root uint64, f frame, raw []byte) (payload []byte, erased int, err error) {
	d := frameHead{b: raw}
	runs := make([]run, d.count())
	total := 0
	for i := range runs {
		runs[i] = run{d.count(), d.count()}
		total += runs[i].length
	}
	type stored struct {
		id     schemas.ID
		length int
	}
	list := make([]stored, d.count())
	for i := range list {
		list[i] = stored{d.id(), d.count()}
	}
	head := raw[:len(raw)-len(d.b)]
	sum := d.u32()
	if d.bad || sum != headSum(root, f.at, head) || total+framePrefix != int(f.inflated) {
		return nil, 0, corrupt("the head of a frame is damaged")
	}
	where := place(log, partition, root, f.at)
	plain := make([][]byte, len(list))
	gone := make([]bool, len(list))
	for i, s := range list {
		if s.length > len(d.b) {
			return nil, 0, corrupt("a frame is too short")
		}
		plain[i], gone[i], err = loadPart(ctx, keys, decoder, where, s.id, d.b[:s.length])
		if err != nil {
			return nil, 0, err
		}
		d.b = d.b[s.length:]
	}
	payload = make([]byte, 0, total)
	number, _ := entryField(log)
	for _, r := range runs {
		switch {
		case r.part >= len(plain):
			return nil, 0, corrupt("a frame names a part it does not have")
		case gone[r.part]:
			payload = protowire.AppendBytes(protowire.AppendTag(payload, number, protowire.BytesType), nil)
			erased++
		case r.length > len(plain[r.part]):
			return nil, 0, corrupt("a part of a frame is too short")
		default:
			payload = append(payload, plain[r.part][:r.length]...)
			plain[r.part] = plain[r.part][r.length:]
		}
	}
	return payload, erased, nil
}

// loadPart reads one part; gone says that it was erased.
func loadPart(ctx context.Context, keys Keys, decoder *zstd.Decoder, where []byte, id schemas.ID, b []byte) (plain []byte, gone bool, err error) {
	switch {
	case id == unstored:
		return nil, true, nil
	case id == schemas.Nil && len(b) == 0:
		return nil, false, nil
	case id != schemas.Nil:
		if keys == nil {
			return nil, false, ErrSealed
		}
		k, err := keys.OpeningKey(ctx, id)
		if errors.Is(err, ErrErased) {
			return nil, true, nil
		}
		if err != nil {
			return nil, false, fmt.Errorf("find data key %s: %w", id, err)
		}
		if b, err = openPart(k, where[:len(where):len(where)], b); err != nil {
			return nil, false, err
		}
	}
	plain, err = decoder.DecodeAll(b, nil)
	if err != nil {
		return nil, false, corrupt("%v", err)
	}
	return plain, false, nil
}

// frameHead reads the head of a frame; bad once it is shorter than it says.
type frameHead struct {
	b   []byte
	bad bool
}

// count reads a number that counts bytes of the frame or of its message.
func (d *frameHead) count() int {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > maxInflated || v > math.MaxInt32 || d.bad {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return int(v)
}

func (d *frameHead) id() (id schemas.ID) {
	if len(d.b) < len(id) {
		d.bad, d.b = true, nil
		return id
	}
	d.b = d.b[copy(id[:], d.b):]
	return id
}

func (d *frameHead) u32() uint32 {
	if len(d.b) < 4 {
		d.bad = true
		return 0
	}
	v := binary.LittleEndian.Uint32(d.b)
	d.b = d.b[4:]
	return v
}
