package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// maxRejections is how many refused items a receipt lists; the counts are complete.
const maxRejections = 100

// Receipt adds up the parts of one request that have passed the normaliser.
// ErrNotFound: none has yet, or there never was such a request.
func (s *Store) Receipt(ctx context.Context, tenant schemas.ID, batchID string) (api.Receipt, error) {
	out := api.Receipt{BatchID: batchID}
	err := s.read(ctx, tenant, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT parts, partition, root, received_at, points, accepted, duplicate, conflicting, late, rejected,
			rejections, repeat, backfill, source FROM ingest_batches WHERE tenant_id = $1 AND request_id = $2 ORDER BY part`,
			uuidOf(tenant), cleanText(batchID))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := addPart(rows, &out); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	if err == nil && out.PartsDone == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return api.Receipt{}, fmt.Errorf("find receipt: %w", err)
	}
	out.Complete = out.PartsDone >= out.Parts
	return out, nil
}

func addPart(r pgx.Rows, out *api.Receipt) error {
	var part api.Receipt
	var root api.Root
	var sequence int64
	var rejections []byte
	var received time.Time
	err := r.Scan(&part.Parts, &root.Partition, &sequence, &received, &part.Points, &part.Accepted, &part.Duplicate, &part.Conflicting,
		&part.Late, &part.Rejected, &rejections, &part.Repeat, &part.Backfill, &part.Source)
	if err != nil {
		return err
	}
	if out.PartsDone == 0 || received.Before(out.ReceivedAt) {
		out.ReceivedAt = utc(received)
	}
	root.Sequence = uint64(sequence)
	out.Roots = append(out.Roots, root)
	out.PartsDone++
	out.Parts = max(out.Parts, part.Parts)
	out.Points += part.Points
	out.Accepted += part.Accepted
	out.Duplicate += part.Duplicate
	out.Conflicting += part.Conflicting
	out.Late += part.Late
	out.Rejected += part.Rejected
	out.Repeat = out.Repeat || part.Repeat
	out.Backfill = out.Backfill || part.Backfill
	out.Source = part.Source
	if len(rejections) > 0 {
		var list []api.Rejection
		if err := json.Unmarshal(rejections, &list); err != nil {
			return fmt.Errorf("decode rejections: %w", err)
		}
		out.Rejections = append(out.Rejections, list[:min(len(list), maxRejections-len(out.Rejections))]...)
	}
	return nil
}
