package stream

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// snapshotStore keeps the snapshots of one stage and partition in blobs and the
// hashes of their newest state in memory. Its methods run in the background,
// one at a time.
type snapshotStore struct {
	blobs  Blobs
	prefix string // snapshots/<stage>/<partition>/<generation>/
	hashes map[recordKey]digest
	sum    digest
	last   uint64 // root of the newest snapshot of this chain, 0 = none
	deltas int
	// bytes of the base and of the deltas behind it, to know when merging pays
	baseBytes, deltaBytes int
}

// newSnapshotStore opens the snapshots of one generation of a stage's log. A
// rebuild begins a new generation, so what an owner that has not noticed it yet
// still writes is never taken for a snapshot of the new log.
func newSnapshotStore(blobs Blobs, stage string, partition int, generation string) *snapshotStore {
	return &snapshotStore{blobs: blobs, prefix: snapshotPrefix(stage, partition) + first(generation, "0") + "/", hashes: map[recordKey]digest{}}
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func snapshotPrefix(stage string, partition int) string {
	return fmt.Sprintf("snapshots/%s/%d/", stage, partition)
}

func (st *snapshotStore) name(root uint64, kind uint8) string {
	suffix := "base"
	if kind == kindDelta {
		suffix = "delta"
	}
	return fmt.Sprintf("%s%020d.%s", st.prefix, root, suffix)
}

type snapshotName struct {
	root uint64
	kind uint8
}

// list returns all snapshots, ascending by root, a base before a delta of its root.
func (st *snapshotStore) list(ctx context.Context) ([]snapshotName, error) {
	names, err := st.blobs.List(ctx, st.prefix)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var out []snapshotName
	for _, n := range names {
		digits, suffix, _ := strings.Cut(strings.TrimPrefix(n, st.prefix), ".")
		root, err := strconv.ParseUint(digits, 10, 64)
		if err != nil || (suffix != "base" && suffix != "delta") {
			continue
		}
		kind := uint8(kindBase)
		if suffix == "delta" {
			kind = kindDelta
		}
		out = append(out, snapshotName{root, kind})
	}
	slices.SortFunc(out, func(a, b snapshotName) int {
		if a.root != b.root {
			if a.root < b.root {
				return -1
			}
			return 1
		}
		return int(a.kind) - int(b.kind)
	})
	return out, nil
}

// newest is the root of the newest snapshot, 0 when there is none.
func (st *snapshotStore) newest(ctx context.Context) (uint64, error) {
	names, err := st.list(ctx)
	if err != nil || len(names) == 0 {
		return 0, err
	}
	return names[len(names)-1].root, nil
}

// others lists the snapshots of other generations.
func (st *snapshotStore) others(ctx context.Context) ([]string, error) {
	stage := st.prefix[:strings.LastIndexByte(strings.TrimSuffix(st.prefix, "/"), '/')+1]
	names, err := st.blobs.List(ctx, stage)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	return slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, st.prefix) }), nil
}

// restore loads the newest readable snapshot at or below limit into state and
// returns its root and fold version; root 0 means an empty state.
func (st *snapshotStore) restore(ctx context.Context, state *State, limit uint64) (uint64, uint32, error) {
	names, err := st.list(ctx)
	if err != nil {
		return 0, 0, err
	}
	var damaged error
	for i := len(names) - 1; i >= 0; i-- {
		if names[i].root > limit && !faultNewestSnapshot {
			continue
		}
		chain, err := st.chain(ctx, names, names[i].root)
		if err != nil {
			// A damaged or pruned chain only costs time: an older one, or the log from its start.
			damaged = errors.Join(damaged, err)
			continue
		}
		if err := st.load(state, chain); err != nil {
			damaged = errors.Join(damaged, err)
			continue
		}
		for _, f := range state.onRestore {
			f()
		}
		last := chain[len(chain)-1]
		return last.root, last.foldVersion, nil
	}
	if damaged != nil && len(names) > 0 {
		// Fall back to the log, but say so: the caller logs it.
		return 0, 0, fmt.Errorf("%w: %w", errNoReadableSnapshot, damaged)
	}
	return 0, 0, nil
}

