package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/edgepulse/edgepulse/schemas"
)

// writer publishes the commits of one log's partition. Only one commit is in
// flight; every publish expects the sequence of the message it extends, so a
// writer that lost its claim is refused by the server.
type writer struct {
	b         *Broker
	log       LogName
	partition int
	nonce     []byte
	last      mark   // the commit that the next one extends
	gen       uint64 // connection generation of the claim
	rebuild   string // generation of the log at the claim
}

// Error codes of JetStream's API.
const (
	codeNoStorage = 10047
	codeLogFull   = 10077
)

// lastMark reads the newest commit from the leader. An empty log gives a zero mark.
func (b *Broker) lastMark(ctx context.Context, log LogName, partition int) (mark, *schemas.Commit, error) {
	s, err := b.js.Stream(ctx, StreamName(log, partition))
	if err != nil {
		return mark{}, nil, fmt.Errorf("look up log %s: %w", StreamName(log, partition), err)
	}
	msg, err := s.GetLastMsgForSubject(ctx, Subject(log, partition))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return mark{}, nil, nil
	}
	if err != nil {
		return mark{}, nil, fmt.Errorf("read last commit of %s: %w", StreamName(log, partition), err)
	}
	c, err := decodeCommit(log, partition, msg.Sequence, msg.Data)
	if err != nil {
		return mark{}, nil, err
	}
	return markOf(msg.Sequence, msg.Data, c), c, nil
}

// approach looks at the end of a log, the first step of taking it over: what is
// prepared for that end may be claimed as long as it is the end. The commit is
// nil for an empty log.
func (b *Broker) approach(ctx context.Context, log LogName, partition int) (*writer, *schemas.Commit, error) {
	w := &writer{b: b, log: log, partition: partition, nonce: make([]byte, 16), gen: b.gen.Load()}
	var err error
	// Before the mark: a rebuild in between shows as a change of generation.
	if w.rebuild, err = b.generation(ctx, log, partition); err != nil {
		return nil, nil, err
	}
	var commit *schemas.Commit
	if w.last, commit, err = b.lastMark(ctx, log, partition); err != nil {
		return nil, nil, err
	}
	return w, commit, nil
}

// claim takes the partition over: epoch + 1 in a commit that covers nothing and
// extends the end that was approached. Where somebody has written meanwhile it
// takes nothing away from them: ErrFenced.
func (w *writer) claim(ctx context.Context, version uint32) error {
	if _, err := rand.Read(w.nonce); err != nil {
		return fmt.Errorf("draw nonce: %w", err)
	}
	w.last.epoch++
	return w.commit(ctx, w.last.to, version, nil)
}

// claim takes a partition over whoever has it; for an owner that has nothing to
// prepare.
func (b *Broker) claim(ctx context.Context, log LogName, partition int, version uint32) (*writer, error) {
	for {
		w, _, err := b.approach(ctx, log, partition)
		if err == nil {
			err = w.claim(ctx, version)
		}
		if err == nil {
			return w, nil
		}
		if !errors.Is(err, ErrFenced) {
			return nil, err
		}
		if err := backOff(ctx); err != nil {
			return nil, err
		}
	}
}

// backOff waits 0.7 to 1.5 s, so that two owners do not fence each other in step.
func backOff(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(700*time.Millisecond + mathrand.N(800*time.Millisecond)):
		return nil
	}
}

// commit publishes outputs of the roots (last.to, to] and returns when they are
// on disk. ErrFenced: another owner has the partition. Any other error: the
// result is settled as not written, or ctx ended.
func (w *writer) commit(ctx context.Context, to uint64, version uint32, outputs []*schemas.RootOutputs) error {
	return w.extend(ctx, &schemas.Commit{To: to, FoldVersion: version, Outputs: outputs})
}

