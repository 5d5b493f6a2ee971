package simulate

import "math"

// Kind is a type of device.
type Kind uint8

const (
	EnergyMeter Kind = iota // voltage V, current A, power W
	ColdChain               // temperature °C, humidity %, door 0/1
	Pump                    // vibration_rms mm/s, temperature °C, flow m3/h
	WebService              // p95_ms ms, rps 1/s, error_rate %
	kinds
)

func (k Kind) String() string { return profiles[k].name }

// spec describes a metric. Its value is base + ar·AR(1) + white·noise, then
// disturbed by anomalies, then clipped and rounded to the sensor's resolution.
type spec struct {
	name, unit string
	ar, white  float64 // standard deviations of the two noises
	phi        float64 // of the AR(1) noise, per sample
	sigma      float64 // usual short-term spread: the unit of anomaly magnitudes
	lo, hi     float64 // physical bounds
	resolution float64 // steps per unit: 10 means 0.1
	labels     []Label // anomalies that make sense
}

// finish clips and rounds.
func (s *spec) finish(v float64) float64 {
	return math.Round(min(max(v, s.lo), s.hi)*s.resolution) / s.resolution
}

type profile struct {
	name     string
	activity int
	specs    []spec
}

var (
	anyLabel = []Label{Spike, Drop, Drift, Missingness, Stuck}
	upwards  = []Label{Spike, Drift, Missingness, Stuck} // too close to its floor for a drop
	binary   = []Label{Missingness, Stuck}
)

var profiles = [kinds]profile{
	EnergyMeter: {"energy", household, []spec{
		{"voltage", "V", .5, .3, .9, .6, 0, 500, 10, anyLabel},
		{"current", "A", .28, .2, .8, .35, 0, 100, 100, anyLabel},
		{"power", "W", 0, 20, 0, 79, 0, 1e5, 1, anyLabel},
	}},
	ColdChain: {"cold", shop, []spec{
		{"temperature", "Cel", .09, .08, .9, .25, -60, 60, 100, anyLabel},
		{"humidity", "%", .7, .5, .95, .9, 0, 100, 10, []Label{Drop, Drift, Missingness, Stuck}},
		{"door", "1", 0, 0, 0, .5, 0, 1, 1, binary},
	}},
	Pump: {"pump", shift, []spec{
		{"vibration_rms", "mm/s", .08, .08, .7, .12, 0, 100, 1000, anyLabel},
		{"temperature", "Cel", .25, .15, .95, .3, -40, 200, 10, anyLabel},
		{"flow", "m3/h", .4, .4, .8, .57, 0, 500, 100, anyLabel},
	}},
	WebService: {"web", office, []spec{
		{"p95_ms", "ms", 5, 5, .7, 7, 0, 60_000, 10, anyLabel},
		{"rps", "1/s", 4, 4, .8, 5.7, 0, 1e6, 10, anyLabel},
		{"error_rate", "%", .05, .05, .6, .07, 0, 100, 1000, upwards},
	}},
}

// traits make devices of a kind differ.
type traits struct {
	level float64 // 0.85 to 1.15
	shift int64   // of its day, microseconds, up to half an hour either way
	cycle int64   // compressor period, microseconds, 17 to 25 minutes
}

func newTraits(key uint64) traits {
	u := func(i uint64) float64 { return uniform(mix(key^saltTrait, i)) }
	return traits{
		level: 0.85 + float64(0.3*u(0)),
		shift: int64((2*u(1) - 1) * 1800e6),
		cycle: int64((17 + float64(8*u(2))) * 60e6),
	}
}

const (
	day   = 86_400_000_000 // microseconds
	slots = 288            // 5 minutes each
)

// The daily curves.
const (
	household = iota
	shop
	shift
	office
	activities
)

