package monitor

import (
	"testing"
	"time"
)

func TestGrowth(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	g := &growth{}
	for s, end := range []uint64{10, 10, 12, 15} {
		g.reached(end, at(s))
	}
	for _, c := range []struct {
		pos     uint64
		at      time.Time
		certain bool
	}{
		{9, at(0), false}, // was beyond it when looking began: how long ago is not known
		{10, at(2), true},
		{11, at(2), true},
		{12, at(3), true},
		{15, time.Time{}, false}, // not behind
	} {
		got, certain := g.passed(c.pos)
		if !got.Equal(c.at) || certain != c.certain {
			t.Errorf("passed(%d) = %s, %t; expected %s, %t", c.pos, got, certain, c.at, c.certain)
		}
	}
	g.reached(3, at(9)) // rebuilt: the past says nothing any more
	if g.end() != 3 || len(g.ends) != 1 {
		t.Errorf("after a rebuild it remembers %v", g.ends)
	}
	for i := range 2 * remembered {
		g.reached(uint64(10+i), at(10+i))
	}
	if len(g.ends) != remembered {
		t.Errorf("it remembers %d times, expected %d", len(g.ends), remembered)
	}
}
