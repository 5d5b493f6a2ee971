//go:build unix

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/edgepulse/edgepulse/featurizer"
	"github.com/edgepulse/edgepulse/internal/app"
	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// message is one message of a stream as the broker stores it.
type message struct {
	seq  uint64
	data []byte
}

// messages reads a whole stream with the broker's client alone: the reader of
// the product is among what is on trial.
func (w *world) messages(ctx context.Context, name string, after uint64) ([]message, error) {
	s, err := w.js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", name, err)
	}
	last := s.CachedInfo().State.LastSeq
	if last <= after {
		return nil, nil
	}
	if after == 0 { // from wherever it begins: what was truncated is not waited for
		after = max(1, s.CachedInfo().State.FirstSeq) - 1
	}
	cons, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	var out []message
	for after < last {
		batch, err := cons.Fetch(int(min(last-after, 200)), jetstream.FetchMaxWait(2*time.Second))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return nil, err
			}
			if meta.Sequence.Stream != after+1 && after != 0 {
				return nil, fmt.Errorf("%s: message %d follows message %d", name, meta.Sequence.Stream, after)
			}
			after = meta.Sequence.Stream
			out = append(out, message{after, m.Data()})
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return out, nil
}

// truthOf is INGEST behind a root: what the janitor has cut from the log comes
// from the archive.
func (w *world) truthOf(ctx context.Context, p int, after uint64) ([]message, error) {
	return patiently(w.janitor, func() ([]message, error) { return w.truthOnce(ctx, p, after) })
}

// patiently reads again what was truncated while it was read.
func patiently(truncated bool, read func() ([]message, error)) (list []message, err error) {
	for range 20 {
		if list, err = read(); err == nil || !truncated {
			break
		}
	}
	return list, err
}

func (w *world) truthOnce(ctx context.Context, p int, after uint64) ([]message, error) {
	list, err := w.messages(ctx, stream.StreamName(stream.Ingest, p), after)
	if !w.janitor || err != nil && after == 0 {
		return list, err
	}
	s, err := w.js.Stream(ctx, stream.StreamName(stream.Ingest, p))
	if err != nil {
		return nil, fmt.Errorf("look up INGEST_%d: %w", p, err)
	}
	first := s.CachedInfo().State.FirstSeq
	if first <= after+1 {
		return list, nil
	}
	var old []message
	for root := after + 1; root < first; root++ {
		m, err := archive.ReadRoot(ctx, w.archive, w.keys, stream.Ingest, p, root)
		if err != nil {
			return nil, err
		}
		old = append(old, message{root, m.Payload})
	}
	if list, err = w.messages(ctx, stream.StreamName(stream.Ingest, p), first-1); err != nil {
		return nil, err
	}
	return append(old, list...), nil
}

// output is one entry of a derived log.
type output struct {
	root  uint64
	hash  [16]byte
	entry []byte // to show a difference
}

func outputOf(root uint64, entry []byte) output {
	sum := sha256.Sum256(entry)
	return output{root, [16]byte(sum[:16]), entry}
}

func (o output) equal(other output) bool { return o.root == other.root && o.hash == other.hash }

func (o output) String() string {
	e := &schemas.Entry{}
	if err := proto.Unmarshal(o.entry, e); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("root %d: %v", o.root, e)
}

// truth is what INGEST means, worked out twice without the runner: by the folds
// one after the other, and, for what is cheap to write again, from the payloads alone.
type truth struct {
	partition int
	read      uint64 // last root
	pipeline  *app.Pipeline
	logs      map[stream.LogName][]output
	rows      []row
	points    map[identity]stored // by the payloads alone
	ticks     int
	batches   int
}

// stored is where a datapoint came from.
type stored struct {
	value float64
	root  uint64
}

func newTruth(partition int) *truth {
	t := &truth{partition: partition, logs: map[stream.LogName][]output{}, points: map[identity]stored{},
		pipeline: app.NewPipeline(featurizer.Config{Window: 300 * time.Second, Hop: time.Second})}
	t.pipeline.Each = func(log stream.LogName, root uint64, entry []byte) error {
		t.logs[log] = append(t.logs[log], outputOf(root, bytes.Clone(entry)))
		e := &schemas.Entry{}
		if err := proto.Unmarshal(entry, e); err != nil {
			return fmt.Errorf("decode entry of root %d: %w", root, err)
		}
		t.rows = appendRows(t.rows, partition, root, e)
		return nil
	}
	return t
}

