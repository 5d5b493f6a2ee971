package quality

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/featurizer"
	"github.com/edgepulse/edgepulse/internal/app"
	"github.com/edgepulse/edgepulse/internal/simulate"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

var tenant = schemas.ID{'q', 'u', 'a', 'l', 'i', 't', 'y', 15: 1}

// verdict is what the scorer published of one evaluation.
type verdict struct {
	ts           int64 // event time
	heard        int64 // the service's clock, µs
	severity     schemas.Severity
	label        schemas.Label
	sub          schemas.SubLabel
	silent       bool
	score, alarm float64
}

// series is all verdicts of one metric, in order of publication.
type series struct {
	device, name string
	verdicts     []verdict
	arrivals     []int64 // when its samples reached the service, µs
}

// plant runs a fleet through the folds of one partition: first the past as
// backfill, by the hour, then the present, each sample as a request of its own
// when it happens, with the ticks of the service in between.
type plant struct {
	fleet    *simulate.Fleet
	pipeline *app.Pipeline
	tick     time.Duration // 1 s: a longer gap counts as an outage of the service
	root     uint64
	series   map[schemas.ID]*series
	order    []*series
	body     []byte
	score    schemas.Entry
}

func newPlant(t *testing.T, cfg simulate.Config, tick time.Duration) *plant {
	t.Helper()
	fleet, err := simulate.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p := &plant{fleet: fleet, pipeline: app.NewPipeline(featurizer.Config{}), tick: tick, series: map[schemas.ID]*series{}}
	p.pipeline.Each = p.publish
	return p
}

// publish notes what leaves the scorer.
func (p *plant) publish(log stream.LogName, _ uint64, raw []byte) error {
	if log != stream.Scores || schemas.KindOf(raw) != schemas.KindScore {
		if schemas.KindOf(raw) == schemas.KindDeadLetter {
			return fmt.Errorf("dead letter in %s", log)
		}
		return nil
	}
	p.score.Reset()
	if err := p.score.UnmarshalVTUnsafe(raw); err != nil {
		return fmt.Errorf("decode score: %w", err)
	}
	s := p.score.GetScore()
	at, ok := p.series[schemas.ID(s.MetricId)]
	if !ok {
		return fmt.Errorf("score of an unknown metric")
	}
	at.verdicts = append(at.verdicts, verdict{s.Ts, s.ReceivedAt, s.Severity, s.Label, s.SubLabel, s.Silent, s.Score, s.AlarmScore})
	return nil
}

// past feeds the points of [from, to) without a word about silence.
func (p *plant) past(from, to time.Time) error {
	for at := from; at.Before(to); {
		at = at.Add(time.Hour)
		if at.After(to) {
			at = to
		}
		byDevice := map[string][]simulate.Point{}
		for pt := range p.fleet.Until(at) {
			byDevice[pt.Device] = append(byDevice[pt.Device], pt)
		}
		for _, id := range p.fleet.Devices() {
			if err := p.send(byDevice[id], at, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// present feeds the points of [from, to) as they happen.
func (p *plant) present(from, to time.Time) error {
	var sample []simulate.Point
	for at := from; at.Before(to); {
		at = at.Add(p.tick)
		for pt := range p.fleet.Until(at) {
			if len(sample) > 0 && (sample[0].Device != pt.Device || sample[0].TS != pt.TS) {
				if err := p.send(sample, at, false); err != nil {
					return err
				}
				sample = sample[:0]
			}
			sample = append(sample, pt)
		}
		if err := p.send(sample, at, false); err != nil {
			return err
		}
		sample = sample[:0]
		if err := p.entry(&schemas.Entry{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: at.Unix()}}}); err != nil {
			return err
		}
	}
	return nil
}

// send is one request of one device.
func (p *plant) send(points []simulate.Point, at time.Time, backfill bool) error {
	if len(points) == 0 {
		return nil
	}
	device := points[0].Device
	b := fmt.Appendf(p.body[:0], `{"device_external_id":%q,"metrics":[`, device)
	for i, pt := range points {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"name":%q,"ts":%q,"value":`, pt.Metric, time.UnixMicro(pt.TS).UTC().Format("2006-01-02T15:04:05.000000Z"))
		b = append(strconv.AppendFloat(b, pt.Value, 'g', -1, 64), '}')
		id := schemas.MetricID(schemas.DeviceID(tenant, device), pt.Metric)
		s, ok := p.series[id]
		if !ok {
			s = &series{device: device, name: pt.Metric}
			p.series[id], p.order = s, append(p.order, s)
		}
		s.arrivals = append(s.arrivals, at.UnixMicro())
	}
	p.body = append(b, "]}"...)
	return p.entry(&schemas.Entry{Kind: &schemas.Entry_Batch{Batch: &schemas.Batch{
		TenantId: tenant[:], RequestId: "quality", ReceivedAt: at.UnixMicro(), Source: "http", Parts: 1, Backfill: backfill,
		Slices: []*schemas.DeviceSlice{{Json: p.body}},
	}}})
}

func (p *plant) entry(e *schemas.Entry) error {
	b, err := e.MarshalVT()
	if err != nil {
		return fmt.Errorf("encode entry: %w", err)
	}
	p.root++
	return p.pipeline.Root(0, p.root, [][]byte{b})
}
