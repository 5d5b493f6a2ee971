package simulate

import "math"

// Salts keep independent draws independent.
const (
	saltDevice uint64 = (iota + 1) << 56
	saltPhase
	saltSkew
	saltJitter
	saltDrop
	saltTrait
	saltDoor
	saltStart
	saltAnomaly
	saltMetric
)

// mix is a counter-based generator: the SplitMix64 finaliser (Steele, Lea,
// Flood 2014) of a key and a counter.
func mix(key, n uint64) uint64 {
	z := key + n*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// uniform maps 64 random bits to [0, 1).
func uniform(x uint64) float64 { return float64(x>>11) / (1 << 53) }

const (
	normalBits = 10
	laneBits   = 21 // three normal draws from one 64-bit number
	block      = 64 // samples of one noise block
)

// tables are computed once per fleet.
type tables struct {
	normal   [1<<normalBits + 1]float64 // quantiles of the standard normal distribution
	fade     [block][2]float64          // weights of the older and the newer path
	activity [activities][2][slots + 1]float64
}

func newTables() *tables {
	t := &tables{}
	for i := range t.normal {
		p := (float64(i) + 0.5) / (1<<normalBits + 1)
		t.normal[i] = math.Sqrt2 * math.Erfinv(2*p-1)
	}
	for i := range t.fade {
		s, c := math.Sincos(math.Pi / 2 * float64(i) / block)
		t.fade[i] = [2]float64{c, s}
	}
	for a := range t.activity {
		for weekend := range 2 {
			for i := range t.activity[a][weekend] {
				t.activity[a][weekend][i] = activity(a)(24*float64(i)/slots, weekend == 1)
			}
		}
	}
	return t
}

// gauss is a standard normal draw from lane 0, 1 or 2 of x, within ±3.3.
func (t *tables) gauss(x uint64, lane uint) float64 {
	u := x >> (lane * laneBits) & (1<<laneBits - 1)
	i := u >> (laneBits - normalBits)
	frac := float64(u&(1<<(laneBits-normalBits)-1)) / (1 << (laneBits - normalBits))
	return t.normal[i] + float64(frac*(t.normal[i+1]-t.normal[i]))
}

// noise is a stationary AR(1) process of unit variance with random access.
// Every 64 samples a new path starts, from its own seed, in its stationary
// distribution, and lives for 128; the value is the older path fading out plus
// the newer fading in, with weights cos and sin, so that variance and
// continuity hold everywhere. A path's step at sample n is drawn from (key, n).
type noise struct {
	key        uint64
	phi, drive float64
	n          int64 // sample that the paths stand at
	ready      bool
	older      float64
	newer      float64
}

func newNoise(key uint64, phi float64) noise {
	return noise{key: key, phi: phi, drive: math.Sqrt(1 - float64(phi*phi))}
}

// at moves to sample n and returns the AR value and a white one.
func (s *noise) at(t *tables, n int64) (ar, white float64) {
	x := mix(s.key, uint64(n))
	pos := n & (block - 1)
	switch {
	case s.ready && n == s.n:
	case s.ready && n == s.n+1:
		s.step(t, x, n)
	default:
		s.seek(t, n)
	}
	s.n, s.ready = n, true
	w := &t.fade[pos]
	return float64(w[0]*s.older) + float64(w[1]*s.newer), t.gauss(x, 2)
}

// seek computes both paths from where they start.
func (s *noise) seek(t *tables, n int64) {
	b := n / block
	if n%block < 0 {
		b--
	}
	s.newer = s.start(t, b-1)
	for k := (b-1)*block + 1; k <= n; k++ {
		s.step(t, mix(s.key, uint64(k)), k)
	}
}

// step moves both paths to sample n, the one after.
func (s *noise) step(t *tables, x uint64, n int64) {
	b := n >> 6
	even := uint(b & 1) // the newer path's lane; the older has the other
	if n&(block-1) == 0 {
		s.older, s.newer = s.advance(s.newer, t.gauss(x, even^1)), s.start(t, b)
		return
	}
	s.older = s.advance(s.older, t.gauss(x, even^1))
	s.newer = s.advance(s.newer, t.gauss(x, even))
}

func (s *noise) advance(v, e float64) float64 { return float64(s.phi*v) + float64(s.drive*e) }

func (s *noise) start(t *tables, b int64) float64 {
	return t.gauss(mix(s.key^saltStart, uint64(b)), 0)
}
