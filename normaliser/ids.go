package normaliser

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/edgepulse/edgepulse/schemas"
)

// idCache remembers derived identifiers: a SHA-1 per point would be a fifth of
// this stage. It is a pure memo, so what it holds, or forgets, changes no output.
type idCache struct {
	seed  maphash.Seed
	slots []idSlot // each name has one place; a newer one takes it
	used  int
}

type idSlot struct {
	device, metric schemas.ID
	name           string
}

// Bounds of the cache, powers of two: it grows with the metrics of the partition.
const (
	leastSlots = 1 << 6
	mostSlots  = 1 << 14
)

func newIDCache() idCache {
	return idCache{seed: maphash.MakeSeed(), slots: make([]idSlot, leastSlots)}
}

// metric is schemas.MetricID.
func (c *idCache) metric(device schemas.ID, name string) schemas.ID {
	// A device id is a hash already; its version and variant bits are not in its first bytes.
	h := maphash.String(c.seed, name) ^ binary.LittleEndian.Uint64(device[:8])
	s := &c.slots[h&uint64(len(c.slots)-1)]
	if s.device == device && s.name == name {
		return s.metric
	}
	if s.name == "" {
		c.used++
	}
	id := schemas.MetricID(device, name)
	*s = idSlot{device: device, metric: id, name: name}
	if c.used > len(c.slots)/2 && len(c.slots) < mostSlots {
		c.slots, c.used = make([]idSlot, 2*len(c.slots)), 0 // what it knew is found again
	}
	return id
}
