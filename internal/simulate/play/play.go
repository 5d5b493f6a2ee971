// Package play sends a simulated fleet to a service through its API: history in
// bulk as backfill, the present as it happens.
//
// What comes in: a Fleet and a Sender. What goes out: ingest requests. Order: the
// points of a device by time, one request after the other; devices of a history
// side by side. State: none but the fleet's cursor. Failure: the error of the
// request that failed; the Sender has retried by then.
package play

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgepulse/edgepulse/internal/simulate"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// Sender is the API.
type Sender interface {
	Ingest(ctx context.Context, body []byte, idempotencyKey string) (api.IngestAnswer, error)
}

// Options of sending.
type Options struct {
	Keep     func(simulate.Point) bool // nil = every point
	Progress func(points int)          // total so far; called from several goroutines
	Lanes    int                       // requests of a history at one time; default 4
}

func (o Options) keeps(p simulate.Point) bool { return o.Keep == nil || o.Keep(p) }

// History sends every point before until as backfill and returns how many. Equal
// bodies carry equal Idempotency-Keys: sending the same history again changes nothing.
func History(ctx context.Context, s Sender, f *simulate.Fleet, until time.Time, o Options) (int, error) {
	if o.Lanes <= 0 {
		o.Lanes = 4
	}
	var sent atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	lanes := make([]chan *body, o.Lanes)
	for i := range lanes {
		lanes[i] = make(chan *body, 1)
		g.Go(func() error {
			for b := range lanes[i] {
				if err := send(ctx, s, b, true); err != nil {
					return err
				}
				n := sent.Add(int64(b.points))
				if o.Progress != nil {
					o.Progress(int(n))
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer func() {
			for _, l := range lanes {
				close(l)
			}
		}()
		return spread(ctx, f, until, o, lanes)
	})
	err := g.Wait()
	return int(sent.Load()), err
}

// spread deals the points out: a device always to the same lane, so that its
// history arrives in order.
func spread(ctx context.Context, f *simulate.Fleet, until time.Time, o Options, lanes []chan *body) error {
	open := map[string]*body{}
	put := func(device string) error {
		h := fnv.New32a()
		_, _ = h.Write([]byte(device)) // never fails
		select {
		case lanes[int(h.Sum32()%uint32(len(lanes)))] <- open[device]:
			delete(open, device)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for p := range f.Until(until) {
		if !o.keeps(p) {
			continue
		}
		b := open[p.Device]
		if b == nil {
			b = &body{}
			open[p.Device] = b
		}
		if b.add(p); b.points == maxPoints {
			if err := put(p.Device); err != nil {
				return err
			}
		}
	}
	for _, device := range f.Devices() {
		if open[device] != nil {
			if err := put(device); err != nil {
				return err
			}
		}
	}
	return nil
}

// Live sends points when their time has come, until ctx ends (then the error is
// nil) or a request fails for good. It returns up to which instant all is sent.
func Live(ctx context.Context, s Sender, f *simulate.Fleet, from time.Time, o Options) (time.Time, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	l := NewSensors(ctx, s, f, from, o)
	for {
		select {
		case <-ctx.Done():
			return l.Sent(), nil
		case <-tick.C:
		}
		if err := l.Step(time.Now()); err != nil && ctx.Err() == nil {
			return l.Sent(), err
		}
	}
}

func send(ctx context.Context, s Sender, b *body, backfill bool) error {
	js := b.json(backfill)
	sum := sha256.Sum256(js)
	answer, err := s.Ingest(ctx, js, "play-"+hex.EncodeToString(sum[:20]))
	if err != nil {
		return fmt.Errorf("send %d points up to %s: %w", b.points, time.UnixMicro(b.last).UTC().Format(time.RFC3339), err)
	}
	if answer.Rejected > 0 && len(answer.Errors) > 0 {
		e := answer.Errors[0]
		return fmt.Errorf("the service refused %d of %d points, the first at %s: %s", answer.Rejected, b.points, e.Pointer, e.Detail)
	}
	return nil
}
