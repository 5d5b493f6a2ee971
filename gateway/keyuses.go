package gateway

import (
	"context"
	"time"
)

// KeyUses keeps when keys were used last.
type KeyUses interface {
	NoteKeyUses(ctx context.Context, uses map[string]time.Time) error
}

// keyUsesEvery is how far behind "last used" may be: it is written for all keys at
// once, never per request.
const keyUsesEvery = 30 * time.Second

func (a *authenticator) note(keyID string) {
	now := a.wall()
	a.mu.Lock()
	a.used[keyID] = now
	a.mu.Unlock()
}

// uses takes what was noted.
func (a *authenticator) uses() map[string]time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	used := a.used
	a.used = map[string]time.Time{}
	return used
}

// runKeyUses writes what was noted until ctx ends, and then once more.
func (s *Server) runKeyUses(ctx context.Context) {
	timer := time.NewTicker(keyUsesEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			s.writeKeyUses(context.WithoutCancel(ctx))
			return
		case <-timer.C:
			s.writeKeyUses(ctx)
		}
	}
}

func (s *Server) writeKeyUses(ctx context.Context) {
	used := s.auth.uses()
	if len(used) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := s.deps.KeyUses.NoteKeyUses(ctx, used); err != nil {
		s.logger.Warn("note uses of keys failed", "error", err) // the next use says it anew
	}
}
