package alerter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/edgepulse/edgepulse/schemas"
)

// watch is the state of one rule on one metric. It exists while the rule's
// condition holds, an alert is open, or a cool-down runs; instants are event
// time unless said otherwise.
type watch struct {
	tenant, rule, metric, device schemas.ID

	ruleName string         // of the last event: a deleted rule has none to ask
	at       int64          // newest event time seen
	lag      int64          // distance from event time to the clock without outages, when last heard
	deadline int64          // on the clock without outages; never = only a score can change anything
	last     *schemas.Score // the newest score, while the condition holds or an alert is open

	// Before an alert, and in the cool-down after one.
	firing    bool
	since     int64 // the condition holds since, when firing
	coolUntil int64

	// The alert, when open; openedAt and repeat outlive it until the watch goes.
	open       bool
	alert      schemas.ID
	openedAt   int64
	repeat     uint32 // how many alerts opened at openedAt before this one
	root       uint64 // of the opening
	transition uint32 // ordinal of the next event
	severity   schemas.Severity
	label      schemas.Label
	subLabel   schemas.SubLabel
	below      bool
	belowSince int64
	emittedAt  int64  // of the last event
	notified   bool   // somebody was told of this alert
	mutedUntil int64  // end of the silence that held back the last event; 0 = none
	heldBackBy string // why the last event was not notified
}

// backfill tells whether the newest score was one of the past.
func (w *watch) backfill() bool { return w.last != nil && w.last.Backfill }

// hear takes the times of a new score.
func (w *watch) hear(s *schemas.Score, receivedAt int64) {
	w.at = max(w.at, s.Ts)
	w.lag = receivedAt - w.at
}

// opensAt is when the condition will have held long enough, outside the cool-down.
func (w *watch) opensAt(r *schemas.AlertRule) int64 { return max(w.since+r.ForUs, w.coolUntil) }

// idleAt is when a watch without condition or alert has nothing more to remember:
// after the cool-down, and after the instant at which it last opened, whose
// ordinal it keeps.
func (w *watch) idleAt() int64 { return max(w.coolUntil, w.openedAt+1) }

// nextDeadline is when time alone changes something.
func (w *watch) nextDeadline(r *schemas.AlertRule) int64 {
	at := int64(never)
	switch {
	case w.open:
		if w.below {
			at = w.belowSince + r.ResolveAfterUs
		}
		if w.mutedUntil != 0 {
			at = min(at, w.mutedUntil)
		}
	case w.firing && w.backfill():
		// The past does not go on by our clock: only the next score tells.
	case w.firing:
		at = w.opensAt(r)
	default:
		at = w.idleAt()
	}
	if at == never {
		return never
	}
	return at + w.lag
}

// The encoding of a watch: fixed identifiers, varints, one byte of flags, and the last score.
const (
	flagFiring = 1 << iota
	flagOpen
	flagBelow
	flagNotified
	flagScore
)

// AppendState implements stream.Record.
func (w *watch) AppendState(b []byte) []byte {
	var flags byte
	for _, f := range []struct {
		set bool
		bit byte
	}{{w.firing, flagFiring}, {w.open, flagOpen}, {w.below, flagBelow}, {w.notified, flagNotified}, {w.last != nil, flagScore}} {
		if f.set {
			flags |= f.bit
		}
	}
	b = append(b, flags)
	for _, id := range []*schemas.ID{&w.tenant, &w.rule, &w.metric, &w.device, &w.alert} {
		b = append(b, id[:]...)
	}
	for _, v := range []int64{w.at, w.lag, w.deadline, w.since, w.coolUntil, w.openedAt, w.belowSince, w.emittedAt, w.mutedUntil} {
		b = binary.AppendVarint(b, v)
	}
	for _, v := range []uint64{uint64(w.repeat), w.root, uint64(w.transition), uint64(w.severity), uint64(w.label), uint64(w.subLabel)} {
		b = binary.AppendUvarint(b, v)
	}
	for _, text := range []string{w.ruleName, w.heldBackBy} {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	if w.last != nil {
		b = appendMessage(b, w.last)
	}
	return b
}

// DecodeState implements stream.Record.
func (w *watch) DecodeState(b []byte) error {
	d := decoder{rest: b}
	flags := d.bytes(1)[0]
	w.firing, w.open = flags&flagFiring != 0, flags&flagOpen != 0
	w.below, w.notified = flags&flagBelow != 0, flags&flagNotified != 0
	for _, id := range []*schemas.ID{&w.tenant, &w.rule, &w.metric, &w.device, &w.alert} {
		copy(id[:], d.bytes(len(id)))
	}
	for _, v := range []*int64{&w.at, &w.lag, &w.deadline, &w.since, &w.coolUntil, &w.openedAt, &w.belowSince, &w.emittedAt, &w.mutedUntil} {
		*v = d.varint()
	}
	w.repeat, w.root, w.transition = uint32(d.uvarint()), d.uvarint(), uint32(d.uvarint())
	w.severity, w.label = schemas.Severity(d.uvarint()), schemas.Label(d.uvarint())
	w.subLabel = schemas.SubLabel(d.uvarint())
	for _, text := range []*string{&w.ruleName, &w.heldBackBy} {
		*text = string(d.bytes(int(min(d.uvarint(), math.MaxInt32))))
	}
	if d.failed {
		return errors.New("decode watch: truncated")
	}
	w.last = nil
	if flags&flagScore != 0 {
		w.last = new(schemas.Score)
		if err := w.last.UnmarshalVT(d.rest); err != nil {
			return fmt.Errorf("decode watch: %w", err)
		}
	}
	return nil
}

// decoder reads from bytes that may be damaged: past the end it answers zeros and says so.
type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) bytes(n int) []byte {
	if n > len(d.rest) {
		d.failed = true
		return make([]byte, 1)
	}
	out := d.rest[:n]
	d.rest = d.rest[n:]
	return out
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	return v * d.skip(n)
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	return v * uint64(d.skip(n))
}

// skip passes n bytes and answers 1, or 0 when there was no number.
func (d *decoder) skip(n int) int64 {
	if n <= 0 {
		d.failed = true
		return 0
	}
	d.rest = d.rest[n:]
	return 1
}

// message is a generated message of the log.
type message interface {
	SizeVT() int
	MarshalToSizedBufferVT([]byte) (int, error)
}

// appendMessage appends a message's encoding, which is canonical: the log has no maps.
func appendMessage(b []byte, m message) []byte {
	n := m.SizeVT()
	start := len(b)
	b = append(b, make([]byte, n)...)
	if _, err := m.MarshalToSizedBufferVT(b[start:]); err != nil {
		// Only a message that was changed while being encoded can fail here.
		panic("encode state: " + err.Error())
	}
	return b
}
