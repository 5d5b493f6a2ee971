package stream

import "github.com/edgepulse/edgepulse/schemas"

// Fold is the pure core of a stage: (state, entry) -> (state, outputs).
//
// Apply must depend on nothing but the state and its arguments: no clock, no
// I/O, no unseeded randomness, no map order. It never learns where a commit
// ends. Zero outputs are normal. An error means the entry could not be taken:
// the runner records a dead letter in its place and goes on; Apply must then
// have left the state as it was. The bytes of in.Bytes are valid only during the call.
type Fold interface {
	Apply(in Input, out *Outputs) error
	// State is the keyed state that the runner snapshots and restores.
	State() *State
}

// Input is one entry of the log a stage reads.
type Input struct {
	Partition int
	Root      uint64
	Index     int // of the entry within its root
	Bytes     []byte
}

// Outputs collects what a fold emits for one root, in order.
type Outputs struct {
	entries [][]byte
	size    int
	arena   []byte

	received int64 // earliest receipt, in microseconds, among what was emitted; 0 = none
}

// Emit appends one entry.
func (o *Outputs) Emit(e *schemas.Entry) {
	n := e.SizeVT()
	buf := o.grow(n)
	if _, err := e.MarshalToSizedBufferVT(buf); err != nil {
		// Only a message that was changed while being encoded can fail here.
		panic("encode entry: " + err.Error())
	}
	o.entries = append(o.entries, buf)
	o.size += n
	if at := receivedAt(e); at != 0 && (o.received == 0 || at < o.received) {
		o.received = at
	}
}

// receivedAt is when the request behind an output was received; 0 where a tick or
// a backfill caused it: their delay says nothing about the service.
func receivedAt(e *schemas.Entry) int64 {
	switch k := e.Kind.(type) {
	case *schemas.Entry_Points:
		if !k.Points.Backfill {
			return k.Points.ReceivedAt
		}
	case *schemas.Entry_Features:
		if !k.Features.Backfill && !k.Features.Tick {
			return k.Features.ReceivedAt
		}
	case *schemas.Entry_Score:
		if !k.Score.Backfill && !k.Score.Tick {
			return k.Score.ReceivedAt
		}
	case *schemas.Entry_AlertEvent:
		if !k.AlertEvent.Backfill {
			return k.AlertEvent.ReceivedAt
		}
	}
	return 0
}

// Forward appends an encoded entry verbatim: ticks, controls, declarations.
func (o *Outputs) Forward(entry []byte) {
	buf := o.grow(len(entry))
	copy(buf, entry)
	o.entries = append(o.entries, buf)
	o.size += len(entry)
}

// Len is the number of entries collected since the last Reset.
func (o *Outputs) Len() int { return len(o.entries) }

// Entries are the encoded entries; valid until Reset.
func (o *Outputs) Entries() [][]byte { return o.entries }

// Reset forgets all entries and keeps the memory.
func (o *Outputs) Reset() {
	o.entries = o.entries[:0]
	o.size, o.received = 0, 0
	o.arena = o.arena[len(o.arena):]
}

// truncate drops the entries from i on: outputs of an entry that turned out to be a dead letter.
func (o *Outputs) truncate(i int) {
	for _, e := range o.entries[i:] {
		o.size -= len(e)
	}
	o.entries = o.entries[:i]
}

// release gives the memory of the entries away: a commit in flight holds on to them.
func (o *Outputs) release() {
	o.arena = o.arena[len(o.arena):]
	o.entries = o.entries[:0]
	o.size, o.received = 0, 0
}

func (o *Outputs) grow(n int) []byte {
	if len(o.arena)+n > cap(o.arena) {
		// Earlier entries keep pointing into the old block; it lives as long as they do.
		o.arena = make([]byte, 0, max(64<<10, n))
	}
	start := len(o.arena)
	o.arena = o.arena[:start+n]
	return o.arena[start : start+n : start+n]
}
