package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Artefact is a model on its way to the object store.
type Artefact struct {
	Version []byte // SHA-256 of Data
	Data    []byte
}

// PendingArtefacts returns models whose artefact is still in the database.
func (s *Store) PendingArtefacts(ctx context.Context, limit int) ([]Artefact, error) {
	if s.writer == nil {
		return nil, fmt.Errorf("read artefacts: %w", ErrNoRole)
	}
	rows, err := s.writer.Query(ctx, `SELECT version, artefact FROM models WHERE artefact IS NOT NULL ORDER BY version LIMIT $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("read artefacts: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (Artefact, error) {
		var a Artefact
		err := r.Scan(&a.Version, &a.Data)
		return a, err
	})
	if err != nil {
		return nil, fmt.Errorf("read artefacts: %w", err)
	}
	return out, nil
}

// ArtefactStored drops the database's copy of an artefact that the object store has.
func (s *Store) ArtefactStored(ctx context.Context, version []byte) error {
	if _, err := s.writer.Exec(ctx, `UPDATE models SET artefact = NULL WHERE version = $1`, version); err != nil {
		return fmt.Errorf("mark artefact stored: %w", err)
	}
	return nil
}
