package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgepulse/edgepulse/schemas"
)

// Stage is what the one runner needs to know of a stage.
type Stage struct {
	Name string  // normaliser, featurizer, scorer, alerter
	From LogName // read
	To   LogName // written
	// Folds makes an empty core for each fold version this binary knows.
	Folds map[uint32]func() Fold
	// Version is the newest; a partition switches to it at a FoldSwitch control
	// entry, or starts with it when its log is empty.
	Version uint32
}

// RunnerConfig tunes the runner; the defaults suit every deployment.
type RunnerConfig struct {
	SnapshotEvery time.Duration `help:"Shortest time between snapshots of one partition." default:"5s" env:"EDGEPULSE_SNAPSHOT_EVERY"`
	SnapshotLoad  float64       `help:"Share of one core that the snapshots of a process may take." default:"0.05" env:"EDGEPULSE_SNAPSHOT_LOAD"`
	CommitEvery   time.Duration `help:"Shortest time between two commits of one partition: under load they grow in place of coming more often. One after a pause goes at once." default:"20ms" env:"EDGEPULSE_COMMIT_EVERY"`
	Takeover      time.Duration `help:"How long work of a partition may lie undone before a process that stands by takes it over." default:"3s" env:"EDGEPULSE_TAKEOVER"`
}

// Runner drives one stage over its partitions: read, fold, commit, snapshot.
type Runner struct {
	stage      Stage
	cfg        RunnerConfig
	broker     *Broker
	blobs      Blobs
	log        *slog.Logger
	metrics    *stageMetrics
	partitions []int
}

// NewRunner makes a runner for the given partitions.
func NewRunner(stage Stage, cfg RunnerConfig, b *Broker, blobs Blobs, m *Metrics, log *slog.Logger, partitions []int) *Runner {
	if cfg.SnapshotEvery <= 0 {
		cfg.SnapshotEvery = 5 * time.Second
	}
	if cfg.SnapshotLoad <= 0 {
		cfg.SnapshotLoad = 0.05
	}
	if cfg.Takeover <= 0 {
		cfg.Takeover = 3 * time.Second
	}
	return &Runner{stage: stage, cfg: cfg, broker: b, blobs: blobs, log: log.With("stage", stage.Name),
		metrics: m.stage(stage.Name, partitions), partitions: partitions}
}

// Run works until ctx ends. A partition that halted begins again from its last
// commit, and keeps saying why in its metric and log; a fenced one stands by.
func (r *Runner) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range r.partitions {
		g.Go(func() error { return r.keep(ctx, p) })
	}
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("run %s: %w", r.stage.Name, err)
	}
	return nil
}

// keep owns a partition for as long as ctx lives.
func (r *Runner) keep(ctx context.Context, partition int) error {
	said := ""
	for {
		err := (&partitionRun{Runner: r, partition: partition, log: r.log.With("partition", partition)}).run(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var h *HaltError
		switch {
		case errors.As(err, &h):
			r.metrics.halted.WithLabelValues(label(partition)).Set(1)
			if h.Error() != said {
				said = h.Error()
				r.log.Error("partition stopped", "partition", partition, "error", err)
			}
		case errors.Is(err, ErrFenced):
			r.metrics.fenced.WithLabelValues(label(partition)).Inc()
			r.log.Info("partition taken over by another owner, standing by", "partition", partition, "error", err)
			r.standBy(ctx, partition)
			continue
		case errors.Is(err, errRebuilding):
			r.log.Info("partition begins anew", "partition", partition, "error", err)
		case errors.Is(err, errUnknownFold):
			return err
		default:
			r.log.Warn("partition begins again", "partition", partition, "error", err)
		}
		if err := backOff(ctx); err != nil {
			return nil
		}
	}
}

var errUnknownFold = errors.New("fold version is not known to this binary")

// partitionRun is one life of one partition: from claim to fence, halt or stop.
type partitionRun struct {
	*Runner
	partition int
	log       *slog.Logger

	fold      Fold
	version   uint32
	w         *writer
	snapshots *snapshotStore

	pos     uint64 // last root folded
	muted   uint64 // roots at or below it were emitted before: outputs are dropped
	scratch Outputs
	pending pendingCommit

	done         atomic.Uint64 // newest root known to be committed
	snapshotAt   time.Time     // not before
	captured     *capture      // complete, waits for the commit that covers its root
	captureBegan time.Time
	captureSpent time.Duration // on the last snapshot, between entries
	folded       time.Time     // when the last message was
	writeSpent   atomic.Int64  // and beside the fold, ns
	snapshotBusy bool
}

func (p *partitionRun) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := p.recover(ctx); err != nil {
		return err
	}
	p.metrics.halted.WithLabelValues(label(p.partition)).Set(0)
	p.metrics.owned.WithLabelValues(label(p.partition)).Set(1)
	defer p.metrics.owned.WithLabelValues(label(p.partition)).Set(0)

	rd := newReader(p.broker, p.stage.From, p.partition, p.pos)
	chunks := make(chan Message, 4)
	readErr := make(chan error, 1)
	go func() { readErr <- rd.run(ctx, chunks) }()
	err := p.loop(ctx, chunks, readErr)
	cancel()
	return err
}