// extend completes the header of c and publishes it.
func (w *writer) extend(ctx context.Context, c *schemas.Commit) error {
	c.Log, c.Epoch, c.Nonce, c.Owner = StreamName(w.log, w.partition), w.last.epoch, w.nonce, w.b.name
	c.From, c.PrevSeq = w.last.to, w.last.seq
	if w.last.seq != 0 {
		c.PrevChain = w.last.chain[:]
	}
	payload, err := c.MarshalVT()
	if err != nil {
		return fmt.Errorf("encode commit: %w", err)
	}
	mine := markOf(0, payload, c)
	for attempt := 0; ; attempt++ {
		seq, err := w.publish(ctx, payload)
		if err == nil {
			mine.seq = seq
			w.last = mine
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if faultNoUnknown {
			// Switched off: believe the error, lose track of what the log holds.
			w.last.to = c.To
			return nil
		}
		if errors.Is(err, ErrLogFull) && attempt%250 == 0 { // at once, and each five seconds or so
			w.b.log.Error("log is full, waiting for space", "log", StreamName(w.log, w.partition),
				"mend", "raise EDGEPULSE_LOG_MAX_BYTES, or find the reader that does not advance with `edgepulse status`")
		}
		if attempt%50 == 49 && !errors.Is(err, ErrLogFull) {
			w.b.log.Warn("commit is not taken, trying on", "log", StreamName(w.log, w.partition), "attempts", attempt+1, "error", err)
		}
		verdict, err := w.settle(ctx, mine, err)
		if err != nil || verdict {
			return err
		}
	}
}

// settle finds out what became of a publish whose result is unknown (rule 5):
// true = it is stored; false = the predecessor is still last, publish again;
// ErrFenced or a halt = neither.
func (w *writer) settle(ctx context.Context, mine mark, cause error) (bool, error) {
	delay := 20 * time.Millisecond
	for {
		last, _, err := w.b.lastMark(ctx, w.log, w.partition)
		var h *HaltError
		switch {
		case errors.As(err, &h):
			return false, err
		case err != nil:
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
			// The broker does not answer: wait, the question stays the same.
			select {
			case <-ctx.Done():
				return false, ctx.Err()
			case <-time.After(delay):
			}
			delay = min(2*delay, time.Second)
			continue
		case last.chain == mine.chain:
			mine.seq = last.seq
			w.last = mine
			return true, nil
		case last.seq == w.last.seq && last.chain == w.last.chain:
			// Also the way a full log waits: bounded retries with a pause.
			select {
			case <-ctx.Done():
				return false, ctx.Err()
			case <-time.After(delay):
			}
			return false, nil
		case last.to < w.last.to || (last.epoch <= w.last.epoch && last.seq < w.last.seq):
			return false, w.shrunk(ctx, last)
		default:
			return false, fmt.Errorf("%w: %s is now the last of %s (%v)", ErrFenced, last, StreamName(w.log, w.partition), cause)
		}
	}
}

// stale tells whether the connection was lost since the claim: then the owner
// claims again before it publishes.
func (w *writer) stale() bool { return w.gen != w.b.gen.Load() }

// reclaim renews a claim after a disconnect. The live state may be kept only if
// nobody wrote in between; otherwise ErrFenced.
func (w *writer) reclaim(ctx context.Context, version uint32) error {
	gen := w.b.gen.Load()
	if err := w.check(ctx); err != nil {
		return err
	}
	w.last.epoch++
	if err := w.commit(ctx, w.last.to, version, nil); err != nil {
		return err
	}
	w.gen = gen
	return nil
}

// check compares the log's end with the last commit of this owner.
func (w *writer) check(ctx context.Context) error {
	last, _, err := w.b.lastMark(ctx, w.log, w.partition)
	switch {
	case err != nil:
		return err
	case last.seq == w.last.seq && last.chain == w.last.chain:
		return nil
	case last.to < w.last.to:
		return w.shrunk(ctx, last)
	}
	return fmt.Errorf("%w: %s is now the last of %s", ErrFenced, last, StreamName(w.log, w.partition))
}

// shrunk says why a log ends before what was acknowledged: an operator had it
// rebuilt, then the owner begins again with it; or it is not what it was. One
// that was made anew bears no mark at all.
func (w *writer) shrunk(ctx context.Context, last mark) error {
	generation, err := w.b.generation(ctx, w.log, w.partition)
	if err != nil {
		return err
	}
	if generation != w.rebuild && generation != "" {
		return fmt.Errorf("%w: %s has been emptied", errRebuilding, StreamName(w.log, w.partition))
	}
	return halt(w.log, w.partition, "it ends with %s, but %s had been acknowledged", last, w.last)
}

func (w *writer) publish(ctx context.Context, payload []byte) (uint64, error) {
	timeout := w.b.cfg.Timeout
	if d, ok := injectDelay(); ok {
		timeout = d
	}
	pctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	opts := []jetstream.PublishOpt{jetstream.WithRetryAttempts(0), jetstream.WithExpectStream(StreamName(w.log, w.partition))}
	if !faultNoCAS {
		opts = append(opts, jetstream.WithExpectLastSequencePerSubject(w.last.seq))
	}
	ack, err := w.b.js.PublishMsg(pctx, &nats.Msg{Subject: Subject(w.log, w.partition), Data: payload}, opts...)
	if err != nil {
		var api *jetstream.APIError
		if errors.As(err, &api) && int(api.ErrorCode) == codeLogFull {
			return 0, ErrLogFull
		}
		return 0, err
	}
	if injectLostAck() {
		return 0, context.DeadlineExceeded
	}
	return ack.Sequence, nil
}

// Append stores one message in a log of truth that has no single writer
// (INGEST) and returns its sequence, the root. Every error leaves the result
// unknown but for ErrLogFull: nothing was stored.
func (b *Broker) Append(ctx context.Context, log LogName, partition int, payload []byte) (uint64, error) {
	ack, err := b.js.PublishMsg(ctx, &nats.Msg{Subject: Subject(log, partition), Data: payload},
		jetstream.WithRetryAttempts(0), jetstream.WithExpectStream(StreamName(log, partition)))
	if err != nil {
		var api *jetstream.APIError
		if errors.As(err, &api) && int(api.ErrorCode) == codeLogFull {
			return 0, fmt.Errorf("append to %s: %w", StreamName(log, partition), ErrLogFull)
		}
		return 0, fmt.Errorf("append to %s: %w", StreamName(log, partition), err)
	}
	return ack.Sequence, nil
}
