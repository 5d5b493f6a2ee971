package deliverer

import (
	"fmt"

	"github.com/edgepulse/edgepulse/schemas"
)

// Ledger reads one partition of DELIVERIES from outside, to tell what of it a
// deliverer would still need after a restart: all from the oldest plan that is
// pending on. It belongs to one goroutine.
type Ledger struct {
	book *book
	at   map[schemas.ID]uint64 // sequence of the plan, by webhook id
	read uint64
}

// NewLedger makes an empty one.
func NewLedger() *Ledger { return &Ledger{book: newBook(), at: map[schemas.ID]uint64{}} }

// Take reads the entries of a message; messages come in order.
func (l *Ledger) Take(seq uint64, entries [][]byte) error {
	for _, raw := range entries {
		e := &schemas.Entry{}
		if err := e.UnmarshalVT(raw); err != nil {
			return fmt.Errorf("read message %d of DELIVERIES: %w", seq, err)
		}
		f := e.GetDelivery()
		if f == nil {
			continue
		}
		if err := l.book.apply(f); err != nil {
			return fmt.Errorf("read message %d of DELIVERIES: %w", seq, err)
		}
		id, err := schemas.IDFrom(f.WebhookId)
		if err != nil {
			continue // of an endpoint, not of a delivery
		}
		if l.book.byWebhook[id] == nil {
			delete(l.at, id)
		} else if l.at[id] == 0 {
			l.at[id] = seq
		}
	}
	l.read = seq
	return nil
}

// Read is the last message taken.
func (l *Ledger) Read() uint64 { return l.read }

// Ended is the last message that nothing pending needs.
func (l *Ledger) Ended() uint64 {
	ended := l.read
	for _, seq := range l.at {
		ended = min(ended, seq-1)
	}
	return ended
}
