// Package simulate is a seeded fleet of devices with a known truth: energy
// meters, cold-chain boxes, pumps and web services with daily and weekly
// seasons, noise, clock skew, jitter, lost samples and injected anomalies.
//
// What comes in: a Config and instants from the caller; there is no wall clock
// inside, so history and live run the same code. What goes out: points by
// [Fleet.Until] and the injected anomalies by [Fleet.GroundTruth]. In what
// order: per device by time; across devices by rounds of one step. Which state:
// a cursor per device; the values themselves have none, a value depends only on
// (seed, device, metric, instant, script), never on where or how the iteration
// began. On failure: New names the wrong setting; afterwards nothing fails.
package simulate

import (
	"errors"
	"fmt"
	"iter"
	"time"
)

// Config of a fleet. Zero values mean the defaults.
type Config struct {
	Seed            uint64        // everything random derives from it
	Devices         int           // default 8; kinds take turns: see Kinds
	Kinds           []Kind        // default all four
	Start           time.Time     // first instant of true time; default 1970
	Step            time.Duration // sampling step; default 1 s, at least 1 ms
	MixedSteps      bool          // every second group of kinds samples at twice the step
	ClockSkew       time.Duration // each device's clock is off by a constant up to this, either way
	Jitter          float64       // timestamps jitter by up to this part of the step, either way; below 0.5
	DropRate        float64       // part of the samples lost one at a time (never two in a row): no anomaly
	AnomaliesPerDay float64       // expected background anomalies per device and day
	Mix             Mix           // relative frequency of the labels; default equal
	Script          []Injection   // anomalies at given instants; they displace background ones
	Prefix          string        // of device ids; default "sim"
}

// Point is one measured value as a device would report it.
type Point struct {
	Device string // device_external_id, for example "sim-pump-0002"
	Kind   Kind
	Metric string
	Unit   string
	TS     int64 // microseconds by the device's clock
	Value  float64
}

// Fleet yields points. Not safe for concurrent use; fleets of equal Config are equal.
type Fleet struct {
	cfg     Config
	tables  *tables
	devices []device
	round   int64 // true time up to which the current round goes
}

