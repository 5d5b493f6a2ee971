package live

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
)

// Position is the next alert event of a partition: event N, counted over one
// tenant's events of a root.
type Position struct {
	Root uint64
	N    int
}

func (p Position) before(o Position) bool { return p.Root < o.Root || p.Root == o.Root && p.N < o.N }

// Cursor is a position per partition: what a subscriber was sent lies before it.
type Cursor []Position

// cursorVersion begins the encoding, so that another one can be told apart.
const cursorVersion = 1

// ErrBadCursor refuses an id that is none of ours.
var ErrBadCursor = errors.New("not an event id of this stream")

// String is the id of an event: opaque to clients.
func (c Cursor) String() string {
	b := binary.AppendUvarint([]byte{cursorVersion}, uint64(len(c)))
	for _, p := range c {
		b = binary.AppendUvarint(binary.AppendUvarint(b, p.Root), uint64(p.N))
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParseCursor reads what String wrote for the same number of partitions.
func ParseCursor(s string, partitions int) (Cursor, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) == 0 || b[0] != cursorVersion {
		return nil, ErrBadCursor
	}
	b = b[1:]
	next := func() (v uint64) {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			err, b = ErrBadCursor, nil
			return 0
		}
		b = b[n:]
		return v
	}
	if n := next(); err != nil || n != uint64(partitions) {
		return nil, ErrBadCursor
	}
	c := make(Cursor, partitions)
	for i := range c {
		root, n := next(), next()
		if root > 1<<62 || n > 1<<30 {
			return nil, ErrBadCursor
		}
		c[i] = Position{root, int(n)}
	}
	if err != nil || len(b) != 0 {
		return nil, ErrBadCursor
	}
	return c, nil
}
