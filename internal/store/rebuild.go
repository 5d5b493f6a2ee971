package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/edgepulse/edgepulse/stream"
)

// projected says which tables are filled from which log.
var projected = map[stream.LogName][]string{
	stream.Points:     {"devices", "metrics", "ingest_batches", "datapoint_recent", "datapoint_chunks", "usage", "ingest_minutes"},
	stream.Features:   {"feature_recent", "feature_chunks"},
	stream.Scores:     {"anomaly_rows", "silent_metrics", "score_recent", "score_chunks", "models", "usage_evaluations"},
	stream.Alerts:     {"alert_events", "alerts"},
	stream.Deliveries: {"webhook_deliveries", "usage_deliveries"},
}

// TruncateProjected throws away all that was projected from these logs, with
// their positions: the projectors then begin at the first root again.
func (s *Store) TruncateProjected(ctx context.Context, logs ...stream.LogName) error {
	var tables, names, stages []string
	for _, log := range logs {
		t, ok := projected[log]
		if !ok {
			return fmt.Errorf("truncate projection of %s: nothing is projected from that log", log)
		}
		spec, _ := stream.Spec(log)
		tables, names, stages = append(tables, t...), append(names, string(log)), append(stages, spec.Writer, "projector_"+strings.ToLower(string(log)))
	}
	if len(tables) == 0 {
		return nil
	}
	err := within(ctx, s.owner, "begin", func(tx pgx.Tx) error {
		// In the order of Apply, position first: a projector at work ends its commit,
		// a later one finds its position gone.
		if _, err := tx.Exec(ctx, `DELETE FROM projection_positions WHERE log = ANY($1)`, names); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM dead_letters WHERE stage = ANY($1)`, stages); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "TRUNCATE "+strings.Join(tables, ", "))
		return err
	})
	if err != nil {
		return fmt.Errorf("truncate projections of %s: %w", strings.Join(names, ", "), err)
	}
	return nil
}

// RewindPosition lets a projection go on from an earlier root. Rows beyond it
// stay: what was projected from a tail that its log has lost.
func (s *Store) RewindPosition(ctx context.Context, log stream.LogName, partition int, root uint64) error {
	err := within(ctx, s.writer, "begin", func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE projection_positions SET root = $3, updated_at = now() WHERE log = $1 AND partition = $2 AND root > $3`,
			string(log), partition, int64(root))
		return err
	})
	if err != nil {
		return fmt.Errorf("rewind position of %s: %w", stream.StreamName(log, partition), err)
	}
	return nil
}

// Positions are all projection positions, for health and metrics.
func (s *Store) Positions(ctx context.Context) (map[stream.LogName]map[int]uint64, error) {
	if s.writer == nil {
		return nil, fmt.Errorf("read positions: %w", ErrNoRole)
	}
	rows, err := s.writer.Query(ctx, `SELECT log, partition, root FROM projection_positions`)
	if err != nil {
		return nil, fmt.Errorf("read positions: %w", err)
	}
	out := map[stream.LogName]map[int]uint64{}
	var log string
	var partition int
	var root int64
	_, err = pgx.ForEachRow(rows, []any{&log, &partition, &root}, func() error {
		name := stream.LogName(log)
		if out[name] == nil {
			out[name] = map[int]uint64{}
		}
		out[name][partition] = uint64(root)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read positions: %w", err)
	}
	return out, nil
}
