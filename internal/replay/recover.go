package replay

import (
	"context"
	"errors"
	"fmt"

	"github.com/edgepulse/edgepulse/internal/archive"
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
	s, err := openSource(ctx, d.Broker, d.Archive, log, partition)
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
		return false, s.pump(ctx, end.LastSeq+1, r.Archived, 0, Filter{}, &pace{}, func(w *window) error {
			return d.Broker.AppendAt(ctx, log, partition, w.roots[0], w.payloads)
		})
	})
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
	m, err := archive.ReadRoot(ctx, s.blobs, s.of, s.partition, root)
	return m, true, err
}
