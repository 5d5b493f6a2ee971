package play

import (
	"context"
	"sync"
	"time"

	"github.com/edgepulse/edgepulse/internal/simulate"
)

// Sensors sends the present of a fleet. Devices are independent, as in life: one
// whose request takes long holds up none of the others.
type Sensors struct {
	ctx context.Context
	s   Sender
	o   Options

	mu      sync.Mutex
	fleet   *simulate.Fleet
	waiting map[string][]*body // by device
	busy    map[string]bool    // a goroutine sends what waits
	running sync.WaitGroup
	until   time.Time // measured
	sent    time.Time // and sent
	points  int
	err     error
}

// NewSensors makes the sensors of a fleet whose points before from are sent. ctx
// bounds all requests.
func NewSensors(ctx context.Context, s Sender, f *simulate.Fleet, from time.Time, o Options) *Sensors {
	return &Sensors{ctx: ctx, s: s, o: o, fleet: f, waiting: map[string][]*body{}, busy: map[string]bool{}, until: from, sent: from}
}

// Play lets another fleet with the same devices go on, from the last Step.
func (l *Sensors) Play(f *simulate.Fleet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fleet = f
}

// Step hands over what was measured before now, without waiting for the answers.
// An error is that of an earlier request; nothing is sent after it.
func (l *Sensors) Step(now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if len(l.busy) == 0 {
		l.sent = l.until
	}
	for p := range l.fleet.Until(now) {
		if !l.o.keeps(p) {
			continue
		}
		q := l.waiting[p.Device]
		if len(q) == 0 || q[len(q)-1].points == maxPoints {
			q = append(q, &body{})
			l.waiting[p.Device] = q
		}
		q[len(q)-1].add(p)
	}
	l.until = now
	for device := range l.waiting {
		if !l.busy[device] {
			l.busy[device] = true
			l.running.Go(func() { l.drain(device) })
		}
	}
	return nil
}

// Wait returns when all that was handed over is answered.
func (l *Sensors) Wait() error {
	l.running.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.sent = l.until
	}
	return l.err
}

// Sent is the instant before which everything is answered.
func (l *Sensors) Sent() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent
}

// drain sends what waits of one device, in order.
func (l *Sensors) drain(device string) {
	for {
		l.mu.Lock()
		q := l.waiting[device]
		if len(q) == 0 || l.err != nil {
			delete(l.waiting, device)
			delete(l.busy, device)
			l.mu.Unlock()
			return
		}
		b := q[0]
		l.waiting[device] = q[1:]
		l.mu.Unlock()

		err := send(l.ctx, l.s, b, false)

		l.mu.Lock()
		if err != nil && l.err == nil {
			l.err = err
		}
		l.points += b.points
		n := l.points
		l.mu.Unlock()
		if err == nil && l.o.Progress != nil {
			l.o.Progress(n)
		}
	}
}
