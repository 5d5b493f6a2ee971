package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
)

// refusals holds the answer to a tenant beyond its plan back for a moment. A client
// that waits as Retry-After says does not notice; one that asks again at once is
// slowed to its connections over the pause, and does not take from the others what
// refusing costs.
type refusals struct {
	pause time.Duration // 0 = none

	mu    sync.Mutex
	held  map[schemas.ID]int
	total int
}

// Answers held back at one time. Beyond it a refusal goes at once: to hold one costs
// its connection and goroutine.
const (
	maxHeld         = 4096
	maxHeldOfTenant = 256
)

func newRefusals(pause time.Duration) *refusals {
	return &refusals{pause: pause, held: map[schemas.ID]int{}}
}

// hold returns after the pause, or when the request is gone.
func (r *refusals) hold(ctx context.Context, tenant schemas.ID) {
	if r.pause <= 0 || !r.begin(tenant) {
		return
	}
	defer r.end(tenant)
	t := time.NewTimer(r.pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (r *refusals) begin(tenant schemas.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.total >= maxHeld || r.held[tenant] >= maxHeldOfTenant {
		return false
	}
	r.total++
	r.held[tenant]++
	return true
}

func (r *refusals) end(tenant schemas.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total--
	if r.held[tenant]--; r.held[tenant] == 0 {
		delete(r.held, tenant)
	}
}