// recover restores the newest snapshot at or below the marker, prepares the muted
// replay up to it (rule 7), and claims the partition if the marker still stands:
// who takes long to restore disturbs nobody who is at work.
func (p *partitionRun) recover(ctx context.Context) error {
	start := time.Now()
	w, commit, err := p.broker.approach(ctx, p.stage.To, p.partition)
	if err != nil {
		return err
	}
	last := w.last
	p.version = p.stage.Version
	if commit != nil {
		p.version = commit.FoldVersion
	}
	p.snapshots = newSnapshotStore(p.blobs, p.stage.Name, p.partition, w.rebuild)
	if err := p.checkSnapshots(ctx, w); err != nil {
		return err
	}
	build, ok := p.stage.Folds[p.version]
	if !ok {
		return fmt.Errorf("%w: %s was written by version %d of the %s; run the binary that knows it", errUnknownFold,
			StreamName(p.stage.To, p.partition), p.version, p.stage.Name)
	}
	p.fold = build()
	root, version, err := p.snapshots.restore(ctx, p.fold.State(), last.to)
	if errors.Is(err, errNoReadableSnapshot) {
		p.log.Error("snapshots can't be read, replaying the log from its start", "error", err)
		p.fold = build()
		p.snapshots.forget()
	} else if err != nil {
		return err
	}
	if root != 0 && version != p.version {
		// The snapshot is older than a switch of versions between it and the marker.
		if p.fold, err = p.refold(version, p.fold); err != nil {
			return err
		}
	}
	p.pos, p.muted = root, last.to
	if faultNewestSnapshot {
		p.muted = max(p.muted, root)
	}
	if err := w.claim(ctx, p.version); err != nil {
		return err
	}
	p.w = w
	p.done.Store(last.to)
	p.pending = pendingCommit{start: p.muted, to: p.muted, version: p.version}
	p.snapshotAt = time.Now().Add(p.cfg.SnapshotEvery)
	p.log.Info("partition claimed", "epoch", p.w.last.epoch, "marker", last.to, "snapshot", root,
		"took", time.Since(start).Round(time.Millisecond))
	return nil
}

// checkSnapshots: a snapshot is written only after the commit that covers it,
// so one beyond the marker proves that the log lost its end.
func (p *partitionRun) checkSnapshots(ctx context.Context, w *writer) error {
	last := w.last
	newest, err := p.snapshots.newest(ctx)
	if err != nil || faultNewestSnapshot {
		return err
	}
	if newest <= last.to {
		return p.checkGenerations(ctx, w)
	}
	// Another owner may have committed and snapshotted since the marker was read.
	now, _, err := p.broker.lastMark(ctx, p.stage.To, p.partition)
	if err != nil {
		return err
	}
	if newest <= now.to {
		return fmt.Errorf("%w: %s moved from root %d to %d during recovery", ErrFenced, StreamName(p.stage.To, p.partition), last.to, now.to)
	}
	return halt(p.stage.To, p.partition, "it ends at root %d, but a snapshot was taken at committed root %d", now.to, newest)
}

// checkGenerations: a rebuild marks a log for good, so one without a mark that has
// snapshots of a rebuilt one was made anew, or is older than that.
func (p *partitionRun) checkGenerations(ctx context.Context, w *writer) error {
	if w.rebuild != "" {
		return nil
	}
	others, err := p.snapshots.others(ctx)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return halt(p.stage.To, p.partition, "it bears no mark of a rebuild, but a snapshot was taken after one (%s)", others[0])
	}
	return nil
}

// refold moves the records of one fold version into another's state.
func (p *partitionRun) refold(version uint32, old Fold) (Fold, error) {
	build, ok := p.stage.Folds[version]
	if !ok {
		return nil, fmt.Errorf("%w: version %d of the %s", errUnknownFold, version, p.stage.Name)
	}
	next := build()
	if err := CopyState(next.State(), old.State()); err != nil {
		return nil, fmt.Errorf("move state to fold version %d: %w", version, err)
	}
	p.version = version
	return next, nil
}

