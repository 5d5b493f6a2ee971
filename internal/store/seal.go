package store

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// Sealing merges the small chunks that projectors write into lasting ones. What
// comes in: <kind>_recent. What goes out: <kind>_chunks, whose chunks of one
// series never overlap, hold each sample once, and carry their roll-ups. Order:
// none is kept; each step takes all that is there of some series. State: none but
// the tables; a step is one transaction, so a crash leaves it done or not begun.
// The result is the same in whatever order and at whatever moments steps run.

// Sealing says when series are sealed. The zero value takes the defaults.
type Sealing struct {
	// Samples written by this process since the last round begin a new one. Default 1,000,000.
	Samples int
	// Every is when a round begins at the latest. Default 3 min.
	Every time.Duration
	// Least is how many recent samples of a series are sealed at once. Default 60.
	Least int
	// Age seals what has waited so long, however little it is. Default 15 min.
	Age time.Duration
}

func (c *Sealing) defaults() {
	if c.Samples == 0 {
		c.Samples = 1_000_000
	}
	if c.Every == 0 {
		c.Every = 3 * time.Minute
	}
	if c.Least == 0 {
		c.Least = 60
	}
	if c.Age == 0 {
		c.Age = 15 * time.Minute
	}
}

const (
	// chunkFew is below how many samples a chunk is merged with what follows it:
	// a slow metric's chunk grows until it is worth its row.
	chunkFew = 240
	// stepValues and stepSeries bound one transaction of sealing: some ten milliseconds
	// of a processor, whatever the kind.
	stepValues = 100_000
	stepSeries = 2000
	// stepChunks bounds a step of a series that alone exceeds the samples of a step.
	stepChunks = 500
	// stepRest is how long a step in the background is followed by none at most, in its
	// own durations: who seals a million samples at a stretch takes the processors from
	// what somebody waits for.
	stepRest = 2
	// countEvery is how often what waits is counted at most, and countShare how many
	// times as long as it took: with much to count it is rare.
	countEvery = 15 * time.Second
	countShare = 100
)

// sealer is the state of one kind in this process: only about when to begin.
type sealer struct {
	spec    *stream.SeriesSpec
	pending atomic.Int64
	waiting atomic.Int64 // samples that were not sealed when they were last counted
	mu      sync.Mutex   // held by the round at work
	last    time.Time
	count   time.Time      // when to count them again
	weeks   map[int64]bool // partitions known to be there
	buffer  []byte         // of COPY data
}

// sealers are all kinds, by the log they come from.
type sealers map[stream.LogName]*sealer

func newSealers() sealers {
	out := sealers{}
	for log, spec := range map[stream.LogName]*stream.SeriesSpec{
		stream.Points: stream.DatapointSeries, stream.Features: stream.FeatureSeries, stream.Scores: stream.ScoreSeries,
	} {
		out[log] = &sealer{spec: spec, weeks: map[int64]bool{}}
	}
	return out
}

func (s sealers) wrote(kinds []*stream.SeriesRows) {
	for _, k := range kinds {
		for _, one := range s {
			if one.spec == k.Spec {
				one.pending.Add(int64(k.Len()))
			}
		}
	}
}

// Compact implements stream.RowSink: a round of sealing, when one is due.
func (s *Store) Compact(ctx context.Context, log stream.LogName) error {
	one := s.sealers[log]
	if one == nil || !one.mu.TryLock() {
		return nil
	}
	defer one.mu.Unlock()
	if err := s.countWaiting(ctx, one); err != nil {
		return err
	}
	if one.pending.Load() < int64(s.cfg.Sealing.Samples) && time.Since(one.last) < s.cfg.Sealing.Every {
		return nil
	}
	one.pending.Store(0)
	one.last = time.Now()
	_, err := s.sealRound(ctx, one, s.cfg.Sealing.Least, s.cfg.Sealing.Age, s.rest)
	return err
}

// rest is that of the kind that is furthest behind: it waits while another one rests.
func (s *Store) rest() float64 {
	least := float64(stepRest)
	for _, one := range s.sealers {
		least = min(least, restAfter(one.pending.Load(), s.cfg.Sealing.Samples))
	}
	return least
}

// restAfter is how long to rest after a step, in its own durations: the less the more
// was written since the round began. With what would begin another round, this one is
// behind, and rests no more.
func restAfter(written int64, samples int) float64 {
	return stepRest * max(0, 1-float64(written)/float64(samples))
}

