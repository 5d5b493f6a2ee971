package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// Shadow is a second set of logs and what it was made for.
type Shadow struct {
	Name    string
	Plan    *Plan
	Resumed bool // it was there already

	deps   Deps
	filter Filter
}

// OpenShadow goes on with a shadow of that name, or makes one. maxBytes is what
// all its logs may hold; 0 = what the live ones took for the range, twice.
func (d Deps) OpenShadow(ctx context.Context, name string, r Request, maxBytes int64) (*Shadow, error) {
	if err := stream.CheckShadowName(name); err != nil {
		return nil, err
	}
	s := &Shadow{Name: name, deps: d}
	note, there, err := d.note(ctx, name)
	if err != nil {
		return nil, err
	}
	if there {
		s.Resumed = true
		if s.Plan, err = ReadPlan(note); err != nil {
			return nil, err
		}
		if err := s.Plan.serves(r); err != nil {
			return nil, fmt.Errorf("shadow %s is there already, %w; leave the range and filters out to go on with it, or `edgepulse replay drop %s`", name, err, name)
		}
	} else {
		// What a broken making or dropping left is of no use to anybody.
		if err := d.Drop(ctx, name); err != nil {
			return nil, err
		}
		if s.Plan, err = d.Plan(ctx, r); err != nil {
			return nil, err
		}
		if err := d.seed(ctx, s.Plan, name); err != nil {
			return nil, err
		}
	}
	if s.filter, err = s.Plan.Filter(); err != nil {
		return nil, err
	}
	s.filter = s.filter.without(d.Gone)
	return s, s.provision(ctx, maxBytes)
}

// Find opens a shadow that is there.
func (d Deps) Find(ctx context.Context, name string) (*Shadow, error) {
	note, there, err := d.note(ctx, name)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, fmt.Errorf("there is no shadow %s; `edgepulse replay list` shows all", name)
	}
	s := &Shadow{Name: name, Resumed: true, deps: d}
	if s.Plan, err = ReadPlan(note); err != nil {
		return nil, err
	}
	s.filter, err = s.Plan.Filter()
	s.filter = s.filter.without(d.Gone)
	return s, err
}

func (d Deps) note(ctx context.Context, name string) (string, bool, error) {
	list, err := d.Broker.Shadows(ctx)
	if err != nil {
		return "", false, err
	}
	i := slices.IndexFunc(list, func(s stream.ShadowStatus) bool { return s.Name == name })
	if i < 0 || list[i].Note == "" {
		return "", false, nil
	}
	return list[i].Note, true, nil
}

// serves tells whether a request asks for what the plan does; an empty one does.
func (p *Plan) serves(r Request) error {
	f, err := p.Filter()
	if err != nil {
		return err
	}
	switch {
	case !r.From.IsZero() && !r.From.Equal(p.From), !r.To.IsZero() && !r.To.Equal(p.To):
		return fmt.Errorf("for the range %s", p.Range())
	case r.Tenant != schemas.Nil && r.Tenant != f.Tenant, r.Device != "" && r.Device != f.Device:
		return errors.New("for another tenant or device")
	}
	return nil
}

// Range is the plan's range for people.
func (p *Plan) Range() string {
	from, to := "the first message", "the last message"
	if !p.From.IsZero() {
		from = p.From.UTC().Format(time.RFC3339)
	}
	if !p.To.IsZero() {
		to = p.To.UTC().Format(time.RFC3339)
	}
	return from + " to " + to
}

// Drop deletes the logs and snapshots of a shadow; none there is no error.
func (d Deps) Drop(ctx context.Context, name string) error {
	if _, err := d.Broker.DropShadow(ctx, name); err != nil {
		return err
	}
	names, err := d.Snapshots.List(ctx, stream.ShadowFolder(name))
	if err != nil {
		return fmt.Errorf("list snapshots of shadow %s: %w", name, err)
	}
	for _, n := range names {
		if err := d.Snapshots.Delete(ctx, n); err != nil {
			return fmt.Errorf("delete snapshot of shadow %s: %w", name, err)
		}
	}
	return nil
}

