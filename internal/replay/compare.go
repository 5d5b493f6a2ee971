package replay

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgepulse/edgepulse/stream"
)

// Comparison is what holding one log's partition against another gave.
type Comparison struct {
	Log       stream.LogName
	Partition int
	Roots     int // compared, those without outputs too
	Gone      int // roots before them that the live log does not hold any more
	Outputs   int // of the live log
	Differing int // roots whose SHA-256 over all outputs differs
	First     *Difference
}

// Difference is the first root that differs, with its outputs.
type Difference struct {
	Root          uint64
	Live, Shadow  [][]byte
	LiveSum, Sum  [sha256.Size]byte
	FoldedVersion uint32 // of the live outputs
}

// ErrFoldVersion refuses a range that was folded by a version this binary lacks.
var ErrFoldVersion = errors.New("range was folded by a version that this binary does not have")

// Compare holds POINTS, FEATURES, SCORES and ALERTS of the shadow against the
// live logs, over the roots that were asked for. Both must have passed them.
func (s *Shadow) Compare(ctx context.Context) ([]Comparison, error) {
	var out []Comparison
	for _, stage := range s.deps.Stages {
		for _, part := range s.Plan.Parts {
			c, err := s.compare(ctx, stage, part)
			if err != nil {
				return out, err
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// liveLag is how long the live stages may stand still below the range's end.
const liveLag = time.Minute

// reached waits until a log covers a root. A broker that is slow to answer is
// asked again.
func (d Deps) reached(ctx context.Context, log stream.LogName, partition int, root uint64) error {
	since, before := time.Now(), uint64(0)
	for {
		end, err := d.Broker.End(ctx, log, partition)
		switch {
		case err != nil:
			if ctx.Err() != nil || time.Since(since) > liveLag {
				return err
			}
		case end >= root:
			return nil
		case end != before:
			since, before = time.Now(), end
		case time.Since(since) > liveLag:
			return fmt.Errorf("log %s is at root %d and does not reach root %d: is its stage running? (`edgepulse status`)", stream.StreamName(log, partition), end, root)
		}
		if err := wait(ctx, look); err != nil {
			return err
		}
	}
}

func (s *Shadow) compare(ctx context.Context, stage stream.Stage, part Part) (Comparison, error) {
	begin, err := s.deps.Broker.Beginning(ctx, stage.To, part.Partition)
	if err != nil {
		return Comparison{}, err
	}
	out := Comparison{Log: stage.To, Partition: part.Partition}
	if begin >= part.From {
		out.Gone = int(min(begin, part.To) + 1 - part.From)
		part.From = begin + 1
	}
	if part.From > part.To {
		return out, nil
	}
	out.Roots = int(part.To + 1 - part.From)
	for _, log := range []stream.LogName{stage.To, stage.To.In(s.Name)} {
		if err := s.deps.reached(ctx, log, part.Partition, part.To); err != nil {
			return out, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	live, shadow := make(chan outputs, 64), make(chan outputs, 64)
	g.Go(func() error { return s.outputs(ctx, stage, stage.To, part, live) })
	g.Go(func() error { return s.outputs(ctx, stage, stage.To.In(s.Name), part, shadow) })
	g.Go(func() error { return out.merge(ctx, live, shadow) })
	return out, g.Wait()
}

// outputs are what one log says of one root.
type outputs struct {
	root    uint64
	entries [][]byte
	version uint32
}

// outputs sends the roots of a part that have outputs, and ends with closing to.
func (s *Shadow) outputs(ctx context.Context, stage stream.Stage, log stream.LogName, part Part, to chan<- outputs) error {
	defer close(to)
	return s.deps.Broker.Follow(ctx, log, part.Partition, part.From-1, func(m stream.Message) (bool, error) {
		if _, ok := stage.Folds[m.FoldVersion]; !ok && m.To >= part.From && m.To > m.From {
			return true, fmt.Errorf("%w: roots up to %d of %s by version %d of the %s", ErrFoldVersion, m.To,
				stream.StreamName(log, part.Partition), m.FoldVersion, stage.Name)
		}
		for _, r := range m.Roots {
			if r.Root > part.To {
				return true, nil
			}
			o := outputs{root: r.Root, version: m.FoldVersion}
			for _, e := range r.Entries {
				keep, err := s.filter.output(e)
				if err != nil {
					return true, fmt.Errorf("read root %d of %s: %w", r.Root, stream.StreamName(log, part.Partition), err)
				}
				if keep {
					o.entries = append(o.entries, e)
				}
			}
			if len(o.entries) == 0 {
				continue
			}
			select {
			case to <- o:
			case <-ctx.Done():
				return true, ctx.Err()
			}
		}
		return m.To >= part.To, nil
	})
}

// merge walks both logs by root.
func (c *Comparison) merge(ctx context.Context, live, shadow <-chan outputs) error {
	l, s := next(ctx, live), next(ctx, shadow)
	for l != nil || s != nil {
		var left, right outputs
		switch {
		case s == nil || l != nil && l.root < s.root:
			left, right.root = *l, l.root
		case l == nil || s.root < l.root:
			right, left.root = *s, s.root
		default:
			left, right = *l, *s
		}
		c.root(left, right)
		if l != nil && l.root == left.root {
			l = next(ctx, live)
		}
		if s != nil && s.root == left.root {
			s = next(ctx, shadow)
		}
	}
	return ctx.Err()
}

func next(ctx context.Context, in <-chan outputs) *outputs {
	select {
	case o, ok := <-in:
		if ok {
			return &o
		}
	case <-ctx.Done():
	}
	return nil
}

func (c *Comparison) root(live, shadow outputs) {
	c.Outputs += len(live.entries)
	ls, ss := sum(live.entries), sum(shadow.entries)
	if ls == ss {
		return
	}
	c.Differing++
	if c.First == nil {
		c.First = &Difference{Root: live.root, Live: live.entries, Shadow: shadow.entries, LiveSum: ls, Sum: ss, FoldedVersion: live.version}
	}
}

// sum is the SHA-256 over the outputs of a root, each with its length.
func sum(entries [][]byte) [sha256.Size]byte {
	h := sha256.New()
	var n [8]byte
	for _, e := range entries {
		binary.LittleEndian.PutUint64(n[:], uint64(len(e)))
		h.Write(n[:])
		h.Write(e)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