// extend reads on to the end of INGEST.
func (t *truth) extend(ctx context.Context, w *world) error {
	list, err := w.truthOf(ctx, t.partition, t.read)
	if err != nil {
		return err
	}
	for _, m := range list {
		if m.seq != t.read+1 {
			return fmt.Errorf("INGEST_%d goes from root %d to %d", t.partition, t.read, m.seq)
		}
		t.read = m.seq
		g := &schemas.Group{}
		if err := proto.Unmarshal(m.data, g); err != nil {
			return fmt.Errorf("decode root %d: %w", m.seq, err)
		}
		if err := t.pipeline.Root(t.partition, m.seq, g.Entries); err != nil {
			return err
		}
		for _, raw := range g.Entries {
			if err := t.payload(m.seq, raw); err != nil {
				return err
			}
		}
	}
	return nil
}

// payload takes the points of one entry: the first of each identity stays.
func (t *truth) payload(root uint64, raw []byte) error {
	e := &schemas.Entry{}
	if err := proto.Unmarshal(raw, e); err != nil {
		return fmt.Errorf("decode entry of root %d: %w", root, err)
	}
	if e.GetTick() != nil {
		t.ticks++
	}
	b := e.GetBatch()
	if b == nil {
		return nil
	}
	t.batches++
	for _, s := range b.Slices {
		var d wireDevice
		dec := json.NewDecoder(bytes.NewReader(s.Json))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&d); err != nil {
			return fmt.Errorf("decode payload of root %d: %w", root, err)
		}
		refused := map[uint32]bool{}
		for _, r := range s.Rejected {
			refused[r.Index] = true
		}
		for i, m := range d.Metrics {
			id := identity{metricOf(uuid.UUID(b.TenantId), d.Device, m.Name), m.TS.UnixMicro()}
			if _, known := t.points[id]; !known && !refused[uint32(i)] {
				t.points[id] = stored{m.Value, root}
			}
		}
	}
	return nil
}

// recompute brings the truth of every partition up to the end of INGEST.
func (w *world) recompute(ctx context.Context, truths *[partitions]*truth) error {
	g, ctx := errgroup.WithContext(ctx)
	for p := range partitions {
		if truths[p] == nil {
			truths[p] = newTruth(p)
		}
		g.Go(func() error { return truths[p].extend(ctx, w) })
	}
	return g.Wait()
}

// readLog reads a derived log with all its commits checked: each extends the one
// before it in sequence, content and roots, and no root comes twice.
func (w *world) readLog(ctx context.Context, log stream.LogName, p int) (outputs []output, from, end uint64, commits int, err error) {
	name := stream.StreamName(log, p)
	list, err := patiently(w.janitor, func() ([]message, error) { return w.messages(ctx, name, 0) })
	if err != nil {
		return nil, 0, 0, 0, err
	}
	var prev message
	if w.janitor && len(list) > 0 {
		c := &schemas.Commit{}
		if err := proto.Unmarshal(list[0].data, c); err != nil {
			return nil, 0, 0, 0, fmt.Errorf("%s: message %d: %w", name, list[0].seq, err)
		}
		from, end = c.From, c.From
	}
	last := from
	for i, m := range list {
		c := &schemas.Commit{}
		if err := proto.Unmarshal(m.data, c); err != nil {
			return nil, 0, 0, 0, fmt.Errorf("%s: message %d: %w", name, m.seq, err)
		}
		chain := sha256.Sum256(prev.data)
		switch {
		case c.Log != name:
			err = errors.New("is of another log")
		case c.From != end || c.To < c.From:
			err = fmt.Errorf("covers (%d, %d] after %d", c.From, c.To, end)
		case i > 0 && (c.PrevSeq != prev.seq || !bytes.Equal(c.PrevChain, chain[:])):
			err = errors.New("does not extend the message before it")
		}
		for _, o := range c.Outputs {
			if o.Root <= last || o.Root <= c.From || o.Root > c.To {
				err = fmt.Errorf("holds root %d after root %d in (%d, %d]", o.Root, last, c.From, c.To)
			}
			last = o.Root
			for _, entry := range o.Entries {
				outputs = append(outputs, outputOf(o.Root, entry))
			}
		}
		if err != nil {
			return nil, 0, 0, 0, fmt.Errorf("%s: message %d %w", name, m.seq, err)
		}
		prev, end = m, c.To
	}
	return outputs, from, end, len(list), nil
}
