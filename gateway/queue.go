package gateway

import (
	"context"

	"github.com/edgepulse/edgepulse/schemas"
)

// submission is one entry, or some entries, on their way into the log.
type submission struct {
	ctx    context.Context // of the request; a request that is gone before gathering is left out
	tenant schemas.ID
	points int
	size   int // about what it adds to a group
	// encode appends the framed entries; receivedAt is final and monotonic.
	encode     func(group []byte, receivedAt int64) []byte
	receivedAt int64 // when the request came, µs
	system     bool  // a tick or control: goes before requests
	done       chan<- outcome
}

// outcome is what became of a submission.
type outcome struct {
	partition int
	root      uint64
	err       error
}

// quantum is what a tenant may add per turn: small against a group, so that many
// tenants share each one; large against a usual request, so that turns are few.
const quantum = 32 << 10

// queue is what waits for a partition: a lane for ticks and controls, and one per
// tenant, served by deficit round robin (Shreedhar and Varghese, 1995) over bytes.
// A tenant with much waiting slows itself, not the others. It is not safe for
// concurrent use.
type queue struct {
	system []*submission
	lanes  map[schemas.ID]*lane
	turn   []*lane // round robin; the front one is next
	bytes  int
}

type lane struct {
	tenant  schemas.ID
	waiting []*submission
	deficit int
}

func newQueue() *queue { return &queue{lanes: map[schemas.ID]*lane{}} }

func (q *queue) push(s *submission) {
	q.bytes += s.size
	if s.system {
		q.system = append(q.system, s)
		return
	}
	l := q.lanes[s.tenant]
	if l == nil {
		l = &lane{tenant: s.tenant}
		q.lanes[s.tenant] = l
		q.turn = append(q.turn, l)
	}
	l.waiting = append(l.waiting, s)
}

func (q *queue) empty() bool { return len(q.system) == 0 && len(q.turn) == 0 }

// gather takes the next group: at most maxBytes and maxPoints, unless its first
// submission alone is larger, which then travels alone. Requests that are gone
// are handed to drop.
func (q *queue) gather(maxBytes, maxPoints int, drop func(*submission)) []*submission {
	var group []*submission
	bytes, points := 0, 0
	fits := func(s *submission) bool {
		return len(group) == 0 || bytes+s.size <= maxBytes && points+s.points <= maxPoints
	}
	take := func(s *submission) {
		group = append(group, s)
		bytes, points = bytes+s.size, points+s.points
		q.bytes -= s.size
	}
	for len(q.system) > 0 && fits(q.system[0]) {
		take(q.system[0])
		q.system = q.system[1:]
	}
	for len(q.turn) > 0 && bytes < maxBytes && points < maxPoints {
		l := q.turn[0]
		l.deficit += quantum
		for len(l.waiting) > 0 {
			s := l.waiting[0]
			if s.ctx.Err() != nil {
				l.waiting = l.waiting[1:]
				q.bytes -= s.size
				drop(s)
				continue
			}
			if s.size > l.deficit {
				break
			}
			if !fits(s) {
				// Its turn goes on with the next group; the quantum was not used.
				l.deficit -= quantum
				return group
			}
			take(s)
			l.deficit -= s.size
			l.waiting = l.waiting[1:]
		}
		q.turn = q.turn[1:]
		if len(l.waiting) > 0 {
			q.turn = append(q.turn, l)
		} else {
			delete(q.lanes, l.tenant) // an idle tenant saves nothing up
		}
	}
	return group
}
