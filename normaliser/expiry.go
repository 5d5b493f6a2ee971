package normaliser

import (
	"container/heap"

	"github.com/edgepulse/edgepulse/schemas"
)

// expiry orders keys by a deadline, equal deadlines by key, so that what a tick
// does never depends on the order in which keys were added.
type expiry struct{ items deadlines }

type deadline struct {
	at  int64
	key schemas.ID
}

type deadlines []deadline

func (d deadlines) Len() int      { return len(d) }
func (d deadlines) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d deadlines) Less(i, j int) bool {
	if d[i].at != d[j].at {
		return d[i].at < d[j].at
	}
	return d[i].key.Compare(d[j].key) < 0
}
func (d *deadlines) Push(x any) { *d = append(*d, x.(deadline)) }
func (d *deadlines) Pop() any {
	last := (*d)[len(*d)-1]
	*d = (*d)[:len(*d)-1]
	return last
}

func (e *expiry) push(at int64, key schemas.ID) { heap.Push(&e.items, deadline{at, key}) }

// pop returns the first key whose deadline has come.
func (e *expiry) pop(now int64) (schemas.ID, bool) {
	if len(e.items) == 0 || e.items[0].at > now {
		return schemas.Nil, false
	}
	return heap.Pop(&e.items).(deadline).key, true
}
