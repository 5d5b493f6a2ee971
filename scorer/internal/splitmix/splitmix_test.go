package splitmix

import "testing"

// The first numbers of seed 1234567 as published with the reference C code
// (prng.di.unimi.it/splitmix64.c).
func TestReferenceStream(t *testing.T) {
	s := Source{State: 1234567}
	for i, want := range []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821} {
		if got := s.Uint64(); got != want {
			t.Fatalf("number %d: got %d, want %d", i, got, want)
		}
	}
}

func TestIntnIsUniform(t *testing.T) {
	var s Source
	var seen [7]int
	const draws = 70000
	for range draws {
		seen[s.Intn(len(seen))]++
	}
	for k, n := range seen {
		if n < 9500 || n > 10500 {
			t.Errorf("%d drawn %d times of %d", k, n, draws)
		}
	}
}