// Seal seals all that is there of a log's series, and says how many samples that was.
func (s *Store) Seal(ctx context.Context, log stream.LogName) (int, error) {
	one := s.sealers[log]
	if one == nil {
		return 0, nil
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	return s.sealRound(ctx, one, 1, 0, nil)
}

// Unsealed is how many samples of each kind wait for a round of sealing, by the kind's name.
func (s *Store) Unsealed(ctx context.Context) (map[string]int64, error) {
	out := map[string]int64{}
	for _, one := range s.sealers {
		n, err := s.unsealed(ctx, one)
		if err != nil {
			return nil, err
		}
		out[one.spec.Name] = n
	}
	return out, nil
}

func (s *Store) unsealed(ctx context.Context, one *sealer) (n int64, err error) {
	if s.writer == nil {
		return 0, fmt.Errorf("count unsealed samples: %w", ErrNoRole)
	}
	if err := s.writer.QueryRow(ctx, `SELECT coalesce(sum(n), 0) FROM `+one.spec.Name+`_recent`).Scan(&n); err != nil {
		return 0, fmt.Errorf("count unsealed %s samples: %w", one.spec.Name, err)
	}
	return n, nil
}

// countWaiting keeps the count that is told to operators, when its time has come.
func (s *Store) countWaiting(ctx context.Context, one *sealer) error {
	begun := time.Now()
	if begun.Before(one.count) {
		return nil
	}
	n, err := s.unsealed(ctx, one)
	if err != nil {
		return err
	}
	one.waiting.Store(n)
	one.count = begun.Add(max(countEvery, countShare*time.Since(begun)))
	return nil
}

// due is a series with enough to seal.
type due struct {
	metric  schemas.ID
	samples int
}

// sealRound looks at every series with recent samples once, and rests after each
// step for so many times as long as it took; nil = never.
func (s *Store) sealRound(ctx context.Context, one *sealer, least int, age time.Duration, rest func() float64) (int, error) {
	if s.writer == nil {
		return 0, fmt.Errorf("seal %s series: %w", one.spec.Name, ErrNoRole)
	}
	rows, err := s.writer.Query(ctx, `SELECT metric_id, sum(n) FROM `+one.spec.Name+`_recent
		GROUP BY metric_id HAVING sum(n) >= $1 OR min(written_at) <= now() - $2::interval ORDER BY metric_id`, least, age)
	if err != nil {
		return 0, fmt.Errorf("find %s series to seal: %w", one.spec.Name, err)
	}
	list, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (due, error) {
		var d due
		var id pgtype.UUID
		err := r.Scan(&id, &d.samples)
		d.metric = id.Bytes
		return d, err
	})
	if err != nil {
		return 0, fmt.Errorf("find %s series to seal: %w", one.spec.Name, err)
	}
	total, most := 0, stepSamples(one.spec)
	for len(list) > 0 && ctx.Err() == nil {
		n, step := stepOf(list, most)
		sealed, more, err := s.restedStep(ctx, one, step, n == 1 && list[0].samples > most, rest)
		if err != nil {
			return total, fmt.Errorf("seal %s series: %w", one.spec.Name, err)
		}
		total += sealed
		if !more {
			list = list[n:]
		}
		if err := s.countWaiting(ctx, one); err != nil {
			return total, err
		}
	}
	return total, ctx.Err()
}

// restedStep is a step with its rest; in this process the kinds take turns, so that one
// does not work while another rests.
func (s *Store) restedStep(ctx context.Context, one *sealer, step []pgtype.UUID, part bool, rest func() float64) (sealed int, more bool, err error) {
	if rest == nil {
		return s.sealStep(ctx, one, step, part)
	}
	s.sealTurn.Lock()
	defer s.sealTurn.Unlock()
	begun := time.Now()
	if sealed, more, err = s.sealStep(ctx, one, step, part); err != nil {
		return 0, false, err
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(rest() * float64(time.Since(begun)))):
	}
	return sealed, more, nil
}

// stepSamples is how many samples of a kind a step takes.
func stepSamples(spec *stream.SeriesSpec) int {
	return stepValues / (1 + len(spec.Longs) + len(spec.Reals))
}

// stepOf takes the series of one step off the list.
func stepOf(list []due, most int) (int, []pgtype.UUID) {
	var ids []pgtype.UUID
	samples := 0
	for _, d := range list {
		if len(ids) > 0 && (samples+d.samples > most || len(ids) == stepSeries) {
			break
		}
		samples += d.samples
		ids = append(ids, uuidOf(d.metric))
	}
	return len(ids), ids
}

// sealStep seals the recent samples of some series in one transaction. With part
// it takes a bounded number of their chunks; more says that there may be others.
func (s *Store) sealStep(ctx context.Context, one *sealer, metrics []pgtype.UUID, part bool) (sealed int, more bool, err error) {
	var weeks []int64
	err = within(ctx, s.writer, "begin; set local synchronous_commit = off", func(tx pgx.Tx) error {
		// One sealer per kind in all processes: what it read must be what it replaces.
		var mine bool
		if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock(hashtext('edgepulse seal'), hashtext($1))`, one.spec.Name).Scan(&mine); err != nil || !mine {
			return err
		}
		m := &merge{spec: one.spec, table: one.spec.Name + "_chunks", series: map[schemas.ID]*merged{}, buffer: &one.buffer}
		limit := 1 << 30
		if part {
			limit = stepChunks
		}
		if err := m.takeRecent(ctx, tx, metrics, limit); err != nil {
			return err
		}
		more = part && m.taken == limit
		if m.taken == 0 {
			return nil
		}
		if err := m.takeSealed(ctx, tx); err != nil {
			return err
		}
		if weeks, err = one.makeWeeks(ctx, tx, m); err != nil {
			return err
		}
		sealed = m.samples
		return m.write(ctx, tx, s)
	})
	if err != nil {
		return 0, false, err
	}
	for _, w := range weeks {
		one.weeks[w] = true
	}
	return sealed, more, nil
}

// makeWeeks makes the partitions that are missing.
func (one *sealer) makeWeeks(ctx context.Context, tx pgx.Tx, m *merge) ([]int64, error) {
	missing := map[int64]int64{}
	for _, sr := range m.series {
		for _, ts := range sr.TS {
			if w := weekOf(ts); !one.weeks[w] {
				missing[w] = ts
			}
		}
	}
	var made []int64
	for w, ts := range missing {
		if _, err := tx.Exec(ctx, `SELECT make_chunk_week($1, $2)`, one.spec.Name, time.UnixMicro(ts).UTC()); err != nil {
			return nil, fmt.Errorf("make partition: %w", err)
		}
		made = append(made, w)
	}
	return made, nil
}
