package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// ErrOtherBody says that an Idempotency-Key stands for another body.
var ErrOtherBody = errors.New("the idempotency key stands for another body")

// keepCreated is how long an Idempotency-Key of the API is remembered.
const keepCreated = 24 * time.Hour

// createdBefore claims a request's key for the thing that is about to be made, in
// the transaction that makes it. Where the key has made one already, it returns
// that one's id; a request that is still in work is waited for.
func createdBefore(ctx context.Context, tx pgx.Tx, tenant schemas.ID, kind string, k api.RequestKey, id schemas.ID) (schemas.ID, bool, error) {
	if k.Key == "" {
		return schemas.Nil, false, nil
	}
	_, err := tx.Exec(ctx, `DELETE FROM created_things WHERE tenant_id = $1 AND kind = $2 AND idempotency_key = $3 AND created_at < now() - $4::interval`,
		uuidOf(tenant), kind, k.Key, keepCreated)
	if err != nil {
		return schemas.Nil, false, err
	}
	tag, err := tx.Exec(ctx, `INSERT INTO created_things (tenant_id, kind, idempotency_key, body_sha256, thing_id) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT DO NOTHING`, uuidOf(tenant), kind, k.Key, k.Sum[:], uuidOf(id))
	if err != nil || tag.RowsAffected() == 1 {
		return schemas.Nil, false, err
	}
	var before pgtype.UUID
	var sum []byte
	err = tx.QueryRow(ctx, `SELECT thing_id, body_sha256 FROM created_things WHERE tenant_id = $1 AND kind = $2 AND idempotency_key = $3`,
		uuidOf(tenant), kind, k.Key).Scan(&before, &sum)
	if err != nil {
		return schemas.Nil, false, fmt.Errorf("read idempotency key: %w", err)
	}
	if !bytes.Equal(sum, k.Sum[:]) {
		return schemas.Nil, false, ErrOtherBody
	}
	return before.Bytes, true, nil
}
