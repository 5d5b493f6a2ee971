package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/schemas"
)

// dataKeys are the tenants' keys as the archive asks for them.
type dataKeys struct{ k *store.DataKeys }

// ArchiveKeys is nil where this process can't open any: without database or secret key.
func ArchiveKeys(k *store.DataKeys) archive.Keys {
	if k == nil {
		return nil
	}
	return dataKeys{k}
}

func (d dataKeys) SealingKey(ctx context.Context, tenant schemas.ID) (archive.DataKey, error) {
	return asArchived(d.k.Sealing(ctx, tenant))
}

func (d dataKeys) OpeningKey(ctx context.Context, id schemas.ID) (archive.DataKey, error) {
	return asArchived(d.k.Opening(ctx, id))
}

func asArchived(k store.DataKey, err error) (archive.DataKey, error) {
	if errors.Is(err, store.ErrDestroyed) {
		err = fmt.Errorf("%w: %w", archive.ErrErased, err)
	}
	return archive.DataKey{ID: k.ID, Key: k.Key}, err
}
