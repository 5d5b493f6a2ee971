package edgesync

import (
	"context"
	"log/slog"
	"time"
)

// Source is where the keys are.
type Source interface {
	// Keys lists all keys that work now.
	Keys(ctx context.Context) ([]Key, error)
	// Watch calls changed at once, after every change, and at least as often as
	// every says. It returns when that can't go on.
	Watch(ctx context.Context, every time.Duration, changed func(context.Context) error) error
}

// How often Watch compares again although nothing was said: keys expire without a
// change, and KV may be changed by others.
const (
	lookEvery = 30 * time.Second
	listEvery = 10 * time.Minute
)

// Watch keeps KV in step until ctx ends. What goes wrong is logged and tried again.
func (s *Syncer) Watch(ctx context.Context, src Source, log *slog.Logger) error {
	listed := time.Time{}
	changed := func(ctx context.Context) error {
		keys, err := src.Keys(ctx)
		if err != nil {
			return err
		}
		if time.Since(listed) > listEvery {
			s.last = nil
		}
		began := time.Now()
		if s.last == nil {
			listed = began
		}
		plan, err := s.Push(ctx, keys)
		if err != nil {
			return err
		}
		if !plan.Empty() {
			log.Info("keys at the edge follow", "written", len(plan.Write), "deleted", len(plan.Delete), "ms", time.Since(began).Milliseconds())
		}
		return nil
	}
	pause := time.Second
	for {
		began := time.Now()
		err := src.Watch(ctx, lookEvery, changed)
		if ctx.Err() != nil {
			return nil
		}
		log.Warn("keys at the edge do not follow now", "error", err)
		if time.Since(began) > time.Minute {
			pause = time.Second
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, 30*time.Second)
	}
}
