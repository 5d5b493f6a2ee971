// Package janitor truncates the logs behind those who read them. It lives in the
// archiver and is the only part of the service with a right to purge.
//
// What comes in: how far each reader of a log is, for good (a retained snapshot, a
// durable position, a verified archive). What goes out: purges, and gauges that
// name the reader that holds a log back. In what order: a cut is announced in the
// log before it is made, in a later round: a rebuild that begins in between counts
// what was announced as gone. Which state: none but what the log itself says. On
// failure: nothing is cut; the next round looks again.
package janitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/edgepulse/edgepulse/stream"
)

// Config sets a Janitor up.
type Config struct {
	Every time.Duration `help:"How often the logs are looked at for what nobody needs any more; 0 = never." default:"1m" env:"EDGEPULSE_JANITOR_EVERY"`
	Keep  time.Duration `help:"How long messages stay in the logs although nobody needs them." default:"24h" env:"EDGEPULSE_JANITOR_KEEP"`
	Room  float64       `help:"Share of a log's bound beyond which its oldest messages go earlier, once nobody needs them." default:"0.5" env:"EDGEPULSE_JANITOR_ROOM"`

	Now func() time.Time `kong:"-"` // default time.Now
}

// Check names the setting that is wrong.
func (c Config) Check() error {
	switch {
	case c.Every < 0:
		return fmt.Errorf("setting janitor-every: %s is negative", c.Every)
	case c.Keep < 0:
		return fmt.Errorf("setting janitor-keep: %s is negative", c.Keep)
	case c.Room < 0 || c.Room > 1:
		return fmt.Errorf("setting janitor-room: %g is no share; expected 0 to 1", c.Room)
	}
	return nil
}

// Logs is the broker as the janitor sees it.
type Logs interface {
	Rebuilding(ctx context.Context, partition int) (bool, error)
	Announced(ctx context.Context, partition int) (stream.Cuts, error)
	Announce(ctx context.Context, partition int, cuts stream.Cuts) error
	Fill(ctx context.Context, log stream.LogName, partition int) (float64, error)
	Cuttable(ctx context.Context, log stream.LogName, partition int, floor uint64, keep stream.Keep) (stream.Cut, error)
	Truncate(ctx context.Context, log stream.LogName, partition int, c stream.Cut) error
}

// Reader is somebody who must not find a log cut before its place.
type Reader struct {
	Name string // of the stage
	Log  stream.LogName
	// Done is the last root that this reader will never ask for again, whatever
	// happens to it: of DELIVERIES a sequence. A costly one may stop at upTo.
	Done func(ctx context.Context, partition int, upTo uint64) (uint64, error)
	// Costly readers are asked last, and only about what all others are done with.
	Costly bool
}

// Janitor looks after some partitions.
type Janitor struct {
	cfg        Config
	logs       Logs
	readers    []Reader
	metrics    *metrics
	log        *slog.Logger
	partitions []int
	said       map[string]string
}

// New makes a Janitor; Run does the work.
func New(cfg Config, logs Logs, readers []Reader, m *Metrics, log *slog.Logger, partitions []int) *Janitor {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	j := &Janitor{cfg: cfg, logs: logs, readers: readers, metrics: m.m, log: log, partitions: partitions, said: map[string]string{}}
	for _, r := range readers {
		for _, p := range partitions {
			j.metrics.begin(r, p)
		}
	}
	return j
}

// Run works until ctx ends.
func (j *Janitor) Run(ctx context.Context) error {
	if j.cfg.Every == 0 {
		return nil
	}
	ticker := time.NewTicker(max(j.cfg.Every/hurry, time.Millisecond))
	defer ticker.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if time.Since(last) < j.cfg.Every && !j.pressed(ctx) {
			continue
		}
		last = time.Now()
		for _, p := range j.partitions {
			if err := j.Round(ctx, p); err != nil && ctx.Err() == nil {
				j.metrics.failures.Inc()
				j.say(fmt.Sprintf("partition %d", p), err.Error(), "logs are not truncated now, the next round looks again")
			}
		}
		j.metrics.last.SetToCurrentTime()
	}
}

// hurry is how much more often a round begins while a log fills faster than it is cut:
// a cut comes a round after its announcement.
const hurry = 12

// pressed says that a log can't wait for the next round in its turn.
func (j *Janitor) pressed(ctx context.Context) bool {
	limit := j.cfg.Room + (1-j.cfg.Room)/5
	for _, p := range j.partitions {
		for _, spec := range stream.Topology {
			if fill, err := j.logs.Fill(ctx, spec.Name, p); err == nil && fill > limit {
				return true
			}
		}
	}
	return false
}

