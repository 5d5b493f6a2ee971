package stream

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// AppendAt stores messages at exactly the sequences first, first+1, … of a log
// of truth, many in flight at once. After an error some of them may be stored:
// End tells where the log stands, and what stands there is what was meant, since
// a sequence is given once.
func (b *Broker) AppendAt(ctx context.Context, log LogName, partition int, first uint64, payloads [][]byte) error {
	msgs := make([]*nats.Msg, len(payloads))
	for i, p := range payloads {
		msgs[i] = &nats.Msg{Subject: Subject(log, partition), Data: p}
	}
	return b.appendAll(ctx, log, partition, msgs, func(i int) []jetstream.PublishOpt {
		return []jetstream.PublishOpt{jetstream.WithExpectLastSequence(first + uint64(i) - 1)}
	})
}

// Republish stores messages of older roots in the live INGEST again.
// Each names its original root in a header and folds as an empty root: no row,
// alert or webhook follows from it.
func (b *Broker) Republish(ctx context.Context, partition int, roots []uint64, payloads [][]byte) error {
	msgs := make([]*nats.Msg, len(payloads))
	for i, p := range payloads {
		msgs[i] = &nats.Msg{Subject: Subject(Ingest, partition), Data: p,
			Header: nats.Header{OriginalRootHeader: {strconv.FormatUint(roots[i], 10)}}}
	}
	return b.appendAll(ctx, Ingest, partition, msgs, func(int) []jetstream.PublishOpt { return nil })
}

// appendAll publishes messages in order without waiting for each, then for all.
func (b *Broker) appendAll(ctx context.Context, log LogName, partition int, msgs []*nats.Msg, opts func(int) []jetstream.PublishOpt) error {
	js, err := jetstream.New(b.nc, jetstream.WithPublishAsyncTimeout(b.cfg.Timeout))
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	defer js.CleanupPublisher()
	acks := make([]jetstream.PubAckFuture, 0, len(msgs))
	var failed error
	for i, m := range msgs {
		ack, err := js.PublishMsgAsync(m, append(opts(i), jetstream.WithRetryAttempts(0), jetstream.WithExpectStream(StreamName(log, partition)))...)
		if err != nil {
			failed = err
			break
		}
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			if failed == nil {
				failed = err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var api *jetstream.APIError
	switch {
	case failed == nil:
		return nil
	case errors.As(failed, &api) && int(api.ErrorCode) == codeLogFull:
		return fmt.Errorf("append to %s: %w", StreamName(log, partition), ErrLogFull)
	}
	return fmt.Errorf("append to %s: %w", StreamName(log, partition), failed)
}

// RootAt is the first root of a log of truth that was stored at or after an
// instant, one beyond the last when all are older.
func (b *Broker) RootAt(ctx context.Context, log LogName, partition int, t time.Time) (uint64, error) {
	name := StreamName(log, partition)
	s, err := b.js.Stream(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("look up log %s: %w", name, err)
	}
	st := s.CachedInfo().State
	switch {
	case st.Msgs == 0 || !st.FirstTime.Before(t):
		return st.FirstSeq, nil
	case st.LastTime.Before(t):
		return st.LastSeq + 1, nil
	}
	// The server reads a whole block for a message. Who asks is mostly looking for what
	// is barely too old: the search begins at the front, in steps that double.
	n := int(st.LastSeq + 1 - st.FirstSeq)
	young := func(i int) bool {
		if err != nil {
			return true
		}
		msg, e := s.GetMsg(ctx, st.FirstSeq+uint64(i))
		if e != nil {
			err = e
			return true
		}
		return !msg.Time.Before(t)
	}
	lo, hi := 1, 1
	for hi < n-1 && !young(hi) {
		lo, hi = hi+1, min(2*hi, n-1)
	}
	i := lo + sort.Search(hi-lo, func(k int) bool { return young(lo + k) })
	if err != nil {
		return 0, fmt.Errorf("find root of %s at %s: %w", name, t.UTC().Format(time.RFC3339), err)
	}
	return st.FirstSeq + uint64(i), nil
}
