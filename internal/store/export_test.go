package store

import (
	"context"
	"log/slog"
)

// MigrateTo stops at a version, for tests of what the next one does.
func MigrateTo(ctx context.Context, cfg MigrateConfig, version int64) error {
	if err := ensureRoles(ctx, cfg); err != nil {
		return err
	}
	cfg.Logger = slog.New(slog.DiscardHandler)
	p, closeDB, err := provider(cfg)
	if err != nil {
		return err
	}
	defer closeDB()
	_, err = p.UpTo(ctx, version)
	return err
}

// RestAfter is restAfter.
var RestAfter = restAfter

// Rest is how long sealing rests now.
func (s *Store) Rest() float64 { return s.rest() }