// say warns once about a thing, until it changes.
func (j *Janitor) say(subject, text, message string) {
	if j.said[subject] != text {
		j.said[subject] = text
		j.log.Warn(message, "subject", subject, "reason", text)
	}
}

// Round cuts what was announced before and announces what may be cut next.
func (j *Janitor) Round(ctx context.Context, partition int) error {
	announced, err := j.logs.Announced(ctx, partition)
	if err != nil {
		return err
	}
	next := stream.Cuts{}
	for log, root := range announced {
		next[log] = root
	}
	var errs []error
	for _, spec := range stream.Topology {
		floor, culprit, err := j.floor(ctx, spec.Name, partition)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		// In this order: a rebuild marks its logs before it takes snapshots away and
		// looks at what was announced. Whoever asked before the mark asked in time.
		if busy, err := j.logs.Rebuilding(ctx, partition); err != nil || busy {
			return errors.Join(append(errs, err)...)
		}
		wanted, err := j.cut(ctx, spec.Name, partition, floor, min(floor, announced[spec.Name]))
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", stream.StreamName(spec.Name, partition), err))
			continue
		}
		if wanted.Root > next[spec.Name] {
			next[spec.Name] = wanted.Root
		}
		if err := j.blame(ctx, spec.Name, partition, culprit, wanted); err != nil {
			errs = append(errs, err)
		}
	}
	if len(next) > 0 {
		errs = append(errs, j.logs.Announce(ctx, partition, next))
	}
	return errors.Join(errs...)
}

// cut makes the announced cut, and answers with the one to announce.
func (j *Janitor) cut(ctx context.Context, log stream.LogName, partition int, floor, announced uint64) (stream.Cut, error) {
	c, err := j.logs.Cuttable(ctx, log, partition, announced, j.keep())
	if err != nil {
		return stream.Cut{}, err
	}
	if c.Messages > 0 {
		if err := j.logs.Truncate(ctx, log, partition, c); err != nil {
			return stream.Cut{}, err
		}
		j.metrics.cut(log, partition, c)
		j.log.Info("log truncated", "log", stream.StreamName(log, partition), "messages", c.Messages, "through", c.Root)
	}
	return j.logs.Cuttable(ctx, log, partition, floor, j.keep())
}

func (j *Janitor) keep() stream.Keep {
	return stream.Keep{Age: j.cfg.Keep, Room: j.cfg.Room, Now: j.cfg.Now()}
}

// floor is how far all readers of a log are done with it, and who is the last.
func (j *Janitor) floor(ctx context.Context, log stream.LogName, partition int) (floor uint64, last string, err error) {
	floor = math.MaxUint64
	for _, costly := range []bool{false, true} {
		for _, r := range j.readers {
			if r.Log != log || r.Costly != costly {
				continue
			}
			upTo := floor
			if costly {
				// Only what would go is worth the cost.
				c, err := j.logs.Cuttable(ctx, log, partition, floor, j.keep())
				if err != nil {
					return 0, "", fmt.Errorf("%s: %w", stream.StreamName(log, partition), err)
				}
				if upTo = c.Root; upTo == 0 {
					return 0, last, nil
				}
			}
			done, err := r.Done(ctx, partition, upTo)
			if err != nil {
				return 0, "", fmt.Errorf("ask what the %s needs of %s: %w", r.Name, stream.StreamName(log, partition), err)
			}
			j.metrics.done(r, partition, done)
			if done < upTo {
				floor, last = done, r.Name
			} else if costly {
				floor = upTo
			}
		}
	}
	if last == "" && floor == math.MaxUint64 {
		return 0, "", nil // nobody is known who reads it: nothing is certain
	}
	return floor, last, nil
}

// blame says what would be gone but for the reader that is the last.
func (j *Janitor) blame(ctx context.Context, log stream.LogName, partition int, culprit string, wanted stream.Cut) error {
	free, err := j.logs.Cuttable(ctx, log, partition, math.MaxUint64-1, j.keep())
	if err != nil {
		return err
	}
	held := uint64(0)
	if free.Bytes > wanted.Bytes {
		held = free.Bytes - wanted.Bytes
	}
	subject := stream.StreamName(log, partition)
	for _, r := range j.readers {
		if r.Log != log {
			continue
		}
		bytes := uint64(0)
		if r.Name == culprit {
			bytes = held
		}
		j.metrics.held(r, partition, bytes)
	}
	if held > 0 && culprit != "" {
		j.say(subject, culprit, "a log is held back: the stage named needs what would be truncated")
	} else {
		delete(j.said, subject)
	}
	return nil
}
