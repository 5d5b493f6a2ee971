package stream

import (
	"fmt"
	"slices"

	"github.com/edgepulse/edgepulse/schemas"
)

// Record is one value of a fold's state. AppendState is canonical: equal values
// give equal bytes, on every run. DecodeState must refuse damaged bytes with an
// error and never panic; a decoded record continues bit for bit where the
// encoded one stood.
type Record interface {
	AppendState(b []byte) []byte
	DecodeState(b []byte) error
}

// State is the keyed state of a fold: tables of records. The runner snapshots it
// in the background while the fold goes on (copy on write per record), so a fold
// announces every change with Touch or Delete before it makes it.
//
// A State belongs to one goroutine.
type State struct {
	tables    []recordTable
	epoch     uint64  // rises with every capture
	dirty     []*slot // changed since the last capture began
	capture   *capture
	onRestore []func()
}

type recordTable interface {
	tableName() string
	load(key schemas.ID, b []byte) error
	clear()
	bury(s *slot)
	each(func(*slot))
}

// slot holds one record and what the snapshotter must know of it.
type slot struct {
	table    uint8
	dead     bool // deleted, kept until a capture has recorded it
	key      schemas.ID
	rec      Record
	epoch    uint64 // capture epoch of the last change
	captured uint64 // capture epoch for which the record was encoded
}

// NewState makes an empty state.
func NewState() *State { return &State{epoch: 1} }

// OnRestore registers what rebuilds derived structures (heaps, indexes) after
// all records were loaded, or after the state was emptied.
func (s *State) OnRestore(f func()) { s.onRestore = append(s.onRestore, f) }

// Table is a keyed set of records of one type.
type Table[V Record] struct {
	state *State
	index uint8
	name  string
	make  func() V
	slots map[schemas.ID]*typedSlot[V]
	live  int
}

type typedSlot[V Record] struct {
	slot
	v V
}

// NewTable adds a table to a state. Names are part of the snapshot format.
func NewTable[V Record](s *State, name string, makeRecord func() V) *Table[V] {
	for _, t := range s.tables {
		if t.tableName() == name {
			panic("stream: table " + name + " registered twice")
		}
	}
	t := &Table[V]{state: s, index: uint8(len(s.tables)), name: name, make: makeRecord,
		slots: map[schemas.ID]*typedSlot[V]{}}
	s.tables = append(s.tables, t)
	return t
}

// Get returns a record for reading only.
func (t *Table[V]) Get(key schemas.ID) (V, bool) {
	if sl, ok := t.slots[key]; ok && !sl.dead {
		return sl.v, true
	}
	var none V
	return none, false
}

// Touch returns a record for changing, created when missing. The pointer is
// good for this entry only: the next entry must touch again.
func (t *Table[V]) Touch(key schemas.ID) V {
	v, _ := t.Find(key).Touch()
	return v
}

// Place is where a record is or would be: found once, then read and changed. It
// is good until the table's next Touch of another place or Delete.
type Place[V Record] struct {
	table *Table[V]
	key   schemas.ID
	slot  *typedSlot[V]
}

// Find looks a key up.
func (t *Table[V]) Find(key schemas.ID) Place[V] { return Place[V]{t, key, t.slots[key]} }

// Get returns the record for reading only.
func (p Place[V]) Get() (V, bool) {
	if p.slot != nil && !p.slot.dead {
		return p.slot.v, true
	}
	var none V
	return none, false
}

// Touch returns the record for changing, created when missing, and whether it was there.
func (p Place[V]) Touch() (v V, known bool) {
	t, key, sl := p.table, p.key, p.slot
	known = sl != nil && !sl.dead
	if sl == nil {
		v := t.make()
		sl = &typedSlot[V]{slot: slot{table: t.index, key: key, rec: v}, v: v}
		t.slots[key] = sl
		t.live++
	}
	t.state.change(&sl.slot)
	if sl.dead {
		sl.dead = false
		sl.v = t.make()
		sl.rec = sl.v
		t.live++
	}
	return sl.v, known
}

// Delete removes a record.
func (t *Table[V]) Delete(key schemas.ID) {
	sl, ok := t.slots[key]
	if !ok || sl.dead {
		return
	}
	t.state.change(&sl.slot)
	sl.dead = true
	t.live--
}

// Len is the number of records.
func (t *Table[V]) Len() int { return t.live }

