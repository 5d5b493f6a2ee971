package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// keyring keeps keys in memory, by tenant.
type keyring struct {
	byTenant map[schemas.ID]DataKey
	gone     map[schemas.ID]bool // tenants
}

func newKeyring() *keyring {
	return &keyring{byTenant: map[schemas.ID]DataKey{}, gone: map[schemas.ID]bool{}}
}

func (k *keyring) SealingKey(_ context.Context, tenant schemas.ID) (DataKey, error) {
	if k.gone[tenant] {
		return DataKey{}, ErrErased
	}
	if _, ok := k.byTenant[tenant]; !ok {
		d := DataKey{Key: sha256.Sum256(append([]byte("key"), tenant[:]...))}
		d.ID = schemas.ID(d.Key[:16])
		k.byTenant[tenant] = d
	}
	return k.byTenant[tenant], nil
}

func (k *keyring) OpeningKey(_ context.Context, id schemas.ID) (DataKey, error) {
	for tenant, d := range k.byTenant {
		if d.ID == id {
			if k.gone[tenant] {
				return DataKey{}, ErrErased
			}
			return d, nil
		}
	}
	return DataKey{}, errors.New("unknown key")
}

var tenantA, tenantB = schemas.ID{1, 10}, schemas.ID{2, 20}

func batchOf(tenant schemas.ID, text string) []byte {
	b, err := proto.Marshal(&schemas.Entry{Kind: &schemas.Entry_Batch{Batch: &schemas.Batch{TenantId: tenant[:], KeyId: "k", RequestId: text,
		Slices: []*schemas.DeviceSlice{{Json: []byte(text)}}}}})
	if err != nil {
		panic(err)
	}
	return b
}

func tickOf(second int64) []byte {
	b, _ := proto.Marshal(&schemas.Entry{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: second}}})
	return b
}

func groupOf(entries ...[]byte) []byte {
	b, err := proto.Marshal(&schemas.Group{Entries: entries})
	if err != nil {
		panic(err)
	}
	return b
}

func factsOf(to uint64, facts ...[]byte) []byte {
	b, err := proto.Marshal(&schemas.Commit{Log: "DELIVERIES_1", To: to, Nonce: make([]byte, 16), Owner: "somebody", Facts: facts})
	if err != nil {
		panic(err)
	}
	return b
}

func deliveryFact(tenant schemas.ID, text string) []byte {
	b, err := proto.Marshal(&schemas.Entry{Kind: &schemas.Entry_Delivery{Delivery: &schemas.Delivery{Kind: 2, TenantId: tenant[:], Error: text}}})
	if err != nil {
		panic(err)
	}
	return b
}

// sealed writes messages as one sealed segment into a folder.
func sealed(t testing.TB, blobs stream.Blobs, keys Keys, log stream.LogName, payloads ...[]byte) Segment {
	t.Helper()
	w, err := NewWriter(log, 1, keys)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range payloads {
		if err := w.Add(context.Background(), Message{Root: uint64(i) + 1, At: time.Unix(int64(i), 5).UTC(), Payload: p}); err != nil {
			t.Fatal(err)
		}
	}
	data, info, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if err := blobs.Create(context.Background(), info.Name, data); err != nil {
		t.Fatal(err)
	}
	return info
}

