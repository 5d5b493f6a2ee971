package stream

import (
	"context"
	"errors"
)

// ErrBlobNotFound and ErrBlobExists are what Blobs answers for a missing object
// and for a second creation of the same one.
var (
	ErrBlobNotFound = errors.New("object not found")
	ErrBlobExists   = errors.New("object exists already")
)

// Blobs is an object store: a folder, S3 or R2. Objects are immutable and
// complete: a reader never sees half of one.
type Blobs interface {
	// Create writes an object durably; ErrBlobExists when the name is taken.
	Create(ctx context.Context, name string, data []byte) error
	// Get reads an object; ErrBlobNotFound when there is none.
	Get(ctx context.Context, name string) ([]byte, error)
	// GetRange reads n bytes from offset.
	GetRange(ctx context.Context, name string, offset, n int64) ([]byte, error)
	// List returns all names with a prefix, ascending.
	List(ctx context.Context, prefix string) ([]string, error)
	// Delete removes an object; removing a missing one is no error.
	Delete(ctx context.Context, name string) error
}
