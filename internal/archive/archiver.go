package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/edgepulse/edgepulse/stream"
)

// Source yields the messages of one partition of a log, in root order.
type Source interface {
	// Next blocks until there is a message. The payload is the caller's to keep.
	Next(ctx context.Context) (root uint64, at time.Time, payload []byte, err error)
}

// Index knows the segments by root and time.
type Index interface {
	// InsertSegment stores a row; inserting one that is there is no error.
	InsertSegment(ctx context.Context, s Segment) error
}

// Clock is the wall clock.
type Clock interface {
	After(d time.Duration) <-chan time.Time
}

// SystemClock is the clock of this machine.
type SystemClock struct{}

// After implements Clock.
func (SystemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Config sets an Archiver up. The first bound that is reached ends a segment.
type Config struct {
	Log       stream.LogName
	Partition int
	MaxBytes  int           // of a segment, about. Default 8 MiB
	MaxAge    time.Duration // of the first message in an open segment. Default 30 s
	Clock     Clock         // default SystemClock
	Metrics   *Metrics      // of the process; nil counts nothing
	Keys      Keys          // tenants' data keys; nil seals nothing
}

// Archiver writes one partition of a log to an object store.
type Archiver struct {
	cfg   Config
	blobs stream.Blobs
	index Index
	log   *slog.Logger
	last  uint64
}

// NewArchiver returns an archiver; Run does the work.
func NewArchiver(cfg Config, blobs stream.Blobs, index Index, log *slog.Logger) *Archiver {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 8 << 20
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = 30 * time.Second
	}
	if cfg.Clock == nil {
		cfg.Clock = SystemClock{}
	}
	return &Archiver{cfg: cfg, blobs: blobs, index: index, log: log}
}

// Run archives until ctx ends, from the message after the last archived one.
// open gives the messages behind a root; a log that begins later, or skips one,
// is an error: what is missing could never be archived.
func (a *Archiver) Run(ctx context.Context, open func(ctx context.Context, after uint64) (Source, error)) error {
	last, err := a.resume(ctx)
	if err != nil {
		return fmt.Errorf("resume archive of %s: %w", stream.StreamName(a.cfg.Log, a.cfg.Partition), err)
	}
	a.last = last
	a.cfg.Metrics.stand(a.cfg, a.last, time.Time{})
	source, err := open(ctx, last)
	if err != nil {
		return fmt.Errorf("open %s: %w", stream.StreamName(a.cfg.Log, a.cfg.Partition), err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	messages, readErr := make(chan Message), make(chan error, 1)
	go func() { readErr <- pump(ctx, source, messages) }()
	if err := a.archive(ctx, messages, readErr); err != nil {
		return fmt.Errorf("archive %s: %w", stream.StreamName(a.cfg.Log, a.cfg.Partition), err)
	}
	return nil
}

func pump(ctx context.Context, source Source, to chan<- Message) error {
	for {
		root, at, payload, err := source.Next(ctx)
		if err != nil {
			return err
		}
		select {
		case to <- Message{root, at, payload, 0}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// resume finds the last archived root. The last segment is read and indexed
// again: a crash may have come between writing and indexing it.
func (a *Archiver) resume(ctx context.Context) (uint64, error) {
	segments, err := Segments(ctx, a.blobs, a.cfg.Log, a.cfg.Partition)
	if err != nil || len(segments) == 0 {
		return 0, err
	}
	newest := segments[0]
	for _, s := range segments[1:] {
		if s.Last > newest.Last {
			newest = s
		}
	}
	data, err := a.blobs.Get(ctx, newest.Name)
	if err != nil {
		return 0, fmt.Errorf("read segment %s: %w", newest.Name, err)
	}
	r, err := Decode(data)
	if err != nil {
		return 0, fmt.Errorf("read segment %s: %w", newest.Name, err)
	}
	defer r.Close()
	return newest.Last, a.index.InsertSegment(ctx, r.Info())
}

// archive gathers messages and flushes them by size and age.
func (a *Archiver) archive(ctx context.Context, messages <-chan Message, readErr <-chan error) error {
	var w *Writer
	var age <-chan time.Time
	for {
		full := false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-readErr:
			return err
		case <-age:
			full = true
		case m := <-messages:
			if m.Root <= a.last {
				continue // the source began earlier than asked
			}
			if w == nil {
				if m.Root != a.last+1 {
					return fmt.Errorf("root %d follows %d: messages are missing", m.Root, a.last)
				}
				var err error
				if w, err = NewWriter(a.cfg.Log, a.cfg.Partition, a.cfg.Keys); err != nil {
					return err
				}
				age = a.cfg.Clock.After(a.cfg.MaxAge)
				a.cfg.Metrics.stand(a.cfg, a.last, m.At)
			}
			if err := w.Add(ctx, m); err != nil {
				return err
			}
			full = w.Size() >= a.cfg.MaxBytes
		}
		if full {
			if err := a.flush(ctx, w); err != nil {
				return err
			}
			w, age = nil, nil
		}
	}
}

// flush writes a segment and its row.
func (a *Archiver) flush(ctx context.Context, w *Writer) error {
	start := time.Now()
	data, info, err := w.Finish()
	if err != nil {
		return err
	}
	err = a.blobs.Create(ctx, info.Name, data)
	if errors.Is(err, stream.ErrBlobExists) {
		// A lost answer to our own request, or another archiver.
		info, err = a.compare(ctx, info, data)
	}
	if err != nil {
		return fmt.Errorf("write segment %s: %w", info.Name, err)
	}
	if err := a.index.InsertSegment(ctx, info); err != nil {
		return fmt.Errorf("index segment %s: %w", info.Name, err)
	}
	a.last = info.Last
	a.cfg.Metrics.stand(a.cfg, a.last, time.Time{})
	a.cfg.Metrics.flushed(a.cfg, info, time.Since(start))
	a.log.Debug("segment archived", "segment", info.Name, "messages", info.Messages, "bytes", info.Bytes)
	return nil
}

// compare accepts a segment that is there already when it holds the same
// messages, be it in other bytes (another version of the encoder).
func (a *Archiver) compare(ctx context.Context, ours Segment, data []byte) (Segment, error) {
	there, err := a.blobs.Get(ctx, ours.Name)
	if err != nil {
		return ours, err
	}
	left, err := Decode(there)
	if err != nil {
		return ours, err
	}
	defer left.Close()
	left.Unseal(a.cfg.Keys)
	right, err := Decode(data)
	if err != nil {
		return ours, err
	}
	defer right.Close()
	right.Unseal(a.cfg.Keys)
	for root := ours.First; root <= ours.Last; root++ {
		l, err := left.Read(ctx, root)
		if err != nil {
			return ours, err
		}
		r, err := right.Read(ctx, root)
		if err != nil {
			return ours, err
		}
		if l.Erased != r.Erased {
			continue // a key was destroyed meanwhile: what is left of both is not comparable
		}
		if !l.At.Equal(r.At) || string(l.Payload) != string(r.Payload) {
			return ours, fmt.Errorf("it holds another message at root %d: two deployments share this store", root)
		}
	}
	return left.Info(), nil
}
