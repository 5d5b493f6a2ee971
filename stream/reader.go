package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/edgepulse/edgepulse/schemas"
)

// OriginalRootHeader marks a live re-publication of an INGEST message. Its root
// was folded before, so it folds as an empty root.
const OriginalRootHeader = "Edgepulse-Original-Root"

// fetchMessages bounds one pull. Messages are handed on as they arrive; the
// client allocates room for all of them, so a pull by bytes would be costly.
const fetchMessages = 64

// reader delivers the entries of one log's partition from a root on: each root
// once, in order, without a gap, or it stops with a HaltError.
type reader struct {
	b         *Broker
	log       LogName
	partition int
	truth     bool   // roots are the log's own sequences
	pos       uint64 // last root handed out

	expect    uint64 // stream sequence of the next message
	prev      *mark  // the commit before it; nil = not known (its predecessor was purged)
	anchor    mark   // the last commit handed out, kept over a new seek
	rebuildID string // of the log when it was last sought in
	created   time.Time
	stalls    int // consecutive seeks without progress
}

func newReader(b *Broker, log LogName, partition int, pos uint64) *reader {
	spec, _ := Spec(log)
	return &reader{b: b, log: log, partition: partition, truth: spec.Truth, pos: pos}
}

// run reads until ctx ends or the log proves changed. A broker that does not
// answer is waited for.
func (r *reader) run(ctx context.Context, out chan<- Message) error {
	delay := 10 * time.Millisecond
	for {
		before := r.pos
		err := r.session(ctx, out)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var h *HaltError
		if errors.As(err, &h) {
			return err
		}
		if r.pos != before {
			r.stalls, delay = 0, 10*time.Millisecond
		}
		if !errors.Is(err, errReseek) {
			r.b.log.Debug("read interrupted", "log", StreamName(r.log, r.partition), "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(delay):
		}
		delay = min(2*delay, time.Second)
	}
}

// session seeks once and reads until something asks for a new seek.
func (r *reader) session(ctx context.Context, out chan<- Message) error {
	gen := r.b.gen.Load()
	s, err := r.seek(ctx)
	if err != nil {
		return r.orRebuilt(ctx, err)
	}
	cons, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.expect,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: 30 * time.Second,
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", StreamName(r.log, r.partition), err)
	}
	defer func() {
		dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = s.DeleteConsumer(dctx, cons.CachedInfo().Name) // it expires by itself as well
	}()
	for {
		if gen != r.b.gen.Load() && !faultNoReseek {
			return errReseek
		}
		batch, err := cons.Fetch(fetchMessages, jetstream.FetchMaxWait(idleCheck))
		if err != nil {
			if faultNoReseek {
				if err := backOff(ctx); err != nil {
					return err
				}
				continue
			}
			return fmt.Errorf("fetch: %w", err)
		}
		n := 0
		for msg := range batch.Messages() {
			n++
			if err := r.take(ctx, msg, out); err != nil {
				return err
			}
		}
		if err := batch.Error(); err != nil && !faultNoReseek {
			return fmt.Errorf("fetch: %w", err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if n == 0 && !faultNoReseek {
			if err := r.checkIdle(ctx, s); err != nil {
				return err
			}
		}
	}
}

// checkIdle notices a log that shrank or was made anew, and a consumer that
// stays silent although there is more (rule 4).
func (r *reader) checkIdle(ctx context.Context, s jetstream.Stream) error {
	info, err := s.Info(ctx)
	if err != nil {
		return fmt.Errorf("look up log: %w", err)
	}
	if !info.Created.Equal(r.created) || info.State.LastSeq+1 < r.expect {
		return errReseek
	}
	if info.State.LastSeq >= r.expect {
		if r.stalls++; r.stalls > 1 {
			return errReseek
		}
		return nil
	}
	r.stalls = 0
	return nil
}

// take checks one message against the position and hands its roots on.
func (r *reader) take(ctx context.Context, msg jetstream.Msg, out chan<- Message) error {
	meta, err := msg.Metadata()
	if err != nil {
		return fmt.Errorf("read message metadata: %w", err)
	}
	seq := meta.Sequence.Stream
	if seq != r.expect {
		// The server neither clamps nor reports a start outside the stream.
		if r.stalls++; r.stalls > 3 {
			return halt(r.log, r.partition, "message %d arrived where %d was expected", seq, r.expect)
		}
		return errReseek
	}
	var c Message
	if r.log == Ingest {
		c = r.ingestChunk(seq, msg)
	} else if c, err = r.commitChunk(seq, msg.Data()); err != nil {
		return r.orRebuilt(ctx, err)
	}
	r.expect = seq + 1
	c.At = meta.Timestamp
	if c.To <= r.pos {
		return nil
	}
	select {
	case out <- c:
	case <-ctx.Done():
		return ctx.Err()
	}
	r.pos = c.To
	return nil
}

// orRebuilt looks whether what does not fit comes from a rebuild since the last
// look at the log's mark; then the reader seeks again.
func (r *reader) orRebuilt(ctx context.Context, fault error) error {
	var h *HaltError
	if r.truth || !errors.As(fault, &h) {
		return fault
	}
	s, err := r.b.js.Stream(ctx, StreamName(r.log, r.partition))
	if err != nil {
		return fmt.Errorf("look up log: %w", err)
	}
	if m := rebuildOf(s.CachedInfo().Config); m.Open || m.ID != r.rebuildID {
		return errReseek
	}
	return fault
}

// ingestChunk makes a chunk of one INGEST message: its sequence is the root.
func (r *reader) ingestChunk(seq uint64, msg jetstream.Msg) Message {
	c := Message{From: seq - 1, To: seq, Payload: msg.Data()}
	if h := msg.Headers(); h != nil {
		if original, err := strconv.ParseUint(h.Get(OriginalRootHeader), 10, 64); err == nil && original <= r.pos {
			return c
		}
	}
	c.Roots = []RootEntries{{Root: seq, Entries: groupEntries(msg.Data())}}
	return c
}

// groupEntries splits an INGEST message. One that can't be split is handed to
// the fold whole, which makes a dead letter of it.
func groupEntries(payload []byte) [][]byte {
	g := &schemas.Group{}
	if err := g.UnmarshalVTUnsafe(payload); err != nil {
		return [][]byte{payload}
	}
	return g.Entries
}

func (r *reader) commitChunk(seq uint64, payload []byte) (Message, error) {
	commit, err := decodeCommit(r.log, r.partition, seq, payload)
	if err != nil {
		return Message{}, err
	}
	if r.prev != nil && !faultNoChain {
		if err := follows(r.log, r.partition, seq, commit, *r.prev); err != nil {
			return Message{}, err
		}
	}
	if !r.truth && commit.From > r.pos && !faultNoChain {
		if r.stalls++; r.stalls > 3 {
			return Message{}, halt(r.log, r.partition, "roots %d to %d are missing before message %d", r.pos+1, commit.From, seq)
		}
		return Message{}, errReseek
	}
	m := markOf(seq, payload, commit)
	r.prev = &m
	if r.truth {
		return Message{From: seq - 1, To: seq, Payload: payload, Roots: []RootEntries{{Root: seq, Entries: commit.Facts}}}, nil
	}
	c := Message{From: max(commit.From, r.pos), To: commit.To, Payload: payload}
	for _, o := range commit.Outputs {
		if o.Root > r.pos || faultNoClip {
			c.Roots = append(c.Roots, RootEntries{Root: o.Root, Entries: o.Entries})
		}
	}
	if commit.To >= r.pos {
		r.anchor = m
	}
	return c, nil
}
