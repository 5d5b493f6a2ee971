package replay

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/stream"
)

// source reads the messages of one partition of a log of truth, archived or not.
type source struct {
	broker    *stream.Broker
	blobs     stream.Blobs // nil = there is no archive
	deps      Deps
	of        stream.LogName
	partition int
	segments  []archive.Segment
	archived  uint64 // last root of the archive
	log       stream.LogStatus
}

func (d Deps) openSource(ctx context.Context, log stream.LogName, partition int) (*source, error) {
	s := &source{broker: d.Broker, blobs: d.Archive, deps: d, of: log, partition: partition}
	var err error
	if s.log, err = s.broker.StatusOf(ctx, log, partition); err != nil {
		return nil, err
	}
	if s.blobs == nil {
		return s, nil
	}
	if s.segments, err = archive.Segments(ctx, s.blobs, log, partition); err != nil {
		return nil, err
	}
	for _, g := range s.segments {
		s.archived = max(s.archived, g.Last)
	}
	return s, nil
}

// name is the log that the source stands for.
func (s *source) name() string { return stream.StreamName(s.of, s.partition) }

// last is the newest root that can be read.
func (s *source) last() uint64 { return max(s.log.LastSeq, s.archived) }

// segment finds the archived segment that holds a root.
func (s *source) segment(root uint64) (archive.Segment, bool) {
	// Two archivers may have written overlapping segments: one before may hold it.
	for i := sort.Search(len(s.segments), func(i int) bool { return s.segments[i].First > root }) - 1; i >= 0; i-- {
		if s.segments[i].Last >= root {
			return s.segments[i], true
		}
	}
	return archive.Segment{}, false
}

// rootAt is the first root that was stored at or after an instant, one beyond
// the last when all are older. The archive is asked first: the times of a log
// that was recovered from it are those of the recovery.
func (s *source) rootAt(ctx context.Context, t time.Time) (uint64, error) {
	var err error
	i := sort.Search(len(s.segments), func(i int) bool {
		if err != nil {
			return true
		}
		var r *archive.Reader
		if r, err = archive.OpenSegment(ctx, s.blobs, s.segments[i].Name); err != nil {
			return true
		}
		defer r.Close()
		return !r.Info().LastAt.Before(t)
	})
	if err != nil {
		return 0, fmt.Errorf("find root of %s at %s: %w", s.name(), t.Format(time.RFC3339), err)
	}
	if i == len(s.segments) {
		root, err := s.broker.RootAt(ctx, s.of, s.partition, t)
		return max(root, s.archived+1), err
	}
	r, err := archive.OpenSegment(ctx, s.blobs, s.segments[i].Name)
	if err != nil {
		return 0, fmt.Errorf("find root of %s at %s: %w", s.name(), t.Format(time.RFC3339), err)
	}
	defer r.Close()
	info := r.Info()
	n := int(info.Last + 1 - info.First)
	return info.First + uint64(sort.Search(n, func(i int) bool { return !r.At(info.First + uint64(i)).Before(t) })), nil
}

// size is about how many payload bytes the roots first to last have: exact for
// what is archived, the log's average for the rest.
func (s *source) size(ctx context.Context, first, last uint64) (int64, error) {
	total, next := int64(0), first
	for next <= last {
		g, ok := s.segment(next)
		if !ok {
			break
		}
		r, err := archive.OpenSegment(ctx, s.blobs, g.Name)
		if err != nil {
			return 0, err
		}
		total += r.Size(next, last)
		r.Close()
		next = g.Last + 1
	}
	if next <= last && s.log.Messages > 0 {
		// Messages differ: never more than the whole log, and twice the average.
		average := s.log.Bytes / s.log.Messages
		total += int64(min(s.log.Bytes, 2*average*(last-next+1)))
	}
	return total, nil
}

// errMissing says that neither archive nor log has a root.
var errMissing = errors.New("root is neither in the archive nor in the log")

// each hands every message of the roots first to last to take, in order.
func (s *source) each(ctx context.Context, first, last uint64, take func(archive.Message) error) error {
	for next := first; next <= last; {
		g, ok := s.segment(next)
		if !ok {
			read, err := s.eachOfLog(ctx, next, last, take)
			if next = read + 1; err == nil || !s.moved(ctx, next, err) {
				return err
			}
			continue // archived and truncated since the look at the archive
		}
		data, err := s.blobs.Get(ctx, g.Name)
		if err != nil {
			return fmt.Errorf("read segment %s: %w", g.Name, err)
		}
		r, err := archive.Decode(data)
		if err != nil {
			return fmt.Errorf("read segment %s: %w", g.Name, err)
		}
		r.Unseal(s.deps.Keys)
		for ; next <= min(last, g.Last); next++ {
			m, err := r.Read(ctx, next)
			if err == nil {
				if s.deps.Erased != nil {
					s.deps.Erased.Add(int64(m.Erased))
				}
				err = take(m)
			}
			if err != nil {
				r.Close()
				return err
			}
		}
		r.Close()
	}
	return nil
}

// moved looks at the archive again when the log does not hold a root any more.
func (s *source) moved(ctx context.Context, root uint64, err error) bool {
	var h *stream.HaltError
	if !errors.Is(err, errMissing) && !errors.As(err, &h) || s.blobs == nil {
		return false
	}
	again, err := s.deps.openSource(ctx, s.of, s.partition)
	if err != nil {
		return false
	}
	*s = *again
	_, ok := s.segment(root)
	return ok
}

// eachOfLog answers with the last root that was taken.
func (s *source) eachOfLog(ctx context.Context, first, last uint64, take func(archive.Message) error) (uint64, error) {
	read := first - 1
	if s.log.Messages == 0 || s.log.FirstSeq > first || s.log.LastSeq < last {
		return read, fmt.Errorf("%w: %s, root %d; the log holds %d to %d, the archive ends at %d", errMissing, s.name(), first, s.log.FirstSeq, s.log.LastSeq, s.archived)
	}
	err := s.broker.Follow(ctx, s.of, s.partition, first-1, func(m stream.Message) (bool, error) {
		err := take(archive.Message{Root: m.To, At: m.At, Payload: m.Payload})
		if err == nil {
			read = m.To
		}
		return m.To >= last, err
	})
	return read, err
}
