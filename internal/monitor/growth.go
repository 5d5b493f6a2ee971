package monitor

import (
	"slices"
	"sort"
	"time"
)

// remembered is how many times of growth are kept: an hour of looks.
const remembered = 720

// growth is when a log was seen to reach which end.
type growth struct {
	ends []uint64 // ascending
	at   []time.Time
}

func (g *growth) end() uint64 {
	if len(g.ends) == 0 {
		return 0
	}
	return g.ends[len(g.ends)-1]
}

// reached records an end. One that goes back (a rebuild) makes the past worthless.
func (g *growth) reached(end uint64, now time.Time) {
	if len(g.ends) > 0 {
		switch last := g.end(); {
		case end == last:
			return
		case end < last:
			g.ends, g.at = g.ends[:0], g.at[:0]
		}
	}
	if len(g.ends) == remembered {
		g.ends, g.at = slices.Delete(g.ends, 0, 1), slices.Delete(g.at, 0, 1)
	}
	g.ends, g.at = append(g.ends, end), append(g.at, now)
}

// passed is when the log was first seen beyond pos. It is certain when the log
// was also seen before that; else it had passed pos already when looking began.
func (g *growth) passed(pos uint64) (at time.Time, certain bool) {
	i := sort.Search(len(g.ends), func(i int) bool { return g.ends[i] > pos })
	if i == len(g.ends) {
		return time.Time{}, false
	}
	return g.at[i], i > 0
}
