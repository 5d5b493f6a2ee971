package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// TraceEvent follows an event back as far as PostgreSQL knows: from there
// partition and root lead on into INGEST or its archive. The event's window
// bounds the samples; they come from several roots, of which the event's own is
// the last. received is when the gateway had the request, or the tick.
func (s *Store) TraceEvent(ctx context.Context, tenant schemas.ID, eventID string) (t api.EventTrace, received time.Time, err error) {
	event, err := s.AlertEvent(ctx, tenant, eventID)
	if err != nil {
		return t, received, fmt.Errorf("trace event: %w", err)
	}
	t.Event = event
	metric, err := parseID(event.MetricID)
	if err != nil {
		return t, received, fmt.Errorf("trace event: %w", err)
	}
	err = s.readSeries(ctx, tenant, func(tx pgx.Tx) error {
		if err := traceScore(ctx, tx, tenant, metric, &t); err != nil {
			return err
		}
		if err := traceFeatures(ctx, tx, tenant, metric, &t); err != nil {
			return err
		}
		if err := tracePoints(ctx, tx, tenant, metric, &t); err != nil {
			return err
		}
		if err := traceParts(ctx, tx, tenant, &t); err != nil {
			return err
		}
		if err := traceRule(ctx, tx, tenant, &t); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT received_at FROM alert_events WHERE tenant_id = $1 AND event_id = $2`,
			uuidOf(tenant), t.Event.EventID).Scan(&received)
	})
	if err != nil {
		return t, received, fmt.Errorf("trace event: %w", err)
	}
	return t, utc(received), nil
}

// traceScore finds the evaluation at the event's root: an event whose time has
// come by a tick has none at its own instant, then the last one before it.
func traceScore(ctx context.Context, tx pgx.Tx, tenant, metric schemas.ID, t *api.EventTrace) error {
	before := reach{firstInstant, t.Event.TS.UnixMicro() + 1}
	var after *cursor
	for {
		found, err := scorePage(ctx, tx, tenant, metric, before, Newest, after, 500)
		if err != nil {
			return err
		}
		for i := range found {
			if found[i].Root <= t.Event.Root {
				t.Score = &found[i]
				return nil
			}
		}
		if len(found) < 500 {
			return nil
		}
		last := scoreCursor("", &found[len(found)-1])
		after = &last
	}
}

func traceFeatures(ctx context.Context, tx pgx.Tx, tenant, metric schemas.ID, t *api.EventTrace) error {
	if t.Score == nil {
		return nil
	}
	err := tx.QueryRow(ctx, `SELECT to_jsonb(f) - ARRAY['tenant_id', 'chunk_first', 'chunk_last'] FROM features f
		WHERE tenant_id = $1 AND metric_id = $2 AND chunk_first BETWEEN chunk_week($3) AND $3 AND chunk_last >= $3
		  AND ts = $3 AND root = $4 AND tick = $5 LIMIT 1`,
		uuidOf(tenant), uuidOf(metric), t.Score.TS, int64(t.Score.Root), t.Score.Tick).Scan(&t.Features)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	return err
}

func tracePoints(ctx context.Context, tx pgx.Tx, tenant, metric schemas.ID, t *api.EventTrace) error {
	rows, err := tx.Query(ctx, `SELECT ts, value, flags, root, partition FROM points($2, $3, $4)
		WHERE tenant_id = $1 AND root <= $5 ORDER BY ts DESC LIMIT 1000`, uuidOf(tenant), uuidOf(metric),
		t.Event.WindowStart.Add(time.Microsecond), t.Event.WindowEnd.Add(time.Microsecond), int64(t.Event.Root)) // (start, end]
	if err != nil {
		return err
	}
	t.Points, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (api.TracePoint, error) {
		var p api.TracePoint
		var flags int32
		var root int64
		err := r.Scan(&p.TS, &p.Value, &flags, &root, &p.Partition)
		p.TS, p.Flags, p.Root = utc(p.TS), flagNames(flags), uint64(root)
		return p, err
	})
	return err
}

func traceParts(ctx context.Context, tx pgx.Tx, tenant schemas.ID, t *api.EventTrace) error {
	roots := []int64{int64(t.Event.Root)}
	for _, p := range t.Points {
		roots = append(roots, int64(p.Root))
	}
	rows, err := tx.Query(ctx, `SELECT partition, root, request_id, part, parts, key_id, source FROM ingest_batches
		WHERE tenant_id = $1 AND partition = $2 AND root = ANY($3) ORDER BY root, request_id, part`,
		uuidOf(tenant), int64(t.Event.Partition), roots)
	if err != nil {
		return err
	}
	t.Parts, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (api.TracePart, error) {
		var v api.TracePart
		var root int64
		err := r.Scan(&v.Root.Partition, &root, &v.RequestID, &v.Part, &v.Parts, &v.KeyID, &v.Source)
		v.Root.Sequence = uint64(root)
		return v, err
	})
	return err
}

// traceRule finds the rule as it is now; it may be deleted.
func traceRule(ctx context.Context, tx pgx.Tx, tenant schemas.ID, t *api.EventTrace) error {
	rule, err := scanRule(tx.QueryRow(ctx, ruleColumns+` WHERE tenant_id = $1 AND rule_id = $2 AND deleted_at IS NULL`,
		uuidOf(tenant), t.Event.RuleID), &cursor{})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	t.Rule = &rule
	return err
}

// TraceRequest finds the receipt of a request and the key it came with.
func (s *Store) TraceRequest(ctx context.Context, tenant schemas.ID, batchID string) (*api.TraceRequest, error) {
	receipt, err := s.Receipt(ctx, tenant, batchID)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	out := &api.TraceRequest{Receipt: receipt}
	if err == nil {
		err = s.read(ctx, tenant, func(tx pgx.Tx) error {
			return tx.QueryRow(ctx, `SELECT key_id FROM ingest_batches WHERE tenant_id = $1 AND request_id = $2 LIMIT 1`,
				uuidOf(tenant), batchID).Scan(&out.KeyID)
		})
	}
	if err != nil {
		return nil, fmt.Errorf("trace request: %w", err)
	}
	return out, nil
}
