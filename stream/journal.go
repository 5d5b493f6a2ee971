package stream

import (
	"context"
	"fmt"

	"github.com/edgepulse/edgepulse/schemas"
)

// Journal is the writer of one partition of a log of truth that one stage owns
// (DELIVERIES): the stage is no fold, but its facts and its position in the log
// it reads travel in one message under the same compare-and-set.
type Journal struct {
	w *writer
}

// OpenJournal claims a partition of log and replays its entries, in order, to each.
func (b *Broker) OpenJournal(ctx context.Context, log LogName, partition int, each func(*schemas.Entry) error) (*Journal, error) {
	w, err := b.claim(ctx, log, partition, 1)
	if err != nil {
		return nil, err
	}
	s, err := b.js.Stream(ctx, StreamName(log, partition))
	if err != nil {
		return nil, fmt.Errorf("look up log: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := newReader(b, log, partition, max(1, s.CachedInfo().State.FirstSeq)-1)
	seq := r.pos // before the reader moves it
	chunks, readErr := make(chan Message, 16), make(chan error, 1)
	go func() { readErr <- r.run(ctx, chunks) }()
	for seq < w.last.seq {
		select {
		case err := <-readErr:
			return nil, err
		case c := <-chunks:
			seq = c.To
			if err := replayFacts(log, partition, c, each); err != nil {
				return nil, err
			}
		}
	}
	return &Journal{w: w}, nil
}

// Position is the last root of the read log that the journal covers.
func (j *Journal) Position() uint64 { return j.w.last.to }

// Commit stores facts and position in one message. ErrFenced: another owner has
// the partition, and nothing was stored.
func (j *Journal) Commit(ctx context.Context, to uint64, entries []*schemas.Entry) error {
	if j.w.stale() {
		if err := j.w.reclaim(ctx, 1); err != nil {
			return err
		}
	}
	facts := make([][]byte, len(entries))
	for i, e := range entries {
		b, err := e.MarshalVT()
		if err != nil {
			return fmt.Errorf("encode entry: %w", err)
		}
		facts[i] = b
	}
	return j.w.extend(ctx, &schemas.Commit{To: to, FoldVersion: 1, Facts: facts})
}

func replayFacts(log LogName, partition int, c Message, each func(*schemas.Entry) error) error {
	for _, root := range c.Roots {
		for _, raw := range root.Entries {
			e := &schemas.Entry{}
			if err := e.UnmarshalVTUnsafe(raw); err != nil {
				return halt(log, partition, "message %d holds a damaged entry (%v)", c.To, err)
			}
			if err := each(e); err != nil {
				return err
			}
		}
	}
	return nil
}
