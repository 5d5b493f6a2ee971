package stream

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	p := Pace{Shortest: 5 * time.Millisecond}
	distance := func(took time.Duration) time.Duration {
		for range 100 { // until the usual one is this one
			p.Wrote(at, took)
			at = p.Due() // as fast as it may
		}
		p.Wrote(at, took)
		return p.Due().Sub(at)
	}
	for _, c := range []struct{ took, want time.Duration }{
		{time.Millisecond, 5 * time.Millisecond},      // idle: the shortest
		{4 * time.Millisecond, 12 * time.Millisecond}, // busy
		{time.Second, 20 * time.Millisecond},          // bounded
		{time.Millisecond, 5 * time.Millisecond},      // and back
	} {
		if got := distance(c.took); got < c.want-100*time.Microsecond || got > c.want+100*time.Microsecond {
			t.Errorf("writes of %s: distance %s, want %s", c.took, got, c.want)
		}
	}
	p = Pace{}
	if got := distance(time.Second); got != 0 {
		t.Errorf("without a distance: %s", got)
	}
}

// Who writes seldom waits for nothing; under load what was earned is soon spent.
func TestPaceOfFew(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	p := Pace{Shortest: 5 * time.Millisecond}
	write := func(after time.Duration) (early bool) {
		at = at.Add(after)
		early = at.Before(p.wrote.Add(p.Shortest))
		if at.Before(p.Due()) {
			at, early = p.Due(), false
		}
		p.Wrote(at, time.Millisecond)
		return early
	}
	for range 20 {
		write(30 * time.Millisecond)
		if !write(time.Millisecond) {
			t.Fatal("one of two in 31 ms had to wait")
		}
	}
	early := 0
	for range 1000 {
		if write(time.Millisecond) {
			early++
		}
	}
	if early > paceEarned {
		t.Errorf("%d of 1000 in a row kept no distance", early)
	}
}
