package stream

import (
	"time"

	"github.com/edgepulse/edgepulse/schemas"
)

// pendingCommit gathers outputs by root until the commit in flight returns.
type pendingCommit struct {
	start   uint64 // end of the commit before
	to      uint64
	outputs []*schemas.RootOutputs
	size    int
	entries int
	since   time.Time // of the oldest position not yet handed over
	at      time.Time // when the broker had stored the newest input
	version uint32    // of the fold that made the outputs
}

// commitJob is one commit on its way to the publisher.
type commitJob struct {
	to      uint64
	outputs []*schemas.RootOutputs
	entries int
	at      time.Time
	version uint32
	check   bool // nothing to commit: is the log still ours?
}

// add takes the outputs of one root. Their memory moves with the commit.
func (c *pendingCommit) add(root uint64, out *Outputs) {
	if len(out.entries) > 0 {
		c.outputs = append(c.outputs, &schemas.RootOutputs{Root: root, Entries: append([][]byte(nil), out.entries...)})
		c.size += out.size + 16*len(out.entries)
		c.entries += len(out.entries)
		out.release()
	}
	c.reach(root, time.Time{})
}

// reach moves the end of the commit to a root.
func (c *pendingCommit) reach(root uint64, at time.Time) {
	if root > c.to {
		c.to = root
		if c.since.IsZero() {
			c.since = time.Now()
		}
	}
	if !at.IsZero() {
		c.at = at
	}
}

func (c *pendingCommit) full() bool { return c.size >= CommitCap }

// due: outputs go at once, a bare position after a while.
func (c *pendingCommit) due(now time.Time) bool {
	if len(c.outputs) > 0 {
		return true
	}
	return c.to > c.start && (c.to-c.start >= positionRoots || now.Sub(c.since) >= positionEvery)
}

// mixes tells whether roots folded by version would follow those of another
// version in one commit. An empty one takes the version on.
func (c *pendingCommit) mixes(version uint32) bool {
	if c.to == c.start {
		c.version = version
	}
	return c.version != version
}

func (c *pendingCommit) take() commitJob {
	job := commitJob{to: c.to, outputs: c.outputs, entries: c.entries, at: c.at, version: c.version}
	*c = pendingCommit{start: c.to, to: c.to, version: c.version}
	return job
}
