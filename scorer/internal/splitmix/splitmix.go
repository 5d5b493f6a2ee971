// Package splitmix is the scorer's only source of randomness: SplitMix64
// (Steele, Lea, Flood: "Fast splittable pseudorandom number generators",
// OOPSLA 2014).
//
// In: a 64-bit seed. Out: a stream of uniform numbers that depends on nothing
// but the seed. The whole state is one exported word, so a snapshot of its owner
// stores it as it is and a restored owner draws the same numbers. Nothing can
// fail.
package splitmix

import "math/bits"

// Source is the generator; its zero value is a valid seed.
type Source struct{ State uint64 }

// Uint64 returns the next 64 uniform bits.
func (s *Source) Uint64() uint64 {
	s.State += 0x9e3779b97f4a7c15
	return Mix(s.State)
}

// Float64 returns a uniform number in [0,1) with 53 bits.
func (s *Source) Float64() float64 { return float64(s.Uint64()>>11) * 0x1p-53 }

// Intn returns a uniform integer in [0,n); n must be positive. The bias of the
// multiply-and-shift (at most n/2^64) is far below anything a sample can show.
func (s *Source) Intn(n int) int {
	hi, _ := bits.Mul64(s.Uint64(), uint64(n))
	return int(hi)
}

// Mix is the finaliser of SplitMix64, a bijection on 64-bit words. It derives
// independent seeds from structured ones (a metric's seed and a refit number).
func Mix(z uint64) uint64 {
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}