// activity returns a curve over the hour of the day, 0 to about 1.
func activity(curve int) func(hour float64, weekend bool) float64 {
	bump := func(hour, centre, width float64) float64 {
		d := math.Mod(hour-centre+36, 24) - 12
		return math.Exp(-d * d / (2 * width * width))
	}
	plateau := func(hour, from, to float64) float64 {
		return 1 / (1 + math.Exp(-3*(hour-from))) / (1 + math.Exp(3*(hour-to)))
	}
	switch curve {
	case household: // morning and evening peaks; at weekends a long noon
		return func(hour float64, weekend bool) float64 {
			if weekend {
				return .15 + .45*bump(hour, 11.5, 3) + .7*bump(hour, 19, 2.2)
			}
			return .1 + .55*bump(hour, 7.5, 1.2) + .8*bump(hour, 19.5, 2)
		}
	case shop: // open from 8 to 20, on Sundays and Saturdays less
		return func(hour float64, weekend bool) float64 {
			if weekend {
				return .05 + .45*plateau(hour, 10, 17)
			}
			return .05 + .9*plateau(hour, 8, 20)
		}
	case shift: // two shifts; weekends at low load
		return func(hour float64, weekend bool) float64 {
			if weekend {
				return .35
			}
			return .35 + .6*plateau(hour, 6, 22)
		}
	default: // office hours with a dip at noon
		return func(hour float64, weekend bool) float64 {
			a := .08 + .85*plateau(hour, 8, 19) - .12*bump(hour, 12.7, .6) + .15*bump(hour, 21, 1.5)
			if weekend {
				return .08 + .35*(a-.08)
			}
			return a
		}
	}
}

// active is the device's activity at true time t.
func (d *device) active(t int64) float64 {
	t += d.traits.shift
	days := floorDiv(t, day)
	week := (days + 4) % 7 // 1970-01-01 was a Thursday; 0 is Sunday
	if week < 0 {
		week += 7
	}
	weekend := 0
	if week == 0 || week == 6 {
		weekend = 1
	}
	x := float64(t-days*day) * (slots / float64(day))
	i := min(int(x), slots-1)
	curve := &d.tables.activity[profiles[d.kind].activity][weekend]
	return curve[i] + float64((x-float64(i))*(curve[i+1]-curve[i]))
}

// measure sets the clean values (no anomaly) of sample n.
func (d *device) measure(n int64) {
	t := d.trueTime(n)
	a := d.active(t)
	for m := range d.metrics {
		d.metrics[m].clean = d.noisy(m, n)
	}
	c := d.metrics
	level := d.traits.level
	switch d.kind {
	case EnergyMeter:
		c[0].clean += 231 - float64(4*a)
		c[1].clean += 4.5 + float64(14*float64(level*a))
		c[2].clean += 0.95 * float64(c[0].clean*c[1].clean)
	case ColdChain:
		c[0].clean += 4*level + float64(.5*a) + float64(.4*triangle(t, d.traits.cycle))
		c[1].clean += 82 - float64(4*a)
		c[2].clean += d.door(t, a)
	case Pump:
		c[0].clean += 2.6*level + float64(.6*a)
		c[1].clean += 46 + float64(9*float64(level*a))
		c[2].clean += 24 + float64(22*float64(level*a))
	case WebService:
		c[0].clean += 120 + float64(90*float64(level*a))
		c[1].clean += 80 + float64(400*float64(level*a))
		c[2].clean += .45 + float64(.3*a)
	}
}

func (d *device) noisy(m int, n int64) float64 {
	c := &d.metrics[m]
	if c.spec.ar == 0 && c.spec.white == 0 {
		return 0
	}
	ar, white := c.noise.at(d.tables, n)
	return float64(c.spec.ar*ar) + float64(c.spec.white*white)
}

// triangle is a wave between -1 and 1.
func triangle(t, period int64) float64 {
	x := float64(t-floorDiv(t, period)*period) / float64(period)
	return math.Abs(float64(4*x)-2) - 1
}

// door is 1 while the door is open: at most once per ten minutes, for 15 to 90 s,
// the more often the more active the shop is.
func (d *device) door(t int64, a float64) float64 {
	const slot = 600_000_000
	k := floorDiv(t, slot)
	x := mix(d.key^saltDoor, uint64(k))
	if uniform(x) >= .6*a {
		return 0
	}
	from := k*slot + int64(uniform(mix(x, 1))*480e6)
	to := from + int64((15+float64(75*uniform(mix(x, 2))))*1e6)
	if t >= from && t < to {
		return 1
	}
	return 0
}
