package scorer

import (
	"math"

	"github.com/edgepulse/edgepulse/schemas/zones"
)

const (
	slotsMost   = 288
	slotRate    = .2 // per visit, that is per day
	slotWinsor  = 6.0
	dayMicros   = int64(86400) * 1e6
	restepRatio = 1.5 // the table is remade when the step moves further than this
)

// slotCounts are the tables there are; all divide the day.
var slotCounts = [...]int{288, 144, 96, 48, 24}

// season is the metric's usual value by time of day, in the metric's zone: where
// clocks are put forward a slot is left out that day, where they are put back one
// is visited twice. A slot learns once
// per visit, from the mean of the visit, so that ten rows in a slot weigh like
// one.
type season struct {
	count uint32 // slots in use
	step  float64
	mean  [slotsMost]float32
	seen  [slotsMost]bool
	zone  *zones.Zone // of the settings, not state; nil = UTC

	slot uint32 // being visited
	sum  float64
	rows uint32
}

// fit chooses the number of slots for a sampling step; a step that has really
// changed starts the table over.
func (s *season) fit(dt float64) {
	if s.count > 0 && dt < s.step*restepRatio && dt*restepRatio > s.step {
		return
	}
	want := slotCounts[len(slotCounts)-1]
	for _, n := range slotCounts {
		if float64(n) <= 1.02*86400/dt {
			want = n
			break
		}
	}
	if uint32(want) == s.count {
		s.step = dt
		return
	}
	*s = season{count: uint32(want), step: dt, zone: s.zone}
}

func (s *season) slotOf(ts int64) uint32 {
	day := (ts + s.zone.Offset(ts)) % dayMicros
	if day < 0 {
		day += dayMicros
	}
	return uint32(day * int64(s.count) / dayMicros)
}

// move goes over to another zone. What was learned goes along: it is turned by what
// the clocks of the two zones differ at ts.
func (s *season) move(zone *zones.Zone, ts int64) {
	turn := zone.Offset(ts) - s.zone.Offset(ts)
	s.zone = zone
	if s.count == 0 || turn == 0 {
		return
	}
	n := int64(s.count)
	by := (turn*n + dayMicros/2) / dayMicros
	if turn < 0 {
		by = n - (-turn*n+dayMicros/2)/dayMicros
	}
	mean, seen := s.mean, s.seen
	for i := range n {
		to := (i + by) % n
		s.mean[to], s.seen[to] = mean[i], seen[i]
	}
	s.slot = uint32((int64(s.slot) + by) % n)
}

// at is the usual value at ts, if that time of day has been visited before.
func (s *season) at(ts int64) (float64, bool) {
	k := s.slotOf(ts)
	return float64(s.mean[k]), s.seen[k]
}

// add takes x into the visit under way and closes the one before when the slot
// changes; scale winsorises what a visit may teach.
func (s *season) add(ts int64, x, scale float64) {
	k := s.slotOf(ts)
	if s.rows > 0 && k != s.slot {
		s.close(scale)
	}
	s.slot = k
	s.sum += x
	s.rows = min(s.rows+1, math.MaxUint32-1)
}

func (s *season) close(scale float64) {
	visit := s.sum / float64(s.rows)
	k := s.slot
	if s.seen[k] {
		limit := slotWinsor * scale
		d := min(max(visit-float64(s.mean[k]), -limit), limit)
		visit = float64(s.mean[k]) + float64(slotRate*d)
	}
	s.mean[k], s.seen[k] = float32(visit), true
	s.sum, s.rows = 0, 0
}

func (s *season) code(c *coder) {
	c.count(&s.count, slotsMost)
	c.float(&s.step)
	c.count(&s.slot, slotsMost-1)
	c.float(&s.sum)
	c.count(&s.rows, math.MaxUint32)
	c.flags(s.seen[:s.count])
	for i := range s.seen[:s.count] {
		if s.seen[i] {
			c.float32(&s.mean[i])
		}
	}
}
