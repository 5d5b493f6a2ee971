package demo

import (
	"context"
	"time"

	"github.com/edgepulse/edgepulse/internal/simulate"
	"github.com/edgepulse/edgepulse/internal/simulate/play"
)

const (
	sendEvery = 100 * time.Millisecond
	saveEvery = 5 * time.Second
	asleep    = 30 * time.Second // a longer pause is an absence: of the machine, or of the service
)

// Run plays the live sensors until ctx ends. What they measured while the
// service was away comes first, as backfill: nobody is told of it.
func (d *Demo) Run(ctx context.Context) error {
	defer func() { _ = d.state.save(d.file) }() // at worst the next run repeats some points
	if err := d.catchUp(ctx); err != nil {
		return d.ended(ctx, err)
	}
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	saved := time.Now()
	now := d.state.SentTo
	sensors := play.NewSensors(ctx, d.api, nil, now, play.Options{Keep: Keep})
	for {
		fleet, err := d.round(now)
		if err != nil {
			return err
		}
		sensors.Play(fleet)
		for end := now.Add(RoundLength); now.Before(end); {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			before := now
			if now = time.Now().UTC(); now.After(end) {
				now = end
			}
			if now.Sub(before) > asleep {
				return nil // the next run begins with what was missed
			}
			if err := sensors.Step(now); err != nil {
				return d.ended(ctx, err)
			}
			d.state.SentTo = sensors.Sent()
			if time.Since(saved) > saveEvery {
				if err := d.state.save(d.file); err != nil {
					return err
				}
				saved = time.Now()
			}
		}
	}
}

// round is the fleet from an instant on, with the next round's anomalies.
func (d *Demo) round(from time.Time) (*simulate.Fleet, error) {
	cfg, err := Live(from, d.state.Round)
	if err != nil {
		return nil, err
	}
	d.state.Round++ // also when the round is cut short: a restart shows other metrics
	return simulate.New(cfg)
}

func (d *Demo) catchUp(ctx context.Context) error {
	now := time.Now().UTC()
	from := d.state.SentTo
	if oldest := now.Add(-sensorBuffer); from.Before(oldest) {
		from = oldest
	}
	fleet, err := simulate.New(Calm(from))
	if err != nil {
		return err
	}
	if _, err := play.History(ctx, d.api, fleet, now, play.Options{Keep: Keep}); err != nil {
		return err
	}
	d.state.SentTo = now
	return d.state.save(d.file)
}

func (d *Demo) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
