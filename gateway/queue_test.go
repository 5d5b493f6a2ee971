package gateway

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/edgepulse/edgepulse/schemas"
)

// TestQueueProperties: whatever arrives in whatever order, nothing is lost or
// doubled, the caps hold, and each tenant's requests keep their order.
func TestQueueProperties(t *testing.T) {
	const maxBytes, maxPoints = 512 << 10, 5000
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		q := newQueue()
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		var pushed, taken, dropped int
		order := map[schemas.ID][]*submission{}
		drain := func() {
			group := q.gather(maxBytes, maxPoints, func(s *submission) { dropped++ })
			bytes, points := 0, 0
			for _, s := range group {
				taken++
				bytes, points = bytes+s.size, points+s.points
				if s.system {
					continue
				}
				if s.ctx == gone {
					t.Fatal("a request that is gone was taken")
				}
				if order[s.tenant][0] != s {
					t.Fatalf("seed %d: requests of a tenant changed places", seed)
				}
				order[s.tenant] = order[s.tenant][1:]
			}
			if len(group) > 1 && (bytes > maxBytes || points > maxPoints) {
				t.Fatalf("seed %d: group of %d bytes, %d points", seed, bytes, points)
			}
		}
		for range 300 {
			s := &submission{ctx: context.Background(), tenant: schemas.ID{byte(rnd.IntN(5))}, size: 200 + rnd.IntN(1<<rnd.IntN(22)), points: 1 + rnd.IntN(5000), receivedAt: 1}
			switch rnd.IntN(10) {
			case 0:
				s.system, s.size, s.points = true, 20, 0
			case 1:
				s.ctx = gone
			default:
				order[s.tenant] = append(order[s.tenant], s)
			}
			pushed++
			q.push(s)
			if rnd.IntN(20) == 0 {
				drain()
			}
		}
		for rounds := 0; !q.empty(); rounds++ {
			if rounds > 10_000 {
				t.Fatalf("seed %d: the queue does not empty", seed)
			}
			drain()
		}
		if taken+dropped != pushed || q.bytes != 0 || len(q.lanes) != 0 {
			t.Fatalf("seed %d: pushed %d, taken %d, dropped %d, %d bytes, %d lanes", seed, pushed, taken, dropped, q.bytes, len(q.lanes))
		}
	}
}

// TestQueueSharesBytes: two tenants that always have something waiting get equal
// bytes, however different their requests.
func TestQueueSharesBytes(t *testing.T) {
	q := newQueue()
	sizes := map[schemas.ID]int{{1}: 500, {2}: 60_000}
	for tenant, size := range sizes {
		for range 64 << 20 / size {
			q.push(&submission{ctx: context.Background(), tenant: tenant, size: size, points: 1, receivedAt: 1})
		}
	}
	got := map[schemas.ID]int{}
	for range 40 {
		for _, s := range q.gather(512<<10, 1<<30, nil) {
			got[s.tenant] += s.size
		}
	}
	if a, b := got[schemas.ID{1}], got[schemas.ID{2}]; a < b*9/10 || b < a*9/10 {
		t.Fatalf("small requests got %d bytes, large ones %d", a, b)
	}
}
