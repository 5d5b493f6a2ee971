package gateway

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
)

// Shares carry what each gateway has taken of the tenants' plans to the others.
// Losing a message, or all of them, costs accuracy for a moment and nothing else.
type Shares interface {
	// Publish replaces what the others know of the gateway named.
	Publish(ctx context.Context, gateway string, value []byte) error
	// Follow calls each for every value published, by whomever, until ctx ends or
	// the connection is lost.
	Follow(ctx context.Context, each func(gateway string, value []byte)) error
}

const (
	// shareEvery is how often a gateway tells what it has taken. With n gateways and
	// a rate R, all of them together accept in a window T at most
	// R*T + (n-1)*R*(shareEvery + the time of the message) once the burst is spent.
	// From full buckets each may give one burst before it hears of the others; what
	// was too much is paid back then, so that the rate holds in the long run.
	shareEvery = 250 * time.Millisecond
	// shareFor is how long a tenant that has stopped is still told of: every message
	// holds the sums since the gateway began, so that none of twenty must arrive.
	shareFor = 5 * time.Second
	// shareAlive is how often a gateway that has nothing to tell says that it lives.
	shareAlive = 10 * time.Second
	// peerGone is when a gateway that is not heard of is forgotten.
	peerGone = time.Minute
)

// peer is another gateway as it was last heard of.
type peer struct {
	heard   time.Time
	taken   map[schemas.ID]consumption
	pending map[schemas.ID]int64
}

const shareVersion = 1

// share encodes what this gateway has taken and changed lately: version, then
// tenant, points, requests and points pending of each.
func (q *quotas) share() (value []byte, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.wall()
	value = []byte{shareVersion}
	for id, a := range q.tenants {
		if a.changed.IsZero() || now.Sub(a.changed) > shareFor {
			continue
		}
		value = append(value, id[:]...)
		value = binary.AppendVarint(value, a.taken.points)
		value = binary.AppendVarint(value, a.taken.requests)
		value = binary.AppendVarint(value, a.month.waiting+a.month.reserved)
		n++
	}
	return value, n
}

var errShare = errors.New("not a share of quotas")

// hear charges what another gateway has taken since it was heard of last. Of one
// that is new here only what it takes from now on counts.
func (q *quotas) hear(from string, value []byte) error {
	if len(value) == 0 || value[0] != shareVersion {
		return errShare
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.wall()
	p := q.peers[from]
	fresh := p == nil || now.Sub(p.heard) > peerGone
	if fresh {
		p = &peer{taken: map[schemas.ID]consumption{}}
		q.peers[from] = p
	}
	before := p.pending
	p.heard, p.pending = now, map[schemas.ID]int64{}
	for b := value[1:]; len(b) > 0; {
		if len(b) < 16 {
			return errShare
		}
		id := schemas.ID(b[:16])
		b = b[16:]
		var v [3]int64
		for i := range v {
			n := 0
			if v[i], n = binary.Varint(b); n <= 0 {
				return errShare
			}
			b = b[n:]
		}
		last, c := p.taken[id], consumption{v[0], v[1]}
		p.taken[id] = c
		p.pending[id] = v[2]
		if fresh {
			continue
		}
		a := q.tenants[id]
		if a == nil {
			a = &allowance{}
			q.tenants[id] = a
		}
		a.points.owe(float64(c.points-last.points), len(q.peers), now)
		a.requests.owe(float64(c.requests-last.requests), len(q.peers), now)
	}
	for id := range p.pending {
		q.sumElsewhere(id)
	}
	for id := range before {
		q.sumElsewhere(id)
	}
	return nil
}

func (q *quotas) sumElsewhere(id schemas.ID) {
	a := q.tenants[id]
	if a == nil {
		return
	}
	a.month.elsewhere = 0
	for _, p := range q.peers {
		a.month.elsewhere += p.pending[id]
	}
}

// forget drops gateways that are gone and answers how many are left.
func (q *quotas) forget() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	for name, p := range q.peers {
		if q.wall().Sub(p.heard) > peerGone {
			delete(q.peers, name)
			for id := range p.pending {
				q.sumElsewhere(id)
			}
		}
	}
	return len(q.peers)
}

// runExchange tells the others what this gateway takes and hears what they take,
// until ctx ends. Without them a gateway limits as if it were alone.
func (s *Server) runExchange(ctx context.Context) {
	self := rand.Text()
	var following sync.WaitGroup
	following.Go(func() {
		for ctx.Err() == nil {
			err := s.deps.Shares.Follow(ctx, func(from string, value []byte) {
				if from == self {
					return
				}
				if err := s.quota.hear(from, value); err != nil {
					s.metrics.shareFailures.Inc()
				}
			})
			if ctx.Err() != nil {
				return
			}
			s.metrics.shareFailures.Inc()
			s.logger.Warn("quotas are not shared with the other gateways", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Second):
			}
		}
	})
	defer following.Wait()
	timer := time.NewTicker(shareEvery)
	defer timer.Stop()
	var said time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		s.metrics.peers.Set(float64(s.quota.forget()))
		value, n := s.quota.share()
		if n == 0 && time.Since(said) < shareAlive {
			continue
		}
		out, cancel := context.WithTimeout(ctx, shareEvery*2)
		if err := s.deps.Shares.Publish(out, self, value); err == nil {
			said = time.Now()
		} else if ctx.Err() == nil {
			s.metrics.shareFailures.Inc()
		}
		cancel()
	}
}
