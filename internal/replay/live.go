package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// ErrForeign says that an archive is not that of the log.
var ErrForeign = errors.New("the archive holds other bytes than the log: it is another deployment's")

// ErrLost says that the log ends before what the archive holds.
var ErrLost = errors.New("the log ends below roots that the archive holds")

// CheckLive tells whether a plan may be published into the live INGEST: the
// roots are known to it, the bytes are the same where it still has them, and
// there is room.
func (d Deps) CheckLive(ctx context.Context, p *Plan) error {
	for _, part := range p.Parts {
		s, err := d.openSource(ctx, stream.Ingest, part.Partition)
		if err != nil {
			return err
		}
		if s.log.LastSeq < part.To {
			return fmt.Errorf("%w: %s ends at root %d, the archive at %d: these would fold as new data under new roots; `edgepulse recover` puts them back in their place",
				ErrLost, s.name(), s.log.LastSeq, s.archived)
		}
		for _, root := range []uint64{part.From, part.To} {
			if err := s.sameAsLog(ctx, root); err != nil {
				return err
			}
		}
		const share = 10 // of the log must stay free
		if free := s.log.MaxBytes - int64(s.log.Bytes); part.Bytes > free-s.log.MaxBytes/share {
			return fmt.Errorf("%s has %d MiB left and the range has %d MiB: a full log would refuse what sensors send; raise EDGEPULSE_LOG_MAX_BYTES or replay into a shadow",
				s.name(), free>>20, part.Bytes>>20)
		}
	}
	return nil
}

// sameAsLog compares the archived bytes of a root with the log's, where both have it.
func (s *source) sameAsLog(ctx context.Context, root uint64) error {
	m, ok, err := s.archivedBytes(ctx, root)
	if err != nil || !ok || m.Erased > 0 {
		return err
	}
	live, _, err := s.broker.ReadMessage(ctx, s.of, s.partition, root)
	if errors.Is(err, stream.ErrNoRoot) {
		return nil
	}
	if err != nil {
		return err
	}
	// A re-publication is archived empty.
	if len(m.Payload) > 0 && !bytes.Equal(m.Payload, live) {
		return fmt.Errorf("%w (root %d of %s)", ErrForeign, root, s.name())
	}
	return nil
}

// Live publishes a plan into the live INGEST once more. Every message names its
// original root and folds as an empty root. Begun again it publishes all again,
// which does as little.
func (d Deps) Live(ctx context.Context, p *Plan, speed float64, progress func(Progress)) (published int, err error) {
	f, err := p.Filter()
	if err != nil {
		return 0, err
	}
	g, ctx := errgroup.WithContext(ctx)
	counts := make(chan int, len(p.Parts))
	once := &pace{speed: speed}
	for _, part := range p.Parts {
		g.Go(func() error {
			s, err := d.openSource(ctx, stream.Ingest, part.Partition)
			if err != nil {
				return err
			}
			next := part.From
			return persist(ctx, func() (bool, error) {
				before := next
				err := s.pump(ctx, next, part.To, part.From, f, once, func(w *window) error {
					roots, payloads := withBatches(w, f)
					if len(roots) > 0 {
						if err := d.Broker.Republish(ctx, part.Partition, roots, payloads); err != nil {
							return err
						}
					}
					select {
					case counts <- len(w.roots):
					case <-ctx.Done():
						return ctx.Err()
					}
					next = w.roots[len(w.roots)-1] + 1
					return nil
				})
				return next != before, err
			})
		})
	}
	done := make(chan error, 1)
	go func() { done <- g.Wait(); close(counts) }()
	total := p.Roots()
	for n := range counts {
		published += n
		if progress != nil {
			progress(Progress{Published: published, Folded: published, Total: total})
		}
	}
	return published, <-done
}

// withBatches leaves messages out that a filter has emptied of all data.
func withBatches(w *window, f Filter) (roots []uint64, payloads [][]byte) {
	if f.Whole() {
		return w.roots, w.payloads
	}
	for i, p := range w.payloads {
		g := &schemas.Group{}
		if g.UnmarshalVTUnsafe(p) != nil {
			continue
		}
		for _, e := range g.Entries {
			if schemas.KindOf(e) == schemas.KindBatch {
				roots, payloads = append(roots, w.roots[i]), append(payloads, p)
				break
			}
		}
	}
	return roots, payloads
}
