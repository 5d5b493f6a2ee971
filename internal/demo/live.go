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
	for {
		from := d.state.SentTo
		cfg, err := Live(from, d.state.Round)
		if err != nil {
			return err
		}
		fleet, err := simulate.New(cfg)
		if err != nil {
			return err
		}
		d.state.Round++ // also when the round is cut short: a restart shows other metrics
		for end := from.Add(RoundLength); d.state.SentTo.Before(end); {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			now := time.Now().UTC()
			if now.Sub(d.state.SentTo) > asleep {
				if err := d.catchUp(ctx); err != nil {
					return d.ended(ctx, err)
				}
				break
			}
			if now.After(end) {
				now = end
			}
			if _, err := play.Step(ctx, d.api, fleet, now, play.Options{Keep: Keep}); err != nil {
				return d.ended(ctx, err)
			}
			d.state.SentTo = now
			if time.Since(saved) > saveEvery {
				if err := d.state.save(d.file); err != nil {
					return err
				}
				saved = time.Now()
			}
		}
	}
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