// Keys returns all keys in ascending order: the only way to walk a table, since
// the order of a map would differ from run to run.
func (t *Table[V]) Keys() []schemas.ID {
	keys := make([]schemas.ID, 0, t.live)
	for k, sl := range t.slots {
		if !sl.dead {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, schemas.ID.Compare)
	return keys
}

func (t *Table[V]) tableName() string { return t.name }

func (t *Table[V]) load(key schemas.ID, b []byte) error {
	v := t.make()
	if err := v.DecodeState(b); err != nil {
		return fmt.Errorf("restore %s/%s: %w", t.name, key, err)
	}
	if sl, ok := t.slots[key]; ok {
		sl.v, sl.rec = v, v
		return nil
	}
	t.slots[key] = &typedSlot[V]{slot: slot{table: t.index, key: key, rec: v}, v: v}
	t.live++
	return nil
}

func (t *Table[V]) clear() {
	clear(t.slots)
	t.live = 0
}

func (t *Table[V]) bury(s *slot) {
	if sl, ok := t.slots[s.key]; ok && &sl.slot == s && sl.dead {
		delete(t.slots, s.key)
	}
}

// change marks a slot as about to change; a capture that still needs its
// present value takes it now.
func (s *State) change(sl *slot) {
	if sl.epoch == s.epoch {
		return
	}
	if s.capture != nil && sl.epoch == s.epoch-1 && sl.captured != sl.epoch {
		s.capture.take(sl)
	}
	sl.epoch = s.epoch
	s.dirty = append(s.dirty, sl)
}

// reset empties the state.
func (s *State) reset() {
	for _, t := range s.tables {
		t.clear()
	}
	s.dirty, s.capture = nil, nil
	s.epoch = 1
}

// capture is the set of records changed before one root, being encoded little
// by little while the fold goes on.
type capture struct {
	root    uint64
	pending []*slot
	next    int
	records []record
	arena   []byte
	encoded int // bytes, over all arenas
}

// record is one encoded record; nil bytes = deleted.
type record struct {
	table uint8
	key   schemas.ID
	bytes []byte
}

// beginCapture fixes the state as it is now, at root.
func (s *State) beginCapture(root uint64) {
	s.capture = &capture{root: root, pending: s.dirty}
	s.dirty = nil
	s.epoch++
}

// stepCapture encodes about n bytes more and tells whether all is encoded.
func (s *State) stepCapture(n int) bool {
	c := s.capture
	for until := c.encoded + n; c.next < len(c.pending) && c.encoded < until; c.next++ {
		sl := c.pending[c.next]
		if sl.captured != s.epoch-1 {
			c.take(sl)
			if sl.dead && sl.epoch == s.epoch-1 {
				s.tables[sl.table].bury(sl)
			}
		}
	}
	return c.next == len(c.pending)
}

// endCapture hands the encoded records over.
func (s *State) endCapture() *capture {
	c := s.capture
	s.capture = nil
	c.pending = nil
	return c
}

func (c *capture) take(sl *slot) {
	sl.captured = sl.epoch
	if sl.dead {
		c.records = append(c.records, record{table: sl.table, key: sl.key})
		return
	}
	start := len(c.arena)
	if cap(c.arena)-start < 64<<10 {
		c.arena = make([]byte, 0, 1<<20) // earlier records keep the old block alive
		start = 0
	}
	grown := sl.rec.AppendState(c.arena)
	bytes := grown[start:len(grown):len(grown)]
	if bytes == nil {
		bytes = []byte{}
	}
	c.records = append(c.records, record{table: sl.table, key: sl.key, bytes: bytes})
	c.arena = grown
	c.encoded += len(bytes)
}

// touchAll marks every record as changed, so that the next capture is complete.
func (s *State) touchAll() {
	for _, t := range s.tables {
		t.each(s.change)
	}
}

// CopyState loads the records of one state into another with the same tables, by
// way of their encoded form: a restart without a snapshot file.
func CopyState(to, from *State) error {
	to.reset()
	var err error
	for i, t := range from.tables {
		t.each(func(sl *slot) {
			if err != nil || sl.dead {
				return
			}
			if i >= len(to.tables) {
				err = fmt.Errorf("table %s is unknown", t.tableName())
				return
			}
			err = to.tables[i].load(sl.key, sl.rec.AppendState(nil))
		})
	}
	if err != nil {
		return err
	}
	for _, f := range to.onRestore {
		f()
	}
	to.touchAll()
	return nil
}

func (t *Table[V]) each(f func(*slot)) {
	for _, sl := range t.slots {
		f(&sl.slot)
	}
}

// Dump is all that a state holds, as a snapshot would have it, keys included: for
// those who must know that something is not in it.
func Dump(s *State) []byte {
	var records []record
	for _, t := range s.tables {
		t.each(func(sl *slot) {
			if !sl.dead {
				records = append(records, record{table: sl.table, key: sl.key, bytes: sl.rec.AppendState(nil)})
			}
		})
	}
	sortRecords(records)
	var out []byte
	for _, r := range records {
		out = append(append(append(out, r.table), r.key[:]...), r.bytes...)
	}
	return out
}
