package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// ListDeadLetters lists a tenant's entries that a stage could not take, the
// highest root first, without the entries themselves.
func (s *Store) ListDeadLetters(ctx context.Context, tenant schemas.ID, pr api.PageRequest) (api.Page[api.DeadLetter], error) {
	var out api.Page[api.DeadLetter]
	p, err := readPage("dead", pr, maxLimit)
	if err != nil {
		return out, err
	}
	var q query
	q.add(`SELECT stage, partition, root, index, reason, detail, tenant_id, NULL::bytea FROM dead_letters WHERE tenant_id = ?`, uuidOf(tenant))
	if p.after != nil {
		stage, partition, index, err := deadKey(p.after)
		if err != nil {
			return out, ErrBadCursor
		}
		q.add(" AND (root, partition, stage, index) < (?, ?, ?, ?)", p.after.Root, partition, stage, index)
	}
	q.add(" ORDER BY root DESC, partition DESC, stage DESC, index DESC")
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		out, err = collect(ctx, tx, &q, p, scanDeadLetter)
		return err
	})
	if err != nil {
		return out, fmt.Errorf("list dead letters: %w", err)
	}
	return out, nil
}

// DeadLetter finds one with its entry: as JSON where it can be decoded, else
// {"base64": ...} of what is kept of it.
func (s *Store) DeadLetter(ctx context.Context, tenant schemas.ID, stage string, partition int, root uint64, index uint32) (api.DeadLetter, error) {
	var out api.DeadLetter
	err := s.read(ctx, tenant, func(tx pgx.Tx) error {
		var err error
		out, err = scanDeadLetter(tx.QueryRow(ctx, `SELECT stage, partition, root, index, reason, detail, tenant_id, entry
			FROM dead_letters WHERE tenant_id = $1 AND stage = $2 AND partition = $3 AND root = $4 AND index = $5`,
			uuidOf(tenant), cleanText(stage), int64(partition), int64(root), int64(index)), &cursor{})
		return orNotFound(err)
	})
	if err != nil {
		return api.DeadLetter{}, fmt.Errorf("find dead letter: %w", err)
	}
	return out, nil
}

// deadKey is the part of the sort key that a cursor packs into one text.
func deadKey(c *cursor) (stage string, partition, index int64, err error) {
	parts := strings.SplitN(c.Dead, ":", 3)
	if len(parts) != 3 {
		return "", 0, 0, ErrBadCursor
	}
	if partition, err = strconv.ParseInt(parts[0], 10, 16); err != nil {
		return "", 0, 0, err
	}
	index, err = strconv.ParseInt(parts[1], 10, 32)
	return parts[2], partition, index, err
}

func scanDeadLetter(r pgx.Row, c *cursor) (api.DeadLetter, error) {
	var d api.DeadLetter
	var tenant pgtype.UUID
	var root int64
	var index int32
	var entry []byte
	if err := r.Scan(&d.Stage, &d.Partition, &root, &index, &d.Reason, &d.Detail, &tenant, &entry); err != nil {
		return d, err
	}
	d.Root, d.Index, d.TenantID = uint64(root), uint32(index), uuidText(tenant)
	var err error
	if entry != nil {
		d.Entry, err = entryJSON(entry)
	}
	*c = cursor{List: "dead", Root: root, Dead: fmt.Sprintf("%d:%d:%s", d.Partition, index, d.Stage)}
	return d, err
}

func entryJSON(b []byte) (json.RawMessage, error) {
	var e schemas.Entry
	if err := e.UnmarshalVT(b); err == nil {
		if doc, err := protojson.Marshal(&e); err == nil {
			return doc, nil
		}
	}
	doc, err := json.Marshal(map[string][]byte{"base64": b})
	if err != nil {
		return nil, fmt.Errorf("encode entry: %w", err)
	}
	return doc, nil
}
