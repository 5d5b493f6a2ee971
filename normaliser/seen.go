package normaliser

import (
	"encoding/binary"
	"errors"
	"slices"
)

// seen remembers which timestamps of a metric were accepted: exactly, for ever,
// for a metric that keeps a rhythm, and for the newest part of one that doesn't.
//
// Timestamps are kept as runs (start, step, count): a year of half-hourly values
// is one run. When the runs exceed their number the oldest is forgotten; what is
// older than that can't be told from a duplicate any more and counts as new
// (readers then take the row with the lowest root).
type seen struct {
	runs []run // ascending by start; they may overlap when points came late
	room []run // the memory of runs once they are many, which then move through it
}

type run struct {
	start, step int64 // step 0 while the run has a single point
	count       int64
}

const maxRuns = 96

func (r run) end() int64 { return r.start + r.step*(r.count-1) }

func (r run) has(ts int64) bool {
	if ts < r.start || ts > r.end() {
		return false
	}
	return r.step == 0 || (ts-r.start)%r.step == 0
}

// has tells whether a timestamp was accepted before.
func (s *seen) has(ts int64) bool {
	// Newest first: that is where a retry falls.
	for i := len(s.runs) - 1; i >= 0; i-- {
		if s.runs[i].has(ts) {
			return true
		}
	}
	return false
}

// add records a timestamp that has not been seen.
func (s *seen) add(ts int64) {
	for i := len(s.runs) - 1; i >= 0; i-- {
		r := &s.runs[i]
		if ts > r.end() && r.take(ts) {
			return
		}
		if ts > r.end() && i == len(s.runs)-1 {
			break // a new newest point that continues nothing
		}
	}
	if n := len(s.runs); n == 0 || ts > s.runs[n-1].start {
		s.append(run{start: ts, count: 1})
		return
	}
	i, _ := slices.BinarySearchFunc(s.runs, ts, func(r run, ts int64) int {
		if r.start < ts {
			return -1
		}
		return 1
	})
	s.runs = slices.Insert(s.runs, i, run{start: ts, count: 1})
	if len(s.runs) > maxRuns {
		s.runs = slices.Delete(s.runs, 0, 1)
	}
}

// append adds the newest run. A metric without a rhythm does it at every other
// point: the oldest run then goes without moving all the others.
func (s *seen) append(r run) {
	if len(s.runs) == maxRuns {
		s.runs = s.runs[1:]
		if len(s.runs) == cap(s.runs) {
			if s.room == nil {
				s.room = make([]run, maxRuns+runSlack)
			}
			s.runs = s.room[:copy(s.room, s.runs)]
		}
	}
	s.runs = append(s.runs, r)
}

// runSlack is how many runs go by until they are copied to the front.
const runSlack = 32

// take extends a run by the timestamp that continues it.
func (r *run) take(ts int64) bool {
	gap := ts - r.end()
	switch {
	case r.count == 1 && gap <= 1<<45:
		r.step = gap
	case gap != r.step:
		return false
	}
	r.count++
	return true
}

func (s *seen) appendState(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s.runs)))
	last := int64(0)
	for _, r := range s.runs {
		b = binary.AppendVarint(b, r.start-last)
		b = binary.AppendUvarint(b, uint64(r.step))
		b = binary.AppendUvarint(b, uint64(r.count))
		last = r.start
	}
	return b
}

var errState = errors.New("damaged state")

func (s *seen) decodeState(b []byte) ([]byte, error) {
	d := stateDecoder{b: b}
	n := d.uvarint()
	if n > maxRuns {
		return nil, errState
	}
	s.runs = make([]run, 0, n)
	last := int64(0)
	for range n {
		r := run{start: last + d.varint(), step: int64(d.uvarint()), count: int64(d.uvarint())}
		if r.count < 1 || r.step < 0 || (r.step == 0) != (r.count == 1) {
			return nil, errState
		}
		last = r.start
		s.runs = append(s.runs, r)
	}
	return d.b, d.err
}

// stateDecoder reads the fields of a record; after the first fault it yields zeros.
type stateDecoder struct {
	b   []byte
	err error
}

func (d *stateDecoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.b, d.err = nil, errState
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *stateDecoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.b, d.err = nil, errState
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *stateDecoder) bytes(n uint64) []byte {
	if uint64(len(d.b)) < n {
		d.b, d.err = nil, errState
		return make([]byte, min(n, 64))
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *stateDecoder) text() string { return string(d.bytes(d.uvarint())) }

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
