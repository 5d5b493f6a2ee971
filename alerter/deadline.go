package alerter

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"math"

	"github.com/edgepulse/edgepulse/schemas"
)

const (
	second = int64(1_000_000) // in microseconds
	// maxTickGap is the longest distance between ticks, in seconds, that is not an outage of ours.
	maxTickGap = 5
	// atOnce is the deadline of a watch that must be looked at again; never that of one that has none.
	atOnce = math.MinInt64
	never  = math.MaxInt64
)

// clock is the partition's time: the last tick, and how much of the time before
// it was an outage of ours. Deadlines live on the clock without outages.
type clock struct {
	second int64 // of the last tick
	lost   int64 // microseconds of outages so far
}

// advance moves the clock to a tick; a tick that lies behind is ignored.
func (c *clock) advance(to int64) bool {
	if to <= c.second {
		return false
	}
	if gap := to - c.second; c.second > 0 && gap > maxTickGap {
		c.lost += gap * second
	}
	c.second = to
	return true
}

// now is the time of the last tick in microseconds; a nil clock has not begun.
func (c *clock) now() int64 {
	if c == nil {
		return 0
	}
	return c.second * second
}

// running converts an instant of the gateway's clock to the clock without outages.
func (c *clock) running(at int64) int64 {
	if c == nil {
		return at
	}
	return at - c.lost
}

// AppendState implements stream.Record.
func (c *clock) AppendState(b []byte) []byte {
	return binary.AppendVarint(binary.AppendVarint(b, c.second), c.lost)
}

// DecodeState implements stream.Record.
func (c *clock) DecodeState(b []byte) error {
	var n, m int
	c.second, n = binary.Varint(b)
	if n > 0 {
		c.lost, m = binary.Varint(b[n:])
	}
	if n <= 0 || m <= 0 {
		return errors.New("decode clock: truncated")
	}
	return nil
}

// deadlines is a heap of watches by (deadline, key): a total order, so what is
// due comes in the same sequence whatever order it was put in.
type deadlines struct {
	items *deadlineHeap
}

type deadline struct {
	at    int64
	key   schemas.ID
	index int
}

func newDeadlines() deadlines {
	return deadlines{&deadlineHeap{byKey: map[schemas.ID]*deadline{}}}
}

// set moves or adds a watch; never removes it.
func (d deadlines) set(key schemas.ID, at int64) {
	h := d.items
	item := h.byKey[key]
	switch {
	case at == never && item == nil:
	case at == never:
		heap.Remove(h, item.index)
		delete(h.byKey, key)
	case item == nil:
		item = &deadline{at: at, key: key}
		h.byKey[key] = item
		heap.Push(h, item)
	case item.at != at:
		item.at = at
		heap.Fix(h, item.index)
	}
}

// next returns the first watch that is due at an instant.
func (d deadlines) next(at int64) (schemas.ID, bool) {
	if len(d.items.list) == 0 || d.items.list[0].at > at {
		return schemas.Nil, false
	}
	return d.items.list[0].key, true
}

type deadlineHeap struct {
	list  []*deadline
	byKey map[schemas.ID]*deadline
}

func (h *deadlineHeap) Len() int { return len(h.list) }
func (h *deadlineHeap) Less(i, j int) bool {
	a, b := h.list[i], h.list[j]
	if a.at != b.at {
		return a.at < b.at
	}
	return a.key.Compare(b.key) < 0
}
func (h *deadlineHeap) Swap(i, j int) {
	h.list[i], h.list[j] = h.list[j], h.list[i]
	h.list[i].index, h.list[j].index = i, j
}
func (h *deadlineHeap) Push(x any) {
	item := x.(*deadline)
	item.index = len(h.list)
	h.list = append(h.list, item)
}
func (h *deadlineHeap) Pop() any {
	last := h.list[len(h.list)-1]
	h.list[len(h.list)-1] = nil
	h.list = h.list[:len(h.list)-1]
	return last
}