var errNoReadableSnapshot = errors.New("no readable snapshot")

// chain reads a snapshot and its predecessors down to their base, base first. Of
// a base and a delta at one root the base is read: what the delta stands on may
// have been pruned.
func (st *snapshotStore) chain(ctx context.Context, names []snapshotName, root uint64) ([]*snapshot, error) {
	var chain []*snapshot
	st.baseBytes, st.deltaBytes, st.deltas = 0, 0, 0
	for {
		kind := uint8(kindDelta)
		if slices.Contains(names, snapshotName{root, kindBase}) {
			kind = kindBase
		}
		b, err := st.blobs.Get(ctx, st.name(root, kind))
		if err != nil {
			return nil, fmt.Errorf("read snapshot %d: %w", root, err)
		}
		s, err := decodeSnapshot(b)
		if err != nil {
			return nil, fmt.Errorf("read snapshot %d: %w", root, err)
		}
		chain = append(chain, s)
		if s.kind == kindBase {
			st.baseBytes = len(b)
			slices.Reverse(chain)
			return chain, nil
		}
		st.deltaBytes += len(b)
		st.deltas++
		if s.prev >= s.root {
			return nil, fmt.Errorf("read snapshot %d: %w: predecessor %d", s.root, errSnapshotDamaged, s.prev)
		}
		root = s.prev
	}
}

func (st *snapshotStore) load(state *State, chain []*snapshot) error {
	state.reset()
	clear(st.hashes)
	st.sum = digest{}
	for _, r := range mergeRecords(chain) {
		if int(r.table) >= len(state.tables) {
			return fmt.Errorf("%w: table %d is unknown to this fold", errSnapshotDamaged, r.table)
		}
		if err := state.tables[r.table].load(r.key, r.bytes); err != nil {
			return err
		}
		k := recordKey{r.table, r.key}
		h := recordHash(k, r.bytes)
		st.hashes[k] = h
		st.sum.add(h)
	}
	last := chain[len(chain)-1]
	if st.sum != last.digest {
		return fmt.Errorf("%w: records of root %d sum to another digest", errSnapshotDamaged, last.root)
	}
	st.last = last.root
	return nil
}

// mergeRecords lays deltas over their base; the result has no deletions.
func mergeRecords(chain []*snapshot) []record {
	newest := map[recordKey]record{}
	for _, s := range chain {
		for _, r := range s.records {
			newest[recordKey{r.table, r.key}] = r
		}
	}
	out := make([]record, 0, len(newest))
	for _, r := range newest {
		if r.bytes != nil {
			out = append(out, r)
		}
	}
	sortRecords(out)
	return out
}

func sortRecords(rs []record) {
	slices.SortFunc(rs, func(a, b record) int {
		return recordKey{a.table, a.key}.compare(recordKey{b.table, b.key})
	})
}

// forget starts a new chain: the next snapshot is a base.
func (st *snapshotStore) forget() {
	clear(st.hashes)
	st.sum = digest{}
	st.last, st.deltas, st.baseBytes, st.deltaBytes = 0, 0, 0, 0
}

// ErrNotDeterministic reports two different states at one root.
var ErrNotDeterministic = errors.New("two snapshots of one root differ: the fold is not deterministic")

// Fill of a log from which on its readers' snapshots are no longer a matter of cost
// alone: the log reaches back to the oldest base, so bases follow each other as
// closely as they can, and at last only one is kept, once it has been read back. A
// full log stands still, and with it the very stage whose next snapshot would free it.
const (
	fillPressed = .6
	fillAlone   = .8
)