// loop folds what arrives while the previous commit is in flight: the natural
// group commit. Only this goroutine touches the fold.
func (p *partitionRun) loop(ctx context.Context, chunks <-chan Message, readErr <-chan error) error {
	commits := make(chan commitJob, 1)
	results := make(chan error, 1)
	snapped := make(chan error, 1)
	go p.publishLoop(ctx, commits, results)
	defer close(commits)

	timer := time.NewTicker(positionEvery / 3)
	defer timer.Stop()
	inFlight := false
	wrote := time.Now()
	paced, capturing := time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	defer paced.Stop()
	defer capturing.Stop()
	for {
		now := time.Now()
		switch early := p.cfg.CommitEvery - now.Sub(wrote); {
		case inFlight:
		case early > 0 && !p.pending.full() && p.pending.due(now):
			paced.Reset(early)
		case p.pending.due(now), p.pos < p.muted && now.Sub(wrote) >= p.cfg.Takeover/3:
			// A replay writes nothing; who stands by must not take it for a standstill.
			commits <- p.pending.take()
			inFlight, wrote = true, now
		case now.Sub(wrote) >= ownerCheck:
			commits <- commitJob{check: true}
			inFlight, wrote = true, now
		}
		if again := p.stepSnapshot(ctx, len(chunks) == 0, snapped); again > 0 {
			capturing.Reset(again)
		}
		in := chunks
		if p.pending.full() {
			in = nil // the log of outputs is the slower one: stop reading
		}
		select {
		case c := <-in:
			if err := p.foldChunk(ctx, c, commits, results, &inFlight); err != nil {
				return err
			}
		case err := <-results:
			inFlight = false
			if err != nil {
				return err
			}
		case err := <-snapped:
			p.snapshotDone(err)
		case err := <-readErr:
			return err
		case <-timer.C:
		case <-paced.C:
		case <-capturing.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// foldChunk folds all roots of a message. Outputs of one root stay in one
// commit; a full commit is sent before the next root is folded.
func (p *partitionRun) foldChunk(ctx context.Context, c Message, commits chan<- commitJob, results <-chan error, inFlight *bool) error {
	start := time.Now()
	for _, root := range c.Roots {
		if p.pending.full() || p.pending.mixes(p.version) {
			if *inFlight {
				select {
				case err := <-results:
					if err != nil {
						return err
					}
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			commits <- p.pending.take()
			*inFlight = true
		}
		p.foldRoot(root)
		if p.fold == nil {
			// The roots before it stay uncommitted and are folded again by the binary that knows it.
			return fmt.Errorf("%w: the log switches to a fold version after root %d", errUnknownFold, root.Root)
		}
	}
	p.pos, p.folded = c.To, time.Now()
	p.pending.reach(c.To, c.At)
	p.metrics.fold.WithLabelValues(label(p.partition)).Add(time.Since(start).Seconds())
	p.metrics.position.WithLabelValues(label(p.partition)).Set(float64(p.pos))
	if !c.At.IsZero() {
		p.metrics.behind.WithLabelValues(label(p.partition)).Set(time.Since(c.At).Seconds())
	}
	return nil
}

func (p *partitionRun) foldRoot(in RootEntries) {
	out := &p.scratch
	out.Reset()
	switchTo := uint32(0)
	for i, e := range in.Entries {
		before := out.Len()
		if err := p.apply(Input{Partition: p.partition, Root: in.Root, Index: i, Bytes: e}, out); err != nil {
			out.truncate(before)
			out.Emit(deadLetter(p.stage.Name, in.Root, i, e, err))
			p.metrics.deadLetters.WithLabelValues(reasonOf(err)).Inc()
			if in.Root > p.muted {
				p.log.Warn("entry became a dead letter", "root", in.Root, "index", i, "error", err)
			}
		}
		if v := foldSwitch(p.stage.Name, e); v > p.version {
			switchTo = v
		}
	}
	p.pos = in.Root
	p.metrics.entries.WithLabelValues(label(p.partition)).Add(float64(len(in.Entries)))
	if in.Root > p.muted {
		p.pending.add(in.Root, out)
	}
	if switchTo != 0 {
		// A version that this binary lacks ends the run; the caller names it.
		p.fold, _ = p.refold(switchTo, p.fold)
	}
}

// apply turns a panic of the core into a dead letter: bad input never stops a partition.
func (p *partitionRun) apply(in Input, out *Outputs) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &RejectError{Reason: "panic", Detail: fmt.Sprint(r)}
		}
	}()
	return p.fold.Apply(in, out)
}

// RejectError is how a fold refuses an entry with a stable reason.
type RejectError struct {
	Reason string
	Detail string
	Tenant schemas.ID
}

func (e *RejectError) Error() string { return e.Reason + ": " + e.Detail }

// reasonRefused stands for an error that names no reason.
const reasonRefused = "refused"

// reasonOf is the stable reason of a refusal: few values, whatever comes in.
func reasonOf(err error) string {
	var r *RejectError
	if errors.As(err, &r) {
		return r.Reason
	}
	return reasonRefused
}

func deadLetter(stage string, root uint64, index int, entry []byte, err error) *schemas.Entry {
	d := &schemas.DeadLetter{Stage: stage, Root: root, Index: uint32(index), Reason: reasonOf(err), Detail: err.Error()}
	var r *RejectError
	if errors.As(err, &r) {
		d.Detail = r.Detail
		if r.Tenant != schemas.Nil {
			d.TenantId = r.Tenant[:]
		}
	}
	d.Entry = entry[:min(len(entry), 64<<10)]
	return &schemas.Entry{Kind: &schemas.Entry_DeadLetter{DeadLetter: d}}
}

func foldSwitch(stage string, entry []byte) uint32 {
	if schemas.KindOf(entry) != schemas.KindControl {
		return 0
	}
	e := &schemas.Entry{}
	if e.UnmarshalVTUnsafe(entry) != nil {
		return 0
	}
	if s := e.GetControl().GetFoldSwitch(); s.GetStage() == stage {
		return s.GetVersion()
	}
	return 0
}
