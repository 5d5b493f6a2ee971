package gateway

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

var (
	errDraining = errors.New("gateway is stopping")
	errGone     = errors.New("request is gone")
)

// committer writes one partition of INGEST. One publish is in flight at a time;
// what arrives meanwhile gathers and goes with the next: under load groups grow
// and the number of fsyncs does not.
type committer struct {
	partition int
	log       Log
	cfg       *Config
	metrics   *metrics
	logger    func(msg string, args ...any)

	mu     sync.Mutex
	queue  *queue
	wake   chan struct{} // capacity 1
	closed bool
	done   chan struct{}

	timer *time.Timer // of pause; only run touches it
	last  int64       // newest received_at of the partition; only run touches it
	buf   []byte      // of the group being written; only run touches it
}

func newCommitter(partition int, log Log, cfg *Config, m *metrics, logger func(string, ...any)) *committer {
	return &committer{partition: partition, log: log, cfg: cfg, metrics: m, logger: logger,
		queue: newQueue(), wake: make(chan struct{}, 1), done: make(chan struct{}), timer: time.NewTimer(time.Hour)}
}

// submit queues s. After nil, exactly one outcome follows on s.done.
func (c *committer) submit(s *submission) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errDraining
	}
	c.queue.push(s)
	c.signal()
	return nil
}

func (c *committer) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// close lets run write what waits and then end.
func (c *committer) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.signal()
}

// run writes groups until the committer is closed and nothing waits.
func (c *committer) run() {
	defer close(c.done)
	defer c.timer.Stop()
	pace := stream.Pace{Shortest: c.cfg.GroupEvery}
	for {
		c.pause(pace.Due())
		c.mu.Lock()
		group := c.queue.gather(c.cfg.GroupBytes, c.cfg.MaxPoints, func(s *submission) { s.done <- outcome{err: errGone} })
		ended := c.closed && len(group) == 0 && c.queue.empty()
		again := len(group) > 0 || !c.queue.empty()
		c.mu.Unlock()
		switch {
		case len(group) > 0:
			began := time.Now()
			c.write(group)
			pace.Wrote(began, time.Since(began))
		case ended:
			return
		case !again:
			<-c.wake
		}
	}
}

// pause waits until a moment, or until a whole group waits, or the end has come:
// every message costs each stage behind it the same, however little it holds.
func (c *committer) pause(until time.Time) {
	for {
		left := time.Until(until)
		if left <= 0 {
			return
		}
		c.mu.Lock()
		full := c.closed || c.queue.bytes >= c.cfg.GroupBytes
		c.mu.Unlock()
		if full {
			return
		}
		c.timer.Reset(left)
		select {
		case <-c.wake:
		case <-c.timer.C:
		}
	}
}

// write publishes one group and tells every submission of it the same outcome.
func (c *committer) write(group []*submission) {
	c.buf = c.buf[:0]
	points := 0
	for _, s := range group {
		c.last = max(c.last, s.receivedAt)
		c.buf = s.encode(c.buf, c.last)
		points += s.points
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.AppendTimeout)
	start := time.Now()
	root, err := c.log.Append(ctx, c.partition, c.buf)
	cancel()
	c.metrics.group(len(group), points, len(c.buf), time.Since(start), err)
	if err != nil {
		c.logger("append to ingest log failed", "partition", c.partition, "requests", len(group), "bytes", len(c.buf), "error", err)
		err = fmt.Errorf("append to partition %d: %w", c.partition, err)
	} else {
		c.metrics.root.WithLabelValues(strconv.Itoa(c.partition)).Set(float64(root))
	}
	for _, s := range group {
		s.done <- outcome{c.partition, root, err}
	}
	if cap(c.buf) > 2*c.cfg.GroupBytes {
		c.buf = nil // one outsized request must not hold its memory for ever
	}
}

// appendEntry frames one entry as an element of schemas.Group.entries.
func appendEntry(group []byte, e *schemas.Entry) []byte {
	const field = 1 // Group.entries
	n := e.SizeVT()
	group = protowire.AppendTag(group, field, protowire.BytesType)
	group = protowire.AppendVarint(group, uint64(n))
	start := len(group)
	if cap(group)-start < n {
		grown := make([]byte, start, max(2*cap(group), start+n, 64<<10))
		copy(grown, group)
		group = grown
	}
	group = group[:start+n]
	if _, err := e.MarshalToSizedBufferVT(group[start:]); err != nil {
		panic("encode entry: " + err.Error()) // only if the entry changes while it is encoded
	}
	return group
}

// AppendControl writes one control entry to the partitions named and returns when
// it is on disk in all of them. After an error it may be in some: the relay sends
// it again, and folds ignore a version they have.
func (s *Server) AppendControl(ctx context.Context, partitions []int, control *schemas.Control) error {
	entry := &schemas.Entry{Kind: &schemas.Entry_Control{Control: control}}
	return s.appendSystem(ctx, partitions, entry.SizeVT()+8, func(group []byte) []byte { return appendEntry(group, entry) })
}

// appendSystem sends ticks or controls through the group commit.
func (s *Server) appendSystem(ctx context.Context, partitions []int, size int, encode func([]byte) []byte) error {
	done := make(chan outcome, len(partitions))
	sent := 0
	var failed error
	for _, p := range partitions {
		if p < 0 || p >= len(s.committers) {
			failed = fmt.Errorf("partition %d of %d", p, len(s.committers))
			break
		}
		sub := &submission{ctx: ctx, size: size, system: true, done: done, encode: func(group []byte, _ int64) []byte { return encode(group) }}
		if failed = s.committers[p].submit(sub); failed != nil {
			break
		}
		sent++
	}
	for range sent {
		if o := <-done; failed == nil {
			failed = o.err
		}
	}
	return failed
}
