package normaliser

import (
	"encoding/binary"
	"math"

	"github.com/edgepulse/edgepulse/schemas"
)

// metric is what the normaliser remembers of one metric.
type metric struct {
	tenant   schemas.ID
	unit     string
	tags     string // encoded, to notice a change
	newest   int64  // largest accepted ts
	heard    int64  // received_at of the newest accepted point
	seen     seen
	recent   []recent // the newest points by ts, ascending; within room
	room     []recent // the memory of recent
	declared bool
}

// recent tells a repeated value from a conflicting one.
type recent struct {
	ts   int64
	hash uint32 // of the value's bits
}

const maxRecent = 128

func hashValue(v float64) uint32 {
	x := math.Float64bits(v)
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return uint32(x)
}

// find returns the index of ts in recent, or where it belongs.
func (m *metric) find(ts int64) (int, bool) {
	lo, hi := 0, len(m.recent)
	if hi > 0 && ts > m.recent[hi-1].ts {
		return hi, false
	}
	for lo < hi {
		mid := (lo + hi) / 2
		if m.recent[mid].ts < ts {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < len(m.recent) && m.recent[lo].ts == ts
}

func (m *metric) remember(i int, ts int64, v float64) {
	r := recent{ts, hashValue(v)}
	if len(m.recent) == maxRecent {
		if i == 0 {
			return // older than all that is kept
		}
		m.recent = m.recent[1:]
		i--
	}
	if len(m.recent) == cap(m.recent) {
		// The window moves through a larger array: most points shift nothing.
		if cap(m.room) < maxRecent+recentSlack {
			m.room = make([]recent, min(2*len(m.recent)+4, maxRecent+recentSlack))
		}
		m.recent = m.room[:copy(m.room[:cap(m.room)], m.recent)]
	}
	m.recent = m.recent[:len(m.recent)+1]
	copy(m.recent[i+1:], m.recent[i:])
	m.recent[i] = r
}

// recentSlack is how many points go by until the window is copied to the front.
const recentSlack = 64

// AppendState implements stream.Record.
func (m *metric) AppendState(b []byte) []byte {
	b = append(b, 1)
	b = append(b, m.tenant[:]...)
	b = appendText(b, m.unit)
	b = appendText(b, m.tags)
	b = binary.AppendVarint(b, m.newest)
	b = binary.AppendVarint(b, m.heard)
	b = m.seen.appendState(b)
	b = binary.AppendUvarint(b, uint64(len(m.recent)))
	last := int64(0)
	for _, r := range m.recent {
		b = binary.AppendVarint(b, r.ts-last)
		b = binary.LittleEndian.AppendUint32(b, r.hash)
		last = r.ts
	}
	return b
}

// DecodeState implements stream.Record.
func (m *metric) DecodeState(b []byte) error {
	if len(b) == 0 || b[0] != 1 {
		return errState
	}
	d := stateDecoder{b: b[1:]}
	copy(m.tenant[:], d.bytes(16))
	m.unit, m.tags = d.text(), d.text()
	m.newest, m.heard = d.varint(), d.varint()
	m.declared = true
	rest, err := m.seen.decodeState(d.b)
	if d.err != nil || err != nil {
		return errState
	}
	d.b = rest
	n := d.uvarint()
	if n > maxRecent {
		return errState
	}
	m.recent = make([]recent, 0, n)
	last := int64(0)
	for range n {
		last += d.varint()
		h := d.bytes(4)
		m.recent = append(m.recent, recent{last, binary.LittleEndian.Uint32(h)})
	}
	if d.err != nil || len(d.b) != 0 {
		return errState
	}
	return nil
}

// batchKey remembers an Idempotency-Key.
type batchKey struct {
	tenant schemas.ID
	at     int64 // received_at of the first use
	body   [32]byte
}

// AppendState implements stream.Record.
func (k *batchKey) AppendState(b []byte) []byte {
	b = append(b, 1)
	b = append(b, k.tenant[:]...)
	b = binary.AppendVarint(b, k.at)
	return append(b, k.body[:]...)
}

// DecodeState implements stream.Record.
func (k *batchKey) DecodeState(b []byte) error {
	if len(b) == 0 || b[0] != 1 {
		return errState
	}
	d := stateDecoder{b: b[1:]}
	copy(k.tenant[:], d.bytes(16))
	k.at = d.varint()
	copy(k.body[:], d.bytes(32))
	if d.err != nil || len(d.b) != 0 {
		return errState
	}
	return nil
}

// clock is the partition's event time: it advances by entries only.
type clock struct {
	tick     int64 // newest tick, unix seconds
	received int64 // largest received_at, µs
}

// AppendState implements stream.Record.
func (c *clock) AppendState(b []byte) []byte {
	b = append(b, 1)
	b = binary.AppendVarint(b, c.tick)
	return binary.AppendVarint(b, c.received)
}

// DecodeState implements stream.Record.
func (c *clock) DecodeState(b []byte) error {
	if len(b) == 0 || b[0] != 1 {
		return errState
	}
	d := stateDecoder{b: b[1:]}
	c.tick, c.received = d.varint(), d.varint()
	if d.err != nil || len(d.b) != 0 {
		return errState
	}
	return nil
}

// tenant counts what a tenant has in this partition. It is derived from the
// other tables and rebuilt on restore.
type tenantCount struct {
	metrics int
	keys    int
}
