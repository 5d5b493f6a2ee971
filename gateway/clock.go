package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
)

// SystemClock is the clock of the machine.
type SystemClock struct{}

// Now is in microseconds.
func (SystemClock) Now() int64 { return time.Now().UnixMicro() }

// SimClock stands still until it is set: a month can pass in minutes.
type SimClock struct {
	mu  sync.Mutex
	now int64
}

// NewSimClock starts at an instant in microseconds.
func NewSimClock(start int64) *SimClock { return &SimClock{now: start} }

// Now is in microseconds.
func (c *SimClock) Now() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *SimClock) set(now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = max(c.now, now)
}

// fillGap is how many seconds of delay of our own loop are made up for: none. A
// gap must be seen as one by the folds, which extend deadlines by it; a stall of
// three seconds that was filled looked like three seconds of silent sensors.
const fillGap = 1

// ticker writes ticks. Only one goroutine at a time advances it.
type ticker struct {
	mu   sync.Mutex
	last int64 // second ticked last in all partitions
}

// runTicks writes a tick per second of the system clock until ctx ends.
func (s *Server) runTicks(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		now := s.clock.Now()
		s.ticker.mu.Lock()
		from := s.ticker.last + 1
		if now/1e6-s.ticker.last > fillGap {
			from = now / 1e6
		}
		if err := s.writeTicks(ctx, from, now/1e6); err != nil && ctx.Err() == nil {
			s.logger.Warn("write ticks failed", "error", err) // the next second says it anew
		}
		s.ticker.mu.Unlock()
		timer.Reset(time.Duration(1e6-s.clock.Now()%1e6) * time.Microsecond)
	}
}

// writeTicks appends the seconds from..to to every partition, some per message.
// The caller holds ticker.mu.
func (s *Server) writeTicks(ctx context.Context, from, to int64) error {
	for ; from <= to; from += int64(s.cfg.TickChunk) {
		if err := ctx.Err(); err != nil {
			return err
		}
		first, last := from, min(to, from+int64(s.cfg.TickChunk)-1)
		size := int(last-first+1) * 12
		err := s.appendSystem(ctx, s.partitions(), size, func(group []byte) []byte {
			for sec := first; sec <= last; sec++ {
				group = appendEntry(group, &schemas.Entry{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: sec}}})
			}
			return group
		})
		if err != nil {
			return err
		}
		s.ticker.last = last
		s.metrics.ticks.Add(float64(last - first + 1))
	}
	return nil
}

func (s *Server) partitions() []int {
	all := make([]int, len(s.committers))
	for i := range all {
		all[i] = i
	}
	return all
}

type clockBody struct {
	Now time.Time `json:"now"`
}

// handleClock is POST /v1/clock. It answers when every second up to then is on
// disk: whatever is sent afterwards comes after these ticks.
func (s *Server) handleClock(w http.ResponseWriter, r *http.Request) {
	var body clockBody
	if !s.readJSON(w, r, &body) {
		return
	}
	s.ticker.mu.Lock()
	defer s.ticker.mu.Unlock()
	now, to := s.sim.Now(), body.Now.UnixMicro()
	switch {
	case to < now:
		s.problem(w, r, invalid("/now", "clock_goes_back", fmt.Sprintf("the clock shows %s; it only goes forward", rfc3339(now))))
		return
	case to-now > s.cfg.MaxAdvance.Microseconds():
		s.problem(w, r, invalid("/now", "step_too_long", fmt.Sprintf("at most %s at a time", s.cfg.MaxAdvance)))
		return
	}
	// A long step outlasts the time that the server gives other answers.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	// In steps: requests that come while days pass are received at the second the
	// ticks have reached, not at the end.
	for {
		step := min(to, (s.ticker.last+int64(s.cfg.TickChunk)+1)*1e6-1)
		if err := s.writeTicks(r.Context(), s.ticker.last+1, step/1e6); err != nil {
			s.problem(w, r, logProblem(err))
			return
		}
		s.sim.set(step)
		if step == to {
			break
		}
	}
	s.writeJSON(w, r, http.StatusOK, clockBody{time.UnixMicro(to).UTC()})
}

func rfc3339(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339Nano) }

var errNoSim = errors.New("clock sim needs a *SimClock")