// provision makes the logs that are missing. INGEST comes first: it holds the plan.
func (s *Shadow) provision(ctx context.Context, maxBytes int64) error {
	note, err := s.Plan.encode()
	if err != nil {
		return err
	}
	sizes, err := s.sizes(ctx, maxBytes)
	if err != nil {
		return err
	}
	reserved := int64(0)
	for _, n := range sizes {
		reserved += n
	}
	for _, log := range stream.Shadowed() {
		for _, part := range s.Plan.Parts {
			o := stream.ShadowLog{MaxBytes: sizes[logOf{log, part.Partition}], After: part.First - 1, Note: note}
			for _, stage := range s.deps.Stages {
				if stage.To == log {
					seed := part.Seeds[stage.Name]
					o.After, o.Version, o.Note = seed.Root, seed.Version, ""
				}
			}
			err := s.deps.Broker.MakeShadowLog(ctx, log.In(s.Name), part.Partition, o)
			if errors.Is(err, stream.ErrNoRoom) {
				err = fmt.Errorf("%w: its logs reserve %d MiB; drop another shadow, replay a shorter range, set EDGEPULSE_SHADOW_MAX_BYTES, or give the broker "+
					"more (max_file_store; `edgepulse nats --max-bytes`; `up` takes half of what is free)", err, reserved>>20)
				if !s.Resumed {
					err = errors.Join(err, s.deps.Drop(ctx, s.Name))
				}
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

type logOf struct {
	log       stream.LogName
	partition int
}

// slack is what a log gets beyond its estimate: headers of many small commits.
const slack = 16 << 20

// sizes estimates what each log will hold: INGEST from the payload bytes, the
// others as the live ones relate to INGEST, never more than they hold altogether.
func (s *Shadow) sizes(ctx context.Context, maxBytes int64) (map[logOf]int64, error) {
	out := map[logOf]int64{}
	total := int64(0)
	for _, part := range s.Plan.Parts {
		ingest, err := s.deps.Broker.StatusOf(ctx, stream.Ingest, part.Partition)
		if err != nil {
			return nil, err
		}
		for _, log := range stream.Shadowed() {
			const perMessage = 128 // subject, time and checksum of a stored message
			n := part.Bytes + int64(part.Roots())*perMessage
			if log != stream.Ingest {
				live, err := s.deps.Broker.StatusOf(ctx, log, part.Partition)
				if err != nil {
					return nil, err
				}
				n = int64(2 * float64(n) * float64(live.Bytes) / float64(max(ingest.Bytes, 1)))
				n = min(n, int64(live.Bytes)*3/2)
			}
			out[logOf{log, part.Partition}] = n + slack
			total += n + slack
		}
	}
	if maxBytes > 0 {
		for k, n := range out {
			out[k] = int64(float64(n) * float64(maxBytes) / float64(total))
		}
	}
	return out, nil
}

// Progress is how far a replay is, in messages.
type Progress struct {
	Published, Folded, Total int
}

// Done tells whether every message has passed every stage.
func (p Progress) Done() bool { return p.Folded >= p.Total }

// Progress asks the shadow's logs.
func (s *Shadow) Progress(ctx context.Context) (Progress, error) {
	out := Progress{Total: s.Plan.Roots()}
	last := s.deps.Stages[len(s.deps.Stages)-1].To
	for _, part := range s.Plan.Parts {
		published, err := s.deps.Broker.End(ctx, stream.Ingest.In(s.Name), part.Partition)
		if err != nil {
			return out, err
		}
		folded, err := s.deps.Broker.End(ctx, last.In(s.Name), part.Partition)
		if err != nil {
			return out, err
		}
		out.Published += int(max(published, part.First-1) + 1 - part.First)
		out.Folded += int(max(folded, part.First-1) + 1 - part.First)
	}
	return out, nil
}

// mendFull is what to do about a shadow whose logs were made too small.
const mendFull = "drop the shadow and replay again with a larger EDGEPULSE_SHADOW_MAX_BYTES, or without it"

// RunOptions of Shadow.Run.
type RunOptions struct {
	Speed    float64 // times the original pace; 0 = as fast as it goes
	Runner   stream.RunnerConfig
	Logger   *slog.Logger
	Progress func(Progress)
}

const (
	look  = 300 * time.Millisecond // how often a running shadow is looked at
	pause = 5 * time.Second        // standing still that long, its logs may be full
	stall = 90 * time.Second       // standing still that long with something to fold, it has failed
)

// Run publishes what is missing and lets the stages fold it, until both are
// done. Ended early, it goes on where it was when it is run again.
func (s *Shadow) Run(ctx context.Context, o RunOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	speed := &pace{speed: o.Speed}
	for _, part := range s.Plan.Parts {
		g.Go(func() error { return s.publish(gctx, part, speed) })
	}
	metrics := stream.NewMetrics(prometheus.NewRegistry())
	folder := stream.Below(s.deps.Snapshots, stream.ShadowFolder(s.Name))
	for _, stage := range s.deps.Stages {
		stage.From, stage.To = stage.From.In(s.Name), stage.To.In(s.Name)
		for _, part := range s.Plan.Parts {
			r := stream.NewRunner(stage, o.Runner, s.deps.Broker, folder, metrics, o.Logger, []int{part.Partition})
			g.Go(func() error {
				// Its seed may lie beyond where the stage before it begins.
				if err := s.covers(gctx, stage.From, part.Partition, part.Seeds[stage.Name].Root); err != nil {
					return err
				}
				return r.Run(gctx)
			})
		}
	}
	finished := false
	g.Go(func() error {
		err := s.watch(gctx, o.Progress)
		finished = err == nil
		cancel() // the stages end with it
		return err
	})
	if err := g.Wait(); err != nil && !finished {
		return err
	}
	return nil
}

// covers waits until a log of the shadow has reached a root.
func (s *Shadow) covers(ctx context.Context, log stream.LogName, partition int, root uint64) error {
	for {
		if end, err := s.deps.Broker.End(ctx, log, partition); err == nil && end >= root {
			return nil
		}
		if err := wait(ctx, look/3); err != nil {
			return err
		}
	}
}

// publish appends the roots that are missing in one partition.
func (s *Shadow) publish(ctx context.Context, part Part, speed *pace) error {
	log := stream.Ingest.In(s.Name)
	before := uint64(0)
	err := persist(ctx, func() (bool, error) {
		end, err := s.deps.Broker.End(ctx, log, part.Partition)
		if err != nil {
			return false, fmt.Errorf("%w: %w", errPublish, err)
		}
		moved := end != before
		before = end
		if end >= part.To {
			return moved, nil
		}
		src, err := s.deps.openSource(ctx, stream.Ingest, part.Partition)
		if err != nil {
			return moved, err
		}
		return moved, src.pump(ctx, end+1, part.To, part.From, s.filter, speed, func(w *window) error {
			return s.deps.Broker.AppendAt(ctx, log, part.Partition, w.roots[0], w.payloads)
		})
	})
	if errors.Is(err, stream.ErrLogFull) {
		return fmt.Errorf("%w: %s", err, mendFull)
	}
	return err
}

// watch reports progress until all is folded; one that stands still is an error
// that says why, if that can be seen.
func (s *Shadow) watch(ctx context.Context, report func(Progress)) error {
	since, last := time.Now(), Progress{}
	for {
		now, err := s.Progress(ctx)
		if err == nil {
			if report != nil {
				report(now)
			}
			if now.Done() {
				return nil
			}
			if now.Folded != last.Folded || now.Published == now.Folded {
				since, last = time.Now(), now
			}
			if time.Since(since) > pause {
				if full := s.full(ctx); full != "" {
					return fmt.Errorf("log %s: %w: %s", full, stream.ErrLogFull, mendFull)
				}
			}
		}
		if time.Since(since) > stall {
			return errors.Join(fmt.Errorf("shadow %s stands still at %d of %d messages", s.Name, now.Folded, now.Total), err)
		}
		if err := wait(ctx, look); err != nil {
			return err
		}
	}
}

// full names a log of the shadow that can't take a further commit.
func (s *Shadow) full(ctx context.Context) string {
	for _, stage := range s.deps.Stages {
		for _, part := range s.Plan.Parts {
			st, err := s.deps.Broker.StatusOf(ctx, stage.To.In(s.Name), part.Partition)
			if err != nil {
				return "" // the broker is away: the next look tells
			}
			if int64(st.Bytes)+stream.CommitCap > st.MaxBytes {
				return stream.StreamName(st.Log, st.Partition)
			}
		}
	}
	return ""
}
