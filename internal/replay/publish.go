package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/stream"
)

// A window of messages is in flight at once; the server stores them in order.
const (
	windowMessages = 256
	windowBytes    = 4 << 20
	// brokerPatience is how long a broker may refuse or not answer.
	brokerPatience = time.Minute
)

// errPublish marks what went wrong on the way into a log, and may pass.
var errPublish = errors.New("publish")

// window gathers messages for one publish.
type window struct {
	roots    []uint64
	payloads [][]byte
	bytes    int
}

func (w *window) add(root uint64, payload []byte) {
	w.roots, w.payloads, w.bytes = append(w.roots, root), append(w.payloads, payload), w.bytes+len(payload)
}

func (w *window) full() bool { return len(w.roots) >= windowMessages || w.bytes >= windowBytes }

func (w *window) reset() { w.roots, w.payloads, w.bytes = w.roots[:0], w.payloads[:0], 0 }

// pump reads the roots first to last, filters them, keeps the pace from root
// paced on, and hands them over in windows.
func (s *source) pump(ctx context.Context, first, last, paced uint64, f Filter, p *pace, publish func(*window) error) error {
	w := &window{}
	flush := func() error {
		if len(w.roots) == 0 {
			return nil
		}
		defer w.reset()
		if err := publish(w); err != nil {
			return fmt.Errorf("%w: %w", errPublish, err)
		}
		return nil
	}
	err := s.each(ctx, first, last, func(m archive.Message) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if m.Root >= paced {
			if d := p.due(m.Payload, time.Now()); d > 0 {
				if err := flush(); err != nil {
					return err
				}
				if err := wait(ctx, d); err != nil {
					return err
				}
			}
		}
		payload, err := f.group(m.Payload)
		if err != nil {
			return fmt.Errorf("filter root %d: %w", m.Root, err)
		}
		w.add(m.Root, payload)
		if w.full() {
			return flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

// persist calls work until it is done, as long as it moves on within the
// broker's patience. Only what may pass is tried again.
func persist(ctx context.Context, work func() (moved bool, err error)) error {
	since := time.Now()
	for {
		moved, err := work()
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case errors.Is(err, stream.ErrLogFull) || !errors.Is(err, errPublish):
			return err
		case moved:
			since = time.Now()
		case time.Since(since) > brokerPatience:
			return err
		}
		if err := wait(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}