// TestSealedFramesAreByteExact: whatever a message is, the same bytes come back,
// by ranged reads too, and equal messages give equal bytes.
func TestSealedFramesAreByteExact(t *testing.T) {
	dir, run := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		blobs, err := NewFolder(fmt.Sprintf("%s/%d", dir, run))
		if err != nil {
			t.Fatal(err)
		}
		entry := rapid.Custom(func(rt *rapid.T) []byte {
			text := rapid.StringN(0, 200, -1).Draw(rt, "text")
			switch rapid.IntRange(0, 4).Draw(rt, "kind") {
			case 0:
				return tickOf(rapid.Int64().Draw(rt, "second"))
			case 1:
				return []byte(text) // no entry at all
			default:
				return batchOf(schemas.ID{rapid.Byte().Draw(rt, "tenant") % 4, 1}, text)
			}
		})
		message := rapid.Custom(func(rt *rapid.T) []byte {
			if rapid.IntRange(0, 5).Draw(rt, "whole") == 0 {
				return rapid.SliceOf(rapid.Byte()).Draw(rt, "bytes") // no group at all
			}
			return groupOf(rapid.SliceOfN(entry, 0, 8).Draw(rt, "entries")...)
		})
		payloads := rapid.SliceOfN(message, 1, 5).Draw(rt, "messages")
		keys := newKeyring()
		info := sealed(t, blobs, keys, stream.Ingest, payloads...)
		data, err := blobs.Get(context.Background(), info.Name)
		if err != nil {
			rt.Fatal(err)
		}
		whole, err := Decode(data)
		if err != nil {
			rt.Fatal(err)
		}
		defer whole.Close()
		for i, want := range payloads {
			ranged, err := ReadRoot(context.Background(), blobs, keys, stream.Ingest, 1, uint64(i)+1)
			if err != nil || !bytes.Equal(ranged.Payload, want) || ranged.Erased != 0 {
				rt.Fatalf("ranged read of root %d: %v, %d bytes instead of %d", i+1, err, len(ranged.Payload), len(want))
			}
			m, err := whole.Unseal(keys).Read(context.Background(), uint64(i)+1)
			if err != nil || !bytes.Equal(m.Payload, want) || !m.At.Equal(time.Unix(int64(i), 5)) {
				rt.Fatalf("root %d: %v", i+1, err)
			}
		}
		again, err := NewFolder(fmt.Sprintf("%s/%d-again", dir, run))
		if err != nil {
			t.Fatal(err)
		}
		if other := sealed(t, again, keys, stream.Ingest, payloads...); other.SHA256 != info.SHA256 {
			rt.Fatal("equal messages gave other bytes")
		}
	})
}

// TestDestroyedKeyErases: the other tenant's entries stay byte for byte and in
// their places, the erased tenant's are empty, and nothing fails.
func TestDestroyedKeyErases(t *testing.T) {
	blobs, err := NewFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	keys := newKeyring()
	const secret = "the pressure of boiler seven"
	mixed := groupOf(tickOf(1), batchOf(tenantA, secret+" 1"), batchOf(tenantB, "b1"), batchOf(tenantA, secret+" 2"), tickOf(2), batchOf(tenantB, "b2"))
	only := groupOf(batchOf(tenantA, secret))
	info := sealed(t, blobs, keys, stream.Ingest, mixed, only)
	facts := sealed(t, blobs, keys, stream.Deliveries, factsOf(7, deliveryFact(tenantA, secret), deliveryFact(tenantB, "b")))
	for _, name := range []string{info.Name, facts.Name} {
		raw, err := blobs.Get(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte(secret)) || bytes.Contains(raw, tenantA[:]) {
			t.Errorf("%s shows what is sealed", name)
		}
	}
	if _, err := ReadRoot(t.Context(), blobs, nil, stream.Ingest, 1, 1); !errors.Is(err, ErrSealed) {
		t.Errorf("a reader without keys: %v", err)
	}

	keys.gone[tenantA] = true
	m, err := ReadRoot(t.Context(), blobs, keys, stream.Ingest, 1, 1)
	if err != nil || m.Erased != 2 {
		t.Fatalf("%d entries erased, %v", m.Erased, err)
	}
	want := groupOf(tickOf(1), nil, batchOf(tenantB, "b1"), nil, tickOf(2), batchOf(tenantB, "b2"))
	if !bytes.Equal(m.Payload, want) {
		t.Errorf("what is left of the message: %x, expected %x", m.Payload, want)
	}
	if m, err = ReadRoot(t.Context(), blobs, keys, stream.Ingest, 1, 2); err != nil || !bytes.Equal(m.Payload, groupOf(nil)) {
		t.Errorf("what is left of a message of its own: %x, %v", m.Payload, err)
	}
	if m, err = ReadRoot(t.Context(), blobs, keys, stream.Deliveries, 1, 1); err != nil || !bytes.Equal(m.Payload, factsOf(7, nil, deliveryFact(tenantB, "b"))) {
		t.Errorf("what is left of facts: %x, %v", m.Payload, err)
	}
	// What still comes of the tenant is not stored at all.
	late, err := NewFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sealed(t, late, keys, stream.Ingest, mixed)
	if m, err = ReadRoot(t.Context(), late, keys, stream.Ingest, 1, 1); err != nil || !bytes.Equal(m.Payload, want) {
		t.Errorf("what came after the key: %x, %v", m.Payload, err)
	}
}

