package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// The operator sees over all tenants: these need the owner's role and serve the
// command line, never the API.

// DeadLetterID names a dead letter.
type DeadLetterID struct {
	Stage     string
	Partition int
	Root      uint64
	Index     uint32
}

// AllDeadLetters lists the newest dead letters of all tenants, without their entries.
func (s *Store) AllDeadLetters(ctx context.Context, limit int) ([]api.DeadLetter, error) {
	if s.owner == nil {
		return nil, fmt.Errorf("list dead letters: %w", ErrNoRole)
	}
	rows, err := s.owner.Query(ctx, `SELECT stage, partition, root, index, reason, detail, tenant_id, NULL::bytea FROM dead_letters
		ORDER BY root DESC, partition, stage, index LIMIT $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (api.DeadLetter, error) { return scanDeadLetter(r, &cursor{}) })
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	return out, nil
}

// DeadLetterEntry returns a dead letter of any tenant and the bytes kept of its entry.
func (s *Store) DeadLetterEntry(ctx context.Context, id DeadLetterID) (api.DeadLetter, []byte, error) {
	if s.owner == nil {
		return api.DeadLetter{}, nil, fmt.Errorf("find dead letter: %w", ErrNoRole)
	}
	const q = ` FROM dead_letters WHERE stage = $1 AND partition = $2 AND root = $3 AND index = $4`
	args := []any{id.Stage, int64(id.Partition), int64(id.Root), int64(id.Index)}
	d, err := scanDeadLetter(s.owner.QueryRow(ctx, `SELECT stage, partition, root, index, reason, detail, tenant_id, NULL::bytea`+q, args...), &cursor{})
	if err != nil {
		return d, nil, fmt.Errorf("find dead letter: %w", orNotFound(err))
	}
	var raw []byte
	if err := s.owner.QueryRow(ctx, `SELECT entry`+q, args...).Scan(&raw); err != nil {
		return d, nil, fmt.Errorf("read dead letter: %w", err)
	}
	return d, raw, nil
}

// TenantOfEvent finds whose alert event an id names.
func (s *Store) TenantOfEvent(ctx context.Context, eventID string) (schemas.ID, error) {
	if s.owner == nil {
		return schemas.Nil, fmt.Errorf("find event: %w", ErrNoRole)
	}
	id, err := parseID(eventID)
	if err != nil {
		return schemas.Nil, err
	}
	var tenant pgtype.UUID
	err = s.owner.QueryRow(ctx, `SELECT tenant_id FROM alert_events WHERE event_id = $1`, uuidOf(id)).Scan(&tenant)
	return tenant.Bytes, orNotFound(err)
}

// DatapointTotals counts the stored points of all tenants (one accepted twice counts
// twice until it is sealed) and the bytes that all
// projected tables take with their indexes.
func (s *Store) DatapointTotals(ctx context.Context) (points, bytes int64, err error) {
	if s.owner == nil {
		return 0, 0, fmt.Errorf("count datapoints: %w", ErrNoRole)
	}
	err = s.owner.QueryRow(ctx, `SELECT (SELECT coalesce((SELECT sum(n) FROM datapoint_recent), 0) + coalesce((SELECT sum(n) FROM datapoint_chunks), 0)),
		(SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		 WHERE n.nspname = 'public' AND c.relkind = 'r')`).Scan(&points, &bytes)
	if err != nil {
		return 0, 0, fmt.Errorf("count datapoints: %w", err)
	}
	return points, bytes, nil
}
