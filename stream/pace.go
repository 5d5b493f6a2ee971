package stream

import "time"

// Pace spaces the messages of one writer. Every message costs each process that
// reads it the same, however little it holds: under load they grow in place of
// coming more often. How busy a machine is shows in how long a write takes, so the
// distance grows with that, up to paceMost times the shortest one. Where messages are
// few nobody waits: one that came late enough to have left room for another earns a
// write that needs no distance.
type Pace struct {
	Shortest time.Duration // 0 = no distance
	wrote    time.Time
	took     time.Duration // the usual one
	earned   int
}

const (
	paceFactor = 3 // at most about a quarter of the time is spent writing
	paceMost   = 4
	paceEarned = 4 // at most
)

// Wrote says that a write began at a moment and took so long.
func (p *Pace) Wrote(at time.Time, took time.Duration) {
	switch since, distance := at.Sub(p.wrote), p.distance(); {
	case since >= 2*distance:
		p.earned = min(p.earned+1, paceEarned)
	case since < distance:
		p.earned = max(p.earned-1, 0)
	}
	p.wrote = at
	p.took += (took - p.took) / 8
}

// Due is when the next write may begin.
func (p *Pace) Due() time.Time {
	if p.earned > 0 {
		return p.wrote
	}
	return p.wrote.Add(p.distance())
}

func (p *Pace) distance() time.Duration {
	return min(max(p.Shortest, paceFactor*p.took), paceMost*p.Shortest)
}
