package scorer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/scorer/forest"
	"github.com/edgepulse/edgepulse/stream"
)

// A pin makes a metric's pattern channel score with the forest of an artefact
// until it is taken off. Behind it the metric's own sample goes on as if there
// were no pin, so that its forest, grown at the first row after, has missed
// nothing; until then none of its versions is grown or announced.

// pin is the last word about a metric's forest.
type pin struct {
	control  uint64            // version of the control that said so
	version  [sha256.Size]byte // of the artefact
	artefact []byte            // nil = unpinned: the version is kept so that an older control is not taken
}

// pinned is a forest in the place of a pattern channel's own.
type pinned struct {
	artefact []byte
	forest   *forest.Forest // grown at the first row, as after a restart
}

func (p *pinned) grow() *forest.Forest {
	if p.forest == nil {
		f, err := GrowArtefact(p.artefact)
		if err != nil { // checked when it was pinned, and when it was restored
			f = &forest.Forest{}
		}
		p.forest = f
	}
	return p.forest
}

// Pin makes the pattern channel score with the forest of an artefact, nil with
// its own again. The artefact is retained.
func (m *Model) Pin(artefact []byte) {
	p := &m.pattern
	if artefact == nil {
		p.pinned = nil
		return
	}
	p.pinned = &pinned{artefact: artefact}
	p.forest, p.grown = forest.Forest{}, false // its memory; it is grown again when it is needed
}

// pinModel takes a control that pins or unpins a metric's forest. A metric that was
// never scored here has no forest to replace.
func (f *Fold) pinModel(version uint64, c *schemas.ModelPin) error {
	id, err := schemas.IDFrom(c.MetricId)
	if err != nil {
		return &stream.RejectError{Reason: "bad_model_pin", Detail: "metric: " + err.Error()}
	}
	if m, ok := f.metrics.Get(id); !ok || m.model == nil || m.pin != nil && version <= m.pin.control {
		return nil
	}
	p := &pin{control: version}
	if len(c.Version) > 0 || len(c.Artefact) > 0 {
		if err := CheckArtefact(c.Version, c.Artefact); err != nil {
			return &stream.RejectError{Reason: "bad_model_pin", Detail: fmt.Sprintf("metric %s: %v", id, err)}
		}
		p.version, p.artefact = [sha256.Size]byte(c.Version), bytes.Clone(c.Artefact)
	}
	m := f.metrics.Touch(id)
	m.pin = p
	m.model.Pin(p.artefact)
	return nil
}

// modelVersion is the version that a metric's scores carry; nil before its first forest.
func (m *metric) modelVersion() []byte {
	switch {
	case m.isPinned():
		return m.pin.version[:]
	case m.refits > 0:
		return m.version[:]
	}
	return nil
}

func (m *metric) isPinned() bool { return m.pin != nil && m.pin.artefact != nil }

func (p *pin) appendState(b []byte) []byte {
	b = binary.AppendUvarint(b, p.control)
	b = binary.AppendUvarint(b, uint64(len(p.artefact)))
	return append(b, p.artefact...)
}

// decode returns what follows the pin. The artefact is copied.
func (p *pin) decode(b []byte) ([]byte, error) {
	var n int
	if p.control, n = binary.Uvarint(b); n <= 0 {
		return nil, errRecord
	}
	b = b[n:]
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, errRecord
	}
	b = b[n:]
	if size == 0 {
		return b, nil
	}
	p.artefact = bytes.Clone(b[:size])
	p.version = sha256.Sum256(p.artefact)
	if err := CheckArtefact(p.version[:], p.artefact); err != nil {
		return nil, errRecord
	}
	return b[size:], nil
}
