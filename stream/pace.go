package stream

import "time"

// Pace spaces the messages of one writer. Every message costs each process that
// reads it the same, however little it holds: under load they grow in place of
// coming more often. How busy a machine is shows in how long a write takes, so the
// distance grows with that, up to paceMost times the shortest one.
type Pace struct {
	Shortest time.Duration // 0 = no distance
	wrote    time.Time
	took     time.Duration // the usual one
}

const (
	paceFactor = 3 // at most about a quarter of the time is spent writing
	paceMost   = 4
)

// Wrote says that a write began at a moment and took so long.
func (p *Pace) Wrote(at time.Time, took time.Duration) {
	p.wrote = at
	p.took += (took - p.took) / 8
}

// Due is when the next write may begin.
func (p *Pace) Due() time.Time { return p.wrote.Add(p.distance()) }

func (p *Pace) distance() time.Duration {
	return min(max(p.Shortest, paceFactor*p.took), paceMost*p.Shortest)
}
