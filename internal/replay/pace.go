package replay

import (
	"context"
	"sync"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
)

// pace keeps the spacing of messages by received_at, times a speed; one serves
// all partitions.
type pace struct {
	speed float64 // 0 = as fast as it goes

	mu    sync.Mutex
	began time.Time
	first int64 // received_at of the first message, µs
}

// due is how long to wait before a message is published.
func (p *pace) due(payload []byte, now time.Time) time.Duration {
	if p.speed == 0 {
		return 0
	}
	at := receivedAt(payload)
	if at == 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first == 0 {
		p.began, p.first = now, at
	}
	return p.began.Add(time.Duration(float64(at-p.first) / p.speed * 1e3)).Sub(now)
}

// receivedAt is the newest instant that a group names; 0 for none.
func receivedAt(payload []byte) int64 {
	g := &schemas.Group{}
	if err := g.UnmarshalVTUnsafe(payload); err != nil {
		return 0
	}
	newest := int64(0)
	for _, raw := range g.Entries {
		switch schemas.KindOf(raw) {
		case schemas.KindBatch, schemas.KindTick:
			e := &schemas.Entry{}
			if e.UnmarshalVTUnsafe(raw) == nil {
				newest = max(newest, e.GetBatch().GetReceivedAt(), e.GetTick().GetSecond()*1e6)
			}
		}
	}
	return newest
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
