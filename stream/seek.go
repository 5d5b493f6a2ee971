package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/edgepulse/edgepulse/schemas"
)

// rebuildKey is the stream metadata in which a rebuild says what it threw away:
// until the log has passed Through again, a reader that is ahead of it waits.
const rebuildKey = "edgepulse_rebuild"

type rebuildMark struct {
	ID      string    `json:"id"`
	Through uint64    `json:"through"`
	At      time.Time `json:"at"`
	Open    bool      `json:"open,omitempty"` // the log is not emptied yet: what stands in it belongs to no generation
	// Before are the generations whose snapshots may be there while it is open, the newest first.
	Before []string     `json:"before,omitempty"`
	was    *rebuildMark // the mark it replaced
}

func rebuildOf(cfg jetstream.StreamConfig) rebuildMark {
	var m rebuildMark
	_ = json.Unmarshal([]byte(cfg.Metadata[rebuildKey]), &m) // absent or foreign = no rebuild
	return m
}

// generation names the content of a derived log since its last rebuild; empty
// for one that was never rebuilt. While it is being emptied nobody may own it: a
// snapshot of the old content would be taken for one of the new.
func (b *Broker) generation(ctx context.Context, log LogName, partition int) (string, error) {
	s, err := b.js.Stream(ctx, StreamName(log, partition))
	if err != nil {
		return "", fmt.Errorf("look up log %s: %w", StreamName(log, partition), err)
	}
	m := rebuildOf(s.CachedInfo().Config)
	if m.Open {
		return "", fmt.Errorf("%w: %s", errRebuilding, StreamName(log, partition))
	}
	return m.ID, nil
}

// seek finds the message to start at for the reader's position (rule 3) and
// compares the log with what is remembered of it.
func (r *reader) seek(ctx context.Context) (jetstream.Stream, error) {
	name := StreamName(r.log, r.partition)
	s, err := r.b.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) && r.pos > 0 {
		return nil, halt(r.log, r.partition, "it is gone")
	}
	if err != nil {
		return nil, fmt.Errorf("look up log %s: %w", name, err)
	}
	info, err := s.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("look up log %s: %w", name, err)
	}
	if r.truth {
		err = r.seekTruth(info)
	} else {
		err = r.seekCommit(ctx, s, info)
	}
	if err == nil {
		r.created = info.Created
	}
	return s, err
}

func (r *reader) seekTruth(info *jetstream.StreamInfo) error {
	st := info.State
	switch {
	case st.LastSeq < r.pos:
		return halt(r.log, r.partition, "it ends at root %d, but root %d had been read", st.LastSeq, r.pos)
	case st.FirstSeq > r.pos+1:
		return halt(r.log, r.partition, "it begins at root %d, but root %d is needed", st.FirstSeq, r.pos+1)
	case !r.created.IsZero() && !info.Created.Equal(r.created):
		return halt(r.log, r.partition, "it was created anew at %s", info.Created.UTC().Format(time.RFC3339))
	}
	r.expect, r.prev = r.pos+1, nil
	return nil
}

func (r *reader) seekCommit(ctx context.Context, s jetstream.Stream, info *jetstream.StreamInfo) error {
	rebuilt := rebuildOf(info.Config)
	if rebuilt.ID != r.rebuildID {
		// A rebuild since then makes what is remembered worthless, not wrong.
		r.rebuildID, r.anchor = rebuilt.ID, mark{}
	}
	if rebuilt.Open {
		return errReseek // about to be emptied: what is read now would be followed by what does not follow it
	}
	last, _, err := r.b.lastMark(ctx, r.log, r.partition)
	if err != nil {
		return err
	}
	if last.to < r.pos && !faultNoReseek {
		if r.pos <= rebuilt.Through {
			return errReseek // being derived again: the same roots will pass once more
		}
		return halt(r.log, r.partition, "it ends at root %d, but root %d had been read", last.to, r.pos)
	}
	if err := r.checkAnchor(ctx, s, info); err != nil {
		return err
	}
	if last.seq == 0 {
		r.expect, r.prev = info.State.LastSeq+1, &mark{}
		return nil
	}
	start, err := r.search(ctx, s, info.State.FirstSeq, last)
	if err != nil {
		return err
	}
	r.expect, r.prev = start, nil
	return nil
}

// checkAnchor compares the last commit that was handed out with what stands in
// its place now.
func (r *reader) checkAnchor(ctx context.Context, s jetstream.Stream, info *jetstream.StreamInfo) error {
	if r.anchor.seq == 0 || r.anchor.seq < info.State.FirstSeq || faultNoChain {
		return nil
	}
	m, _, err := r.b.markAt(ctx, s, r.log, r.partition, r.anchor.seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return halt(r.log, r.partition, "message %d, which had been read, is gone", r.anchor.seq)
	}
	if err != nil {
		return err
	}
	if m.chain != r.anchor.chain {
		return halt(r.log, r.partition, "message %d holds another commit than the one that had been read", r.anchor.seq)
	}
	return nil
}

// search returns the last message that ends at or below the position, else the first.
func (r *reader) search(ctx context.Context, s jetstream.Stream, firstSeq uint64, last mark) (uint64, error) {
	if last.to <= r.pos {
		return last.seq, nil
	}
	lo, hi := firstSeq, last.seq // the answer is in [lo, hi), if anywhere
	start := uint64(0)
	for lo < hi {
		mid := lo + (hi-lo)/2
		m, _, err := r.b.markAt(ctx, s, r.log, r.partition, mid)
		if err != nil {
			return 0, err
		}
		if m.to <= r.pos {
			start, lo = mid, mid+1
		} else {
			hi = mid
		}
	}
	if start != 0 {
		return start, nil
	}
	_, c, err := r.b.markAt(ctx, s, r.log, r.partition, firstSeq)
	if err != nil {
		return 0, err
	}
	if c.From > r.pos {
		return 0, halt(r.log, r.partition, "it begins after root %d, but root %d is needed", c.From, r.pos+1)
	}
	return firstSeq, nil
}

// markAt reads one commit by its sequence.
func (b *Broker) markAt(ctx context.Context, s jetstream.Stream, log LogName, partition int, seq uint64) (mark, *schemas.Commit, error) {
	msg, err := s.GetMsg(ctx, seq)
	if err != nil {
		return mark{}, nil, fmt.Errorf("read message %d of %s: %w", seq, StreamName(log, partition), err)
	}
	c, err := decodeCommit(log, partition, seq, msg.Data)
	if err != nil {
		return mark{}, nil, err
	}
	return markOf(seq, msg.Data, c), c, nil
}
