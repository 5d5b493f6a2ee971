package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// LogStatus is one stream as `edgepulse status` shows it.
type LogStatus struct {
	Log       LogName
	Partition int
	Root      uint64 // last root it covers
	Epoch     uint64 // of its owner; 0 for INGEST
	Owner     string // process that made its last commit
	Messages  uint64
	Bytes     uint64
	MaxBytes  int64
	FirstSeq  uint64
	LastSeq   uint64
	LastAt    time.Time
	Created   time.Time
}

// Status looks at every log.
func (b *Broker) Status(ctx context.Context) ([]LogStatus, error) {
	var out []LogStatus
	for _, spec := range Topology {
		for p := range b.cfg.Partitions {
			st, err := b.StatusOf(ctx, spec.Name, p)
			if err != nil {
				return nil, err
			}
			out = append(out, st)
		}
	}
	return out, nil
}

// Look looks at one stream. Its last commit is read only when it is not the one
// that was seen before: to look again costs little.
func (b *Broker) Look(ctx context.Context, before LogStatus) (LogStatus, error) {
	name := StreamName(before.Log, before.Partition)
	s, err := b.js.Stream(ctx, name)
	if err != nil {
		return before, fmt.Errorf("look up %s: %w", name, err)
	}
	info := s.CachedInfo()
	st := LogStatus{Log: before.Log, Partition: before.Partition, Messages: info.State.Msgs, Bytes: info.State.Bytes,
		MaxBytes: info.Config.MaxBytes, FirstSeq: info.State.FirstSeq, LastSeq: info.State.LastSeq, LastAt: info.State.LastTime, Created: info.Created}
	spec, _ := Spec(st.Log)
	switch {
	case spec.From == "": // INGEST, or that of a shadow: a message is a root
		st.Root = info.State.LastSeq
	case st.LastSeq == before.LastSeq && st.Created.Equal(before.Created):
		st.Root, st.Epoch, st.Owner = before.Root, before.Epoch, before.Owner
	default:
		m, c, err := b.lastMark(ctx, st.Log, st.Partition)
		if err != nil {
			return before, err
		}
		st.Root, st.Epoch, st.Owner = m.to, m.epoch, c.GetOwner()
	}
	return st, nil
}

// StatusOf looks at one stream for the first time.
func (b *Broker) StatusOf(ctx context.Context, log LogName, partition int) (LogStatus, error) {
	return b.Look(ctx, LogStatus{Log: log, Partition: partition})
}

// Fill is the share of a log's bound that is taken; 0 of one without a bound.
func (b *Broker) Fill(ctx context.Context, log LogName, partition int) (float64, error) {
	s, err := b.js.Stream(ctx, StreamName(log, partition))
	if err != nil {
		return 0, fmt.Errorf("look up %s: %w", StreamName(log, partition), err)
	}
	info := s.CachedInfo()
	if info.Config.MaxBytes <= 0 {
		return 0, nil
	}
	return float64(info.State.Bytes) / float64(info.Config.MaxBytes), nil
}

// StoredAt is when the broker stored a message of a log of truth; ErrNoRoot when
// it is not there any more.
func (b *Broker) StoredAt(ctx context.Context, log LogName, partition int, seq uint64) (time.Time, error) {
	_, at, err := b.ReadMessage(ctx, log, partition, seq)
	return at, err
}

// End is the last root a log's partition covers; for a log of truth, its last sequence.
func (b *Broker) End(ctx context.Context, log LogName, partition int) (uint64, error) {
	if spec, _ := Spec(log); spec.Truth {
		s, err := b.js.Stream(ctx, StreamName(log, partition))
		if err != nil {
			return 0, fmt.Errorf("look up %s: %w", StreamName(log, partition), err)
		}
		return s.CachedInfo().State.LastSeq, nil
	}
	m, _, err := b.lastMark(ctx, log, partition)
	return m.to, err
}

// Scan hands every entry of the roots (from, to] to each, in order. The log
// must reach to: Scan waits for it as long as ctx lives.
func (b *Broker) Scan(ctx context.Context, log LogName, partition int, from, to uint64, each func(root uint64, index int, entry []byte) error) error {
	if to <= from {
		return nil
	}
	return b.Follow(ctx, log, partition, from, func(c Message) (bool, error) {
		for _, r := range c.Roots {
			if r.Root > to {
				return true, nil
			}
			for i, e := range r.Entries {
				if err := each(r.Root, i, e); err != nil {
					return true, err
				}
			}
		}
		return c.To >= to, nil
	})
}

