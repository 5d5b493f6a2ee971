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
	slots []idSlot
}

type idSlot struct {
	device, metric schemas.ID
	name           string
}

const idSlots = 1 << 14 // each name has one place; a newer one takes it

func newIDCache() idCache {
	return idCache{seed: maphash.MakeSeed(), slots: make([]idSlot, idSlots)}
}

// metric is schemas.MetricID.
func (c *idCache) metric(device schemas.ID, name string) schemas.ID {
	// A device id is a hash already; its version and variant bits are not in its first bytes.
	h := maphash.String(c.seed, name) ^ binary.LittleEndian.Uint64(device[:8])
	s := &c.slots[h%idSlots]
	if s.device != device || s.name != name {
		*s = idSlot{device: device, metric: schemas.MetricID(device, name), name: name}
	}
	return s.metric
}