// New checks the configuration and returns a fleet before its first point.
func New(cfg Config) (*Fleet, error) {
	if cfg.Devices == 0 {
		cfg.Devices = 8
	}
	if len(cfg.Kinds) == 0 {
		cfg.Kinds = []Kind{EnergyMeter, ColdChain, Pump, WebService}
	}
	if cfg.Start.IsZero() {
		cfg.Start = time.Unix(0, 0)
	}
	if cfg.Step == 0 {
		cfg.Step = time.Second
	}
	if cfg.Mix == (Mix{}) {
		cfg.Mix = Mix{1, 1, 1, 1, 1}
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "sim"
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	f := &Fleet{cfg: cfg, tables: newTables(), devices: make([]device, cfg.Devices)}
	for i := range f.devices {
		f.devices[i].init(&f.cfg, f.tables, i)
	}
	for _, in := range cfg.Script {
		if err := f.script(in); err != nil {
			return nil, err
		}
	}
	start := cfg.Start.UnixMicro()
	for i := range f.devices {
		d := &f.devices[i]
		d.next = d.firstAt(start)
	}
	f.round = start
	return f, nil
}

func (c *Config) check() error {
	switch {
	case c.Devices < 0:
		return errors.New("simulate: Devices is negative")
	case c.Step < time.Millisecond:
		return errors.New("simulate: Step is below 1 ms")
	case c.Step%time.Microsecond != 0:
		return errors.New("simulate: Step is not a whole number of microseconds")
	case c.ClockSkew < 0:
		return errors.New("simulate: ClockSkew is negative")
	case !(c.Jitter >= 0 && c.Jitter < 0.5):
		return errors.New("simulate: Jitter is not in [0, 0.5)")
	case !(c.DropRate >= 0 && c.DropRate < 0.5):
		return errors.New("simulate: DropRate is not in [0, 0.5)")
	case !(c.AnomaliesPerDay >= 0):
		return errors.New("simulate: AnomaliesPerDay is negative")
	}
	for _, w := range c.Mix {
		if !(w >= 0) {
			return errors.New("simulate: Mix has a negative weight")
		}
	}
	for _, k := range c.Kinds {
		if k >= kinds {
			return fmt.Errorf("simulate: Kinds: unknown kind %d", k)
		}
	}
	return nil
}

// Until yields the points sampled before t (true time) that were not yielded
// yet. Breaking off is fine: the next call goes on with the next point.
func (f *Fleet) Until(t time.Time) iter.Seq[Point] {
	return func(yield func(Point) bool) {
		until := t.UnixMicro()
		step := f.cfg.Step.Microseconds()
		for {
			limit := min(f.round, until)
			for i := range f.devices {
				if !f.devices[i].run(limit, yield) {
					return
				}
			}
			if f.round >= until {
				return
			}
			f.round += step
		}
	}
}

// Devices returns the external ids of the fleet, in order.
func (f *Fleet) Devices() []string {
	ids := make([]string, len(f.devices))
	for i := range f.devices {
		ids[i] = f.devices[i].id
	}
	return ids
}

// device is the cursor over one device and what never changes about it.
type device struct {
	cfg     *Config
	tables  *tables
	index   int
	id      string
	kind    Kind
	key     uint64
	traits  traits
	step    int64 // microseconds between samples
	phase   int64 // samples are at n*step + phase
	skew    int64 // of its clock
	metrics []metric
	script  []span // scripted, in the order given

	next   int64 // number of the next sample
	at     int   // next metric of sample next-1 to yield, len(metrics) when done
	ts     int64 // of sample next-1
	period int64 // whose anomalies are loaded
	loaded bool
}

// metric is the cursor over one metric of a device.
type metric struct {
	spec   *spec
	noise  noise
	spans  []span // anomalies of the loaded period, by time
	clean  float64
	value  float64
	absent bool
}

func (d *device) init(cfg *Config, tables *tables, index int) {
	kind := cfg.Kinds[index%len(cfg.Kinds)]
	key := mix(mix(cfg.Seed, saltDevice), uint64(index))
	*d = device{cfg: cfg, tables: tables, index: index, kind: kind, key: key}
	d.id = fmt.Sprintf("%s-%s-%04d", cfg.Prefix, kind, index)
	d.step = cfg.Step.Microseconds()
	if cfg.MixedSteps && index/len(cfg.Kinds)%2 == 1 {
		d.step *= 2
	}
	d.phase = int64(uniform(mix(key, saltPhase)) * float64(d.step))
	d.skew = int64((2*uniform(mix(key, saltSkew)) - 1) * float64(cfg.ClockSkew.Microseconds()))
	d.traits = newTraits(key)
	specs := profiles[kind].specs
	d.metrics = make([]metric, len(specs))
	for m := range specs {
		d.metrics[m].spec = &specs[m]
		d.metrics[m].noise = newNoise(mix(key, saltMetric+uint64(m)), specs[m].phi)
	}
	d.at = len(d.metrics)
}

// trueTime is when sample n is taken; firstAt is the first sample at or after t.
func (d *device) trueTime(n int64) int64 { return n*d.step + d.phase }
func (d *device) firstAt(t int64) int64  { return floorDiv(t-d.phase+d.step-1, d.step) }

// stamp is the timestamp that the device's clock gives sample n.
func (d *device) stamp(n int64) int64 {
	ts := d.trueTime(n) + d.skew
	if d.cfg.Jitter > 0 {
		u := 2*uniform(mix(d.key^saltJitter, uint64(n))) - 1
		ts += int64(u * d.cfg.Jitter * float64(d.step))
	}
	return ts
}

// lost says that sample n never leaves the device; never two in a row.
func (d *device) lost(n int64) bool {
	if d.cfg.DropRate == 0 {
		return false
	}
	draw := func(n int64) bool { return uniform(mix(d.key^saltDrop, uint64(n))) < d.cfg.DropRate }
	return draw(n) && !draw(n-1)
}

// run yields samples before limit; false when the consumer broke off.
func (d *device) run(limit int64, yield func(Point) bool) bool {
	for {
		for d.at < len(d.metrics) {
			m := &d.metrics[d.at]
			d.at++
			if m.absent {
				continue
			}
			if !yield(Point{Device: d.id, Kind: d.kind, Metric: m.spec.name, Unit: m.spec.unit, TS: d.ts, Value: m.value}) {
				return false
			}
		}
		if d.trueTime(d.next) >= limit {
			return true
		}
		d.sample(d.next)
		d.next++
		d.at = 0
	}
}

// sample computes all metrics of sample n.
func (d *device) sample(n int64) {
	d.ts = d.stamp(n)
	d.load(n)
	d.measure(n)
	lost := d.lost(n)
	for m := range d.metrics {
		c := &d.metrics[m]
		c.value, c.absent = c.clean, lost
		for len(c.spans) > 0 && c.spans[0].last < n {
			c.spans = c.spans[1:]
		}
		if len(c.spans) > 0 && c.spans[0].first <= n {
			c.value, c.absent = d.disturb(m, &c.spans[0], n)
		}
		c.value = c.spec.finish(c.value)
	}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