// Message is what one message adds to a reader's position: the roots (From, To].
// In a log of truth every message is a root of its own, its stream sequence; a
// derived log carries the roots of INGEST.
type Message struct {
	From, To    uint64
	At          time.Time // when the broker stored the message
	FoldVersion uint32    // that made the entries; 0 in a log of truth
	Payload     []byte
	Roots       []RootEntries
}

// RootEntries are the entries of one root, in order.
type RootEntries struct {
	Root    uint64
	Entries [][]byte
}

// Follow reads a log from a root on until take says stop. It never applies a
// gap; a log that was changed from outside ends it with a HaltError.
func (b *Broker) Follow(ctx context.Context, log LogName, partition int, from uint64, take func(Message) (stop bool, err error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	chunks, readErr := make(chan Message, 8), make(chan error, 1)
	go func() { readErr <- newReader(b, log, partition, from).run(ctx, chunks) }()
	for {
		select {
		case err := <-readErr:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case c := <-chunks:
			if stop, err := take(c); stop || err != nil {
				return err
			}
		}
	}
}

// ErrNoRoot says that a root is not in INGEST any more; the archive has it.
var ErrNoRoot = errors.New("root is not in the log")

// ReadRoot returns the bytes of one INGEST message, and when it was stored.
func (b *Broker) ReadRoot(ctx context.Context, partition int, root uint64) ([]byte, time.Time, error) {
	return b.ReadMessage(ctx, Ingest, partition, root)
}

// ReadMessage is ReadRoot for any log of truth.
func (b *Broker) ReadMessage(ctx context.Context, log LogName, partition int, seq uint64) ([]byte, time.Time, error) {
	s, err := b.js.Stream(ctx, StreamName(log, partition))
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("look up log: %w", err)
	}
	msg, err := s.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, time.Time{}, ErrNoRoot
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read root %d: %w", seq, err)
	}
	return msg.Data, msg.Time, nil
}

// CommittedAt says when the commit was stored that holds a root of a derived
// log. It is not known (ok is false) while the log has not reached the root,
// after its truncation, and after a rebuild, whose commits are of another time.
func (b *Broker) CommittedAt(ctx context.Context, log LogName, partition int, root uint64) (at time.Time, ok bool, err error) {
	s, err := b.js.Stream(ctx, StreamName(log, partition))
	if err != nil {
		return time.Time{}, false, fmt.Errorf("look up log: %w", err)
	}
	info := s.CachedInfo()
	if rebuilt := rebuildOf(info.Config); root <= rebuilt.Through {
		return time.Time{}, false, nil
	}
	last, _, err := b.lastMark(ctx, log, partition)
	if err != nil || last.to < root {
		return time.Time{}, false, err
	}
	seq, err := newReader(b, log, partition, root-1).search(ctx, s, info.State.FirstSeq, last)
	var h *HaltError
	if errors.As(err, &h) {
		return time.Time{}, false, nil // truncated
	}
	for ; err == nil && seq <= last.seq; seq++ { // the one found, or the next
		msg, gerr := s.GetMsg(ctx, seq)
		if gerr != nil {
			return time.Time{}, false, fmt.Errorf("read message %d of %s: %w", seq, StreamName(log, partition), gerr)
		}
		c, derr := decodeCommit(log, partition, seq, msg.Data)
		if derr != nil {
			return time.Time{}, false, derr
		}
		if c.To >= root {
			return msg.Time, true, nil
		}
	}
	return time.Time{}, false, err
}

// News is the root of a derived log's partition after which its entries are new:
// its end, or the root that INGEST had reached when the log was thrown away to be
// derived again.
func (b *Broker) News(ctx context.Context, log LogName, partition int) (uint64, error) {
	s, err := b.js.Stream(ctx, StreamName(log, partition))
	if err != nil {
		return 0, fmt.Errorf("look up log: %w", err)
	}
	last, _, err := b.lastMark(ctx, log, partition)
	return max(last.to, rebuildOf(s.CachedInfo().Config).Through), err
}
