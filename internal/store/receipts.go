package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// maxRejections is how many refused items a receipt lists; the counts are complete.
const maxRejections = 100

// partColumns are what addPart scans.
const partColumns = `parts, partition, root, received_at, points, accepted, duplicate, conflicting, late, rejected,
	rejections, repeat, backfill, source`

// ListReceipts lists requests, the last received first. A request has its place
// by its first part, or by the first with a refused point where only those are asked for.
func (s *Store) ListReceipts(ctx context.Context, tenant schemas.ID, onlyRejected bool, pr api.PageRequest) (api.Page[api.Receipt], error) {
	var out api.Page[api.Receipt]
	list := map[bool]string{false: "receipts", true: "rejects"}[onlyRejected]
	p, err := readPage(list, pr, maxLimit)
	if err != nil {
		return out, err
	}
	var q query
	q.add(`SELECT b.request_id, b.received_at FROM ingest_batches b WHERE b.tenant_id = ?`, uuidOf(tenant))
	if onlyRejected {
		q.add(` AND b.rejected > 0 AND NOT EXISTS (SELECT 1 FROM ingest_batches e WHERE e.tenant_id = b.tenant_id
			AND e.request_id = b.request_id AND e.part < b.part AND e.rejected > 0)`)
	} else {
		q.add(` AND b.part = 0`)
	}
	if p.after != nil {
		q.add(" AND (b.received_at, b.request_id) < (?, ?)", p.after.time(), p.after.ID)
	}
	q.add(" ORDER BY b.received_at DESC, b.request_id DESC")
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		out, err = collect(ctx, tx, &q, p, func(r pgx.Row, c *cursor) (api.Receipt, error) {
			var v api.Receipt
			err := r.Scan(&v.BatchID, &v.ReceivedAt)
			*c = cursor{List: list, TS: v.ReceivedAt.UnixMicro(), ID: v.BatchID}
			return v, err
		})
		if err != nil {
			return err
		}
		return addParts(ctx, tx, tenant, out.Data)
	})
	if err != nil {
		return out, fmt.Errorf("list receipts: %w", err)
	}
	return out, nil
}

// addParts completes receipts of which only the id is known.
func addParts(ctx context.Context, tx pgx.Tx, tenant schemas.ID, list []api.Receipt) error {
	of, names := map[string]*api.Receipt{}, make([]string, len(list))
	for i := range list {
		names[i] = list[i].BatchID
		list[i] = api.Receipt{BatchID: names[i]}
		of[names[i]] = &list[i]
	}
	rows, err := tx.Query(ctx, `SELECT request_id, `+partColumns+` FROM ingest_batches WHERE tenant_id = $1 AND request_id = ANY($2) ORDER BY request_id, part`,
		uuidOf(tenant), names)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		part, err := scanPart(withFirst{rows, []any{&id}})
		if err != nil {
			return err
		}
		part.addTo(of[id])
	}
	for i := range list {
		list[i].Complete = list[i].PartsDone >= list[i].Parts
	}
	return rows.Err()
}

// Receipt adds up the parts of one request that have passed the normaliser.
// ErrNotFound: none has yet, or there never was such a request.
func (s *Store) Receipt(ctx context.Context, tenant schemas.ID, batchID string) (api.Receipt, error) {
	out := api.Receipt{BatchID: batchID}
	err := s.read(ctx, tenant, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT `+partColumns+` FROM ingest_batches WHERE tenant_id = $1 AND request_id = $2 ORDER BY part`,
			uuidOf(tenant), cleanText(batchID))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			part, err := scanPart(rows)
			if err != nil {
				return err
			}
			part.addTo(&out)
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

// part is one row of a receipt.
type part struct {
	api.Receipt
	root api.Root
}

func scanPart(r pgx.Row) (part, error) {
	var p part
	var sequence int64
	var rejections []byte
	err := r.Scan(&p.Parts, &p.root.Partition, &sequence, &p.ReceivedAt, &p.Points, &p.Accepted, &p.Duplicate, &p.Conflicting,
		&p.Late, &p.Rejected, &rejections, &p.Repeat, &p.Backfill, &p.Source)
	if err != nil {
		return p, err
	}
	p.root.Sequence = uint64(sequence)
	if len(rejections) > 0 {
		if err := json.Unmarshal(rejections, &p.Rejections); err != nil {
			return p, fmt.Errorf("decode rejections: %w", err)
		}
	}
	return p, nil
}

func (p part) addTo(out *api.Receipt) {
	if out.PartsDone == 0 || p.ReceivedAt.Before(out.ReceivedAt) {
		out.ReceivedAt = utc(p.ReceivedAt)
	}
	out.Roots = append(out.Roots, p.root)
	out.PartsDone++
	out.Parts = max(out.Parts, p.Parts)
	out.Points += p.Points
	out.Accepted += p.Accepted
	out.Duplicate += p.Duplicate
	out.Conflicting += p.Conflicting
	out.Late += p.Late
	out.Rejected += p.Rejected
	out.Repeat = out.Repeat || p.Repeat
	out.Backfill = out.Backfill || p.Backfill
	out.Source = p.Source
	out.Rejections = append(out.Rejections, p.Rejections[:min(len(p.Rejections), maxRejections-len(out.Rejections))]...)
}