// write stores a finished capture and merges when the deltas outweigh the base, or
// when the logs that the oldest base holds back are filled too far.
func (st *snapshotStore) write(ctx context.Context, c *capture, foldVersion uint32, fill float64) error {
	sortRecords(c.records)
	hashed := 0
	for _, r := range c.records {
		if hashed += len(r.bytes); hashed >= courtesyStep {
			hashed = 0
			runtime.Gosched()
		}
		k := recordKey{r.table, r.key}
		if old, ok := st.hashes[k]; ok {
			st.sum.sub(old)
			delete(st.hashes, k)
		}
		if r.bytes != nil {
			h := recordHash(k, r.bytes)
			st.hashes[k] = h
			st.sum.add(h)
		}
	}
	s := &snapshot{foldVersion: foldVersion, kind: kindDelta, root: c.root, prev: st.last, digest: st.sum, records: c.records}
	if st.last == 0 {
		s.kind = kindBase
		s.records = slices.DeleteFunc(s.records, func(r record) bool { return r.bytes == nil })
	}
	b := s.encode()
	if err := st.create(ctx, s, b); err != nil {
		return err
	}
	st.last = c.root
	if s.kind == kindBase {
		st.baseBytes, st.deltaBytes, st.deltas = len(b), 0, 0
		return st.prune(ctx, c.root, fill)
	}
	st.deltaBytes += len(b)
	st.deltas++
	if st.deltas >= 32 || st.deltaBytes > 2*st.baseBytes+(1<<20) || fill > fillPressed {
		return st.merge(ctx, fill)
	}
	return nil
}

// create stores one snapshot; meeting one of the same root it compares digests.
func (st *snapshotStore) create(ctx context.Context, s *snapshot, b []byte) error {
	name := st.name(s.root, s.kind)
	err := st.blobs.Create(ctx, name, b)
	if !errors.Is(err, ErrBlobExists) {
		if err != nil {
			return fmt.Errorf("write snapshot: %w", err)
		}
		return nil
	}
	there, err := st.blobs.Get(ctx, name)
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	other, err := decodeSnapshot(there)
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	if other.digest != s.digest {
		return fmt.Errorf("snapshot %s: %w", name, ErrNotDeterministic)
	}
	// Another owner took the same state, perhaps in other steps: its chain serves as well.
	return nil
}

// merge writes a base equal to the newest state and prunes what it replaces.
func (st *snapshotStore) merge(ctx context.Context, fill float64) error {
	names, err := st.list(ctx)
	if err != nil {
		return err
	}
	chain, err := st.chain(ctx, names, st.last)
	if err != nil {
		return fmt.Errorf("merge snapshots: %w", err)
	}
	last := chain[len(chain)-1]
	base := &snapshot{foldVersion: last.foldVersion, kind: kindBase, root: last.root, digest: last.digest, records: mergeRecords(chain)}
	b := base.encode()
	if err := st.create(ctx, base, b); err != nil {
		return err
	}
	st.baseBytes, st.deltaBytes, st.deltas = len(b), 0, 0
	return st.prune(ctx, base.root, fill)
}

// prune keeps the base at root, the base before it with its deltas, and all newer.
// Where the log can't wait for the next base it keeps no other than that at root.
func (st *snapshotStore) prune(ctx context.Context, root uint64, fill float64) error {
	names, err := st.list(ctx)
	if err != nil {
		return err
	}
	keepFrom := uint64(0)
	for _, n := range names {
		if n.kind == kindBase && n.root < root {
			keepFrom = n.root
		}
	}
	if fill > fillAlone {
		b, err := st.blobs.Get(ctx, st.name(root, kindBase))
		if err != nil {
			return fmt.Errorf("read base %d back: %w", root, err)
		}
		if _, err := decodeSnapshot(b); err != nil {
			return fmt.Errorf("read base %d back: %w", root, err)
		}
		keepFrom = root
	}
	for _, n := range names {
		if n.root < keepFrom {
			if err := st.blobs.Delete(ctx, st.name(n.root, n.kind)); err != nil {
				return fmt.Errorf("prune snapshots: %w", err)
			}
		}
	}
	return nil
}
