package gateway

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// idempotency remembers requests by Idempotency-Key. It is best effort: it lives
// in one process and forgets. The normaliser, which sees key and hash in the
// entry, is authoritative; what is lost here costs a repeat its short answer.
type idempotency struct {
	mu      sync.Mutex
	max     int
	wall    func() time.Time
	entries map[idemKey]*list.Element
	order   *list.List // of *idemEntry, oldest first
}

type idemKey struct {
	tenant schemas.ID
	key    string
}

type idemEntry struct {
	id      idemKey
	body    [sha256.Size]byte
	started time.Time
	answer  *api.IngestAnswer // nil while in flight
}

// idemMemory is how long a key is remembered; the normaliser uses the same.
const idemMemory = 24 * time.Hour

func newIdempotency(max int, wall func() time.Time) *idempotency {
	return &idempotency{max: max, wall: wall, entries: map[idemKey]*list.Element{}, order: list.New()}
}

type idemState int

const (
	idemNew      idemState = iota // proceed, then call finish
	idemInFlight                  // the same request is in work
	idemOther                     // the key stands for another body
	idemRepeat                    // answered before: with this answer
)

func (c *idempotency) begin(id idemKey, body [sha256.Size]byte) (idemState, *api.IngestAnswer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.wall()
	if el := c.entries[id]; el != nil {
		e := el.Value.(*idemEntry)
		switch {
		case now.Sub(e.started) >= idemMemory:
			c.drop(el)
		case e.body != body:
			return idemOther, nil
		case e.answer == nil:
			return idemInFlight, nil
		default:
			return idemRepeat, e.answer
		}
	}
	for c.order.Len() >= c.max && c.max > 0 {
		c.drop(c.order.Front())
	}
	if c.max > 0 {
		c.entries[id] = c.order.PushBack(&idemEntry{id: id, body: body, started: now})
	}
	return idemNew, nil
}

// finish records the answer; nil forgets the key, so that a repeat is tried anew.
func (c *idempotency) finish(id idemKey, body [sha256.Size]byte, answer *api.IngestAnswer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.entries[id]
	if el == nil || el.Value.(*idemEntry).body != body {
		return // evicted meanwhile
	}
	if answer == nil {
		c.drop(el)
		return
	}
	kept := *answer
	if len(kept.Errors) > maxKeptErrors {
		kept.Errors = kept.Errors[:maxKeptErrors]
	}
	el.Value.(*idemEntry).answer = &kept
}

// maxKeptErrors bounds what one remembered answer costs; ErrorCount still tells all.
const maxKeptErrors = 10

func (c *idempotency) drop(el *list.Element) {
	delete(c.entries, el.Value.(*idemEntry).id)
	c.order.Remove(el)
}

// validIdempotencyKey: 1 to 64 printable ASCII characters, no spaces: proxies trim them.
func validIdempotencyKey(k string) bool {
	for i := range len(k) {
		if k[i] <= ' ' || k[i] > 0x7e {
			return false
		}
	}
	return len(k) >= 1 && len(k) <= 64
}
