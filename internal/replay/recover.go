package replay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// Recovered is what became of one log of truth.
type Recovered struct {
	Log       stream.LogName
	Partition int
	Before    uint64 // last root the log had
	Archived  uint64 // last root the archive has
	Empty     int    // roots that nobody has any more, published empty
}

// ErrGap says that the archive does not go on where the log ends.
var ErrGap = errors.New("the archive does not hold what the log lacks")

// Recover puts back what the logs of truth have lost and the archive still
// holds, byte for byte under the original roots. Nobody may write to the logs
// meanwhile; another writer makes it fail, not go wrong.
//
// known is the newest root of a partition that anybody has seen, such as its
// projections. A root between the archive's end and it is lost; it is published
// empty, since a root that came to mean something else would be taken for the
// one that was seen.
func (d Deps) Recover(ctx context.Context, known func(partition int) uint64) ([]Recovered, error) {
	if d.Archive == nil {
		return nil, errors.New("no archive: set EDGEPULSE_ARCHIVE_URL")
	}
	var out []Recovered
	// DELIVERIES first: it says what was sent, and up to which root.
	for _, log := range []stream.LogName{stream.Deliveries, stream.Ingest} {
		for p := range d.Broker.Partitions() {
			r, err := d.recoverLog(ctx, log, p)
			if err == nil && log == stream.Ingest {
				r.Empty, err = d.pad(ctx, p, known(p))
			}
			out = append(out, r)
			if err != nil {
				return out, fmt.Errorf("recover %s: %w", stream.StreamName(log, p), err)
			}
		}
	}
	return out, nil
}

// recoverLog publishes the archived messages behind the log's last one.
func (d Deps) recoverLog(ctx context.Context, log stream.LogName, partition int) (Recovered, error) {
	r := Recovered{Log: log, Partition: partition}
	s, err := d.openSource(ctx, log, partition)
	if err != nil {
		return r, err
	}
	r.Before, r.Archived = s.log.LastSeq, s.archived
	if r.Archived <= r.Before {
		return r, nil
	}
	if r.Before > 0 {
		if err := s.sameAsLog(ctx, r.Before); err != nil {
			return r, err
		}
	}
	if begin := s.segments[0].First; r.Before == 0 && begin > 1 && d.Young {
		// Older segments went when their retention had passed.
		if err := d.Broker.BeginAt(ctx, log, partition, begin); err != nil {
			return r, err
		}
		r.Before = begin - 1
	}
	if _, ok := s.segment(r.Before + 1); !ok {
		return r, fmt.Errorf("%w: root %d is in neither", ErrGap, r.Before+1)
	}
	return r, persist(ctx, func() (bool, error) {
		end, err := d.Broker.StatusOf(ctx, log, partition)
		if err != nil {
			return false, fmt.Errorf("%w: %w", errPublish, err)
		}
		if end.LastSeq >= r.Archived {
			return true, nil
		}
		chain, err := s.chainBehind(ctx, end.LastSeq)
		if err != nil {
			return false, err
		}
		return false, s.pump(ctx, end.LastSeq+1, r.Archived, 0, Filter{}, &pace{}, func(w *window) error {
			if err := chain.mend(w.payloads); err != nil {
				return err
			}
			return d.Broker.AppendAt(ctx, log, partition, w.roots[0], w.payloads)
		})
	})
}

// mender renews the chain of a log of commits (DELIVERIES) behind facts that were
// erased: a commit names the hash of the one before it, and that one has changed.
// Without erasures it changes nothing.
type mender struct {
	commits bool
	last    []byte // hash of the message before; nil = there is none
}

func (s *source) chainBehind(ctx context.Context, seq uint64) (*mender, error) {
	spec, _ := stream.Spec(s.of)
	m := &mender{commits: spec.From != "" && len(s.deps.Gone) > 0}
	if !m.commits || seq == 0 {
		return m, nil
	}
	b, _, err := s.broker.ReadMessage(ctx, s.of, s.partition, seq)
	if errors.Is(err, stream.ErrNoRoot) {
		return m, nil // it begins behind it
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPublish, err)
	}
	sum := sha256.Sum256(b)
	m.last = sum[:]
	return m, nil
}

func (m *mender) mend(payloads [][]byte) error {
	if !m.commits {
		return nil
	}
	for i, p := range payloads {
		c := &schemas.Commit{}
		if err := c.UnmarshalVT(p); err != nil {
			return fmt.Errorf("decode commit: %w", err)
		}
		if m.last != nil && !bytes.Equal(c.PrevChain, m.last) {
			c.PrevChain = m.last
			mended, err := c.MarshalVT()
			if err != nil {
				return fmt.Errorf("encode commit: %w", err)
			}
			payloads[i] = mended
		}
		sum := sha256.Sum256(payloads[i])
		m.last = sum[:]
	}
	return nil
}

// pad publishes empty groups up to the newest root that DELIVERIES or anybody
// else has seen.
func (d Deps) pad(ctx context.Context, partition int, known uint64) (int, error) {
	deliveries, err := d.Broker.StatusOf(ctx, stream.Deliveries, partition)
	if err != nil {
		return 0, err
	}
	ingest, err := d.Broker.StatusOf(ctx, stream.Ingest, partition)
	if err != nil {
		return 0, err
	}
	known = max(known, deliveries.Root)
	n := 0
	for next := ingest.LastSeq + 1; next <= known; {
		payloads := make([][]byte, min(known+1-next, windowMessages))
		if err := d.Broker.AppendAt(ctx, stream.Ingest, partition, next, payloads); err != nil {
			return n, err
		}
		next += uint64(len(payloads))
		n += len(payloads)
	}
	return n, nil
}

// archivedBytes is a message of the archive; ok is false when it has none.
func (s *source) archivedBytes(ctx context.Context, root uint64) (archive.Message, bool, error) {
	if _, ok := s.segment(root); !ok {
		return archive.Message{}, false, nil
	}
	m, err := archive.ReadRoot(ctx, s.blobs, s.deps.Keys, s.of, s.partition, root)
	return m, true, err
}
