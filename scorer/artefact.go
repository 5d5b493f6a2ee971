package scorer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/edgepulse/edgepulse/scorer/forest"
	"github.com/edgepulse/edgepulse/scorer/internal/splitmix"
)

// An artefact is all it takes to grow a metric's forest again, in any process:
// parameters, seed and sample. Layout, little endian:
//
//	"EPMODEL1" | features u16 | trees u16 | sample rows u16 | seed u64 | float32 × features × rows
//
// Its SHA-256 is the model's version: equal artefacts are equal models.
const artefactMagic = "EPMODEL1"

const artefactHeader = len(artefactMagic) + 2 + 2 + 2 + 8

// Bounds of what is grown from an artefact.
const (
	maxArtefactTrees = 256
	maxArtefactRows  = 512
)

var (
	// ErrArtefact marks bytes that are no artefact, or not the one of their version.
	ErrArtefact = errors.New("damaged model artefact")
	// ErrFeatures marks an artefact over other features than FeatureNames.
	ErrFeatures = errors.New("the model is over other features")
)

// Artefact returns the present forest's artefact, nil before the first one.
func (m *Model) Artefact() []byte {
	p := &m.pattern
	if p.version == 0 {
		return nil
	}
	b := make([]byte, 0, artefactHeader+4*len(p.sample))
	b = append(b, artefactMagic...)
	b = binary.LittleEndian.AppendUint16(b, uint16(FeatureCount))
	b = binary.LittleEndian.AppendUint16(b, patternTrees)
	b = binary.LittleEndian.AppendUint16(b, patternSample)
	b = binary.LittleEndian.AppendUint64(b, splitmix.Mix(p.seed^p.version))
	for _, v := range p.sample {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// Anchor is the metric's first value: the located features of the sample are less it.
func (m *Model) Anchor() float64 { return m.anchor }

// artefact is a decoded one.
type artefact struct {
	features, trees int
	seed            uint64
	sample          []float32 // row-major
}

func (a *artefact) rows() int { return len(a.sample) / a.features }

func (a *artefact) grow() *forest.Forest {
	f := &forest.Forest{}
	f.Fit(a.sample, a.features, forest.Params{Trees: a.trees, Sample: a.rows()}, a.seed)
	return f
}

func decodeArtefact(b []byte) (*artefact, error) {
	if len(b) < artefactHeader || string(b[:len(artefactMagic)]) != artefactMagic {
		return nil, ErrArtefact
	}
	a := &artefact{features: int(binary.LittleEndian.Uint16(b[8:])), trees: int(binary.LittleEndian.Uint16(b[10:])), seed: binary.LittleEndian.Uint64(b[14:])}
	rows := int(binary.LittleEndian.Uint16(b[12:]))
	b = b[artefactHeader:]
	if a.features == 0 || rows == 0 || rows > maxArtefactRows || a.trees == 0 || a.trees > maxArtefactTrees || len(b) != 4*a.features*rows {
		return nil, ErrArtefact
	}
	a.sample = make([]float32, a.features*rows)
	for i := range a.sample {
		v := math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		if v-v != 0 {
			return nil, ErrArtefact
		}
		a.sample[i] = v
	}
	return a, nil
}

// GrowArtefact grows the forest of an artefact.
func GrowArtefact(b []byte) (*forest.Forest, error) {
	a, err := decodeArtefact(b)
	if err != nil {
		return nil, err
	}
	return a.grow(), nil
}

// CheckArtefact tells whether b is the artefact of that version and can score what
// this binary makes of a metric.
func CheckArtefact(version, b []byte) error {
	if sum := sha256.Sum256(b); !bytes.Equal(version, sum[:]) {
		return fmt.Errorf("%w: its hash is %x, not %x", ErrArtefact, sum, version)
	}
	a, err := decodeArtefact(b)
	if err != nil {
		return err
	}
	if a.features != FeatureCount {
		return fmt.Errorf("%w: %d of them, %d are made now", ErrFeatures, a.features, FeatureCount)
	}
	return nil
}
