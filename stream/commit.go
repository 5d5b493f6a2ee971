package stream

import (
	"crypto/sha256"
	"fmt"

	"github.com/edgepulse/edgepulse/schemas"
)

// chain identifies a commit: the SHA-256 of its whole payload, header included.
type chain [32]byte

// mark is a commit as its successor must name it.
type mark struct {
	seq   uint64 // stream sequence; 0 = the log is empty
	chain chain
	to    uint64
	epoch uint64
}

func markOf(seq uint64, payload []byte, c *schemas.Commit) mark {
	return mark{seq: seq, chain: sha256.Sum256(payload), to: c.To, epoch: c.Epoch}
}

// decodeCommit reads a message of a derived log. The result aliases payload.
func decodeCommit(log LogName, partition int, seq uint64, payload []byte) (*schemas.Commit, error) {
	c := &schemas.Commit{}
	if err := c.UnmarshalVTUnsafe(payload); err != nil {
		return nil, halt(log, partition, "message %d is not a commit (%v)", seq, err)
	}
	if c.Log != StreamName(log, partition) {
		return nil, halt(log, partition, "message %d is a commit of %q", seq, c.Log)
	}
	if c.To < c.From || len(c.Nonce) != 16 || (c.PrevSeq == 0) != (len(c.PrevChain) == 0) || (c.PrevSeq != 0 && len(c.PrevChain) != 32) {
		return nil, halt(log, partition, "message %d has a damaged header", seq)
	}
	last := c.From
	for _, r := range c.Outputs {
		if r.Root <= last || r.Root > c.To {
			return nil, halt(log, partition, "message %d covers (%d, %d] and holds outputs of root %d", seq, c.From, c.To, r.Root)
		}
		last = r.Root
	}
	return c, nil
}

// follows checks rule 1: a commit names its predecessor's sequence, chain and end.
func follows(log LogName, partition int, seq uint64, c *schemas.Commit, prev mark) error {
	switch {
	case c.PrevSeq != prev.seq:
		return halt(log, partition, "message %d extends message %d, but the one before it is %d", seq, c.PrevSeq, prev.seq)
	case prev.seq != 0 && chain(c.PrevChain) != prev.chain:
		return halt(log, partition, "message %d extends another content of message %d", seq, prev.seq)
	case prev.seq != 0 && c.From != prev.to:
		return halt(log, partition, "message %d covers roots from %d, its predecessor ended at %d", seq, c.From, prev.to)
	}
	return nil
}

func (m mark) String() string {
	return fmt.Sprintf("message %d at root %d, epoch %d", m.seq, m.to, m.epoch)
}
