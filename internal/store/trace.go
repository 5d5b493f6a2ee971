package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// Trace is all that PostgreSQL holds of the way of one alert event: from the
// event back to the requests whose bytes caused it. Partition and roots lead on
// from here into INGEST or its archive.
type Trace struct {
	Event      api.AlertEvent  `json:"event"` // with deliveries
	Score      *api.Score      `json:"score"` // nil: not projected yet, or thrown away
	Features   json.RawMessage `json:"features"`
	Datapoints []TracePoint    `json:"datapoints"` // of the window, at most 1000, the newest
	Receipts   []TraceReceipt  `json:"receipts"`   // of the roots of event and datapoints
}

// TracePoint is a sample of the evaluated window.
type TracePoint struct {
	api.Datapoint
	Partition int `json:"partition"`
}

// TraceReceipt names the part of a request that stands at a root.
type TraceReceipt struct {
	Root      api.Root `json:"root"`
	RequestID string   `json:"request_id"`
	Part      int      `json:"part"`
	Parts     int      `json:"parts"`
	KeyID     string   `json:"key_id"`
	Source    string   `json:"source"`
}

// TraceEvent follows an event back. The event's window bounds the samples; they
// come from several roots, of which the event's own is the last.
func (s *Store) TraceEvent(ctx context.Context, tenant schemas.ID, eventID string) (Trace, error) {
	var t Trace
	event, err := s.AlertEvent(ctx, tenant, eventID)
	if err != nil {
		return t, fmt.Errorf("trace event: %w", err)
	}
	t.Event = event
	metric, err := parseID(event.MetricID)
	if err != nil {
		return t, fmt.Errorf("trace event: %w", err)
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
		return traceReceipts(ctx, tx, tenant, &t)
	})
	if err != nil {
		return t, fmt.Errorf("trace event: %w", err)
	}
	return t, nil
}

// traceScore finds the evaluation at the event's root: an event whose time has
// come by a tick has none at its own instant, then the last one before it.
func traceScore(ctx context.Context, tx pgx.Tx, tenant, metric schemas.ID, t *Trace) error {
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

func traceFeatures(ctx context.Context, tx pgx.Tx, tenant, metric schemas.ID, t *Trace) error {
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

func tracePoints(ctx context.Context, tx pgx.Tx, tenant, metric schemas.ID, t *Trace) error {
	rows, err := tx.Query(ctx, `SELECT ts, value, flags, root, partition FROM points($2, $3, $4)
		WHERE tenant_id = $1 AND root <= $5 ORDER BY ts DESC LIMIT 1000`, uuidOf(tenant), uuidOf(metric),
		t.Event.WindowStart.Add(time.Microsecond), t.Event.WindowEnd.Add(time.Microsecond), int64(t.Event.Root)) // (start, end]
	if err != nil {
		return err
	}
	t.Datapoints, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (TracePoint, error) {
		var p TracePoint
		var flags int32
		var root int64
		err := r.Scan(&p.TS, &p.Value, &flags, &root, &p.Partition)
		p.TS, p.Flags, p.Root = utc(p.TS), flagNames(flags), uint64(root)
		return p, err
	})
	return err
}

func traceReceipts(ctx context.Context, tx pgx.Tx, tenant schemas.ID, t *Trace) error {
	roots := []int64{int64(t.Event.Root)}
	for _, p := range t.Datapoints {
		roots = append(roots, int64(p.Root))
	}
	rows, err := tx.Query(ctx, `SELECT partition, root, request_id, part, parts, key_id, source FROM ingest_batches
		WHERE tenant_id = $1 AND partition = $2 AND root = ANY($3) ORDER BY root, request_id, part`,
		uuidOf(tenant), int64(t.Event.Partition), roots)
	if err != nil {
		return err
	}
	t.Receipts, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (TraceReceipt, error) {
		var v TraceReceipt
		var root int64
		err := r.Scan(&v.Root.Partition, &root, &v.RequestID, &v.Part, &v.Parts, &v.KeyID, &v.Source)
		v.Root.Sequence = uint64(root)
		return v, err
	})
	return err
}