// TestSealedPartIsBoundToItsPlace: a frame moved to another root, changed in any
// byte, or opened with another key is refused.
func TestSealedPartIsBoundToItsPlace(t *testing.T) {
	k := DataKey{ID: schemas.ID{1}, Key: [32]byte{2}}
	here, there := place(stream.Ingest, 1, 7, 9), place(stream.Ingest, 1, 8, 9)
	b, err := sealPart(k, here, []byte("something"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openPart(k, here, b); err != nil {
		t.Fatal(err)
	}
	if _, err := openPart(k, there, b); !errors.Is(err, ErrCorrupt) {
		t.Errorf("at another root: %v", err)
	}
	if _, err := openPart(DataKey{ID: k.ID, Key: [32]byte{3}}, here, b); !errors.Is(err, ErrCorrupt) {
		t.Errorf("with another key: %v", err)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if _, err := openPart(k, here, bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
}

// TestDamagedSealedFrames: no byte of a frame can change without an error, and none makes a panic.
func TestDamagedSealedFrames(t *testing.T) {
	keys := newKeyring()
	w, err := NewWriter(stream.Ingest, 1, keys)
	if err != nil {
		t.Fatal(err)
	}
	payload := groupOf(tickOf(1), batchOf(tenantA, "a"), batchOf(tenantB, "b"))
	raw, err := w.frame(t.Context(), Message{Root: 3, Payload: payload}, 4)
	if err != nil {
		t.Fatal(err)
	}
	decoder := newTestDecoder(t)
	f := frame{at: 4, length: uint32(len(raw)), inflated: uint32(len(payload) + framePrefix)}
	read := func(b []byte) error {
		got, _, err := openFrame(t.Context(), keys, decoder, stream.Ingest, 1, 3, f, b)
		if err == nil && b != nil && !bytes.Equal(got, payload) {
			t.Error("a damaged frame gave another message")
		}
		return err
	}
	unsealed := len(raw) // zstd has bits that mean nothing: there another frame may be the same message
	if err := read(raw); err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 1 << rand.IntN(8)
		if read(bad) == nil {
			unsealed--
		}
		if read(raw[:i]) == nil {
			t.Errorf("cut to %d bytes and nobody noticed", i)
		}
	}
	if unsealed < len(raw)-2 {
		t.Errorf("%d changed bytes were not noticed", len(raw)-unsealed)
	}
}

// benchGroup is like a message under load: many batches of several tenants.
func benchGroup(tenants int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	var entries [][]byte
	for i := range 60 {
		var b bytes.Buffer
		for j := range 100 {
			fmt.Fprintf(&b, `{"name":"m%d","ts":"2026-11-01T12:00:%02d.%03dZ","value":%.3f},`, j%8, j%60, rng.IntN(1000), rng.NormFloat64()*10)
		}
		entries = append(entries, batchOf(schemas.ID{byte(i % tenants), 9}, b.String()))
	}
	return groupOf(entries...)
}

func BenchmarkSegment(b *testing.B) {
	for _, c := range []struct {
		name    string
		keys    Keys
		tenants int
	}{{"plain", nil, 1}, {"sealed/tenants=1", newKeyring(), 1}, {"sealed/tenants=10", newKeyring(), 10}} {
		payload := benchGroup(c.tenants)
		b.Run(c.name+"/write", func(b *testing.B) {
			b.SetBytes(int64(len(payload)))
			w, err := NewWriter(stream.Ingest, 1, c.keys)
			if err != nil {
				b.Fatal(err)
			}
			stored := 0
			for i := range b.N {
				f, err := w.frame(b.Context(), Message{Root: uint64(i + 1), Payload: payload}, 1)
				if err != nil {
					b.Fatal(err)
				}
				stored = len(f)
			}
			b.ReportMetric(float64(stored)/float64(len(payload)), "stored/byte")
		})
		b.Run(c.name+"/read", func(b *testing.B) {
			b.SetBytes(int64(len(payload)))
			blobs, err := NewFolder(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			info := sealed(b, blobs, c.keys, stream.Ingest, payload)
			data, err := blobs.Get(b.Context(), info.Name)
			if err != nil {
				b.Fatal(err)
			}
			r, err := Decode(data)
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			r.Unseal(c.keys)
			for b.Loop() {
				if _, err := r.Read(b.Context(), 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func newTestDecoder(t *testing.T) *zstd.Decoder {
	t.Helper()
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxInflated))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}
