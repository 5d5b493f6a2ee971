package scorer

import (
	"encoding/binary"
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

// GrowArtefact grows the forest of an artefact.
func GrowArtefact(b []byte) (*forest.Forest, error) {
	if len(b) < artefactHeader || string(b[:len(artefactMagic)]) != artefactMagic {
		return nil, errArtefact
	}
	features := int(binary.LittleEndian.Uint16(b[8:]))
	trees := int(binary.LittleEndian.Uint16(b[10:]))
	rows := int(binary.LittleEndian.Uint16(b[12:]))
	seed := binary.LittleEndian.Uint64(b[14:])
	b = b[artefactHeader:]
	if features == 0 || rows == 0 || trees == 0 || len(b) != 4*features*rows {
		return nil, errArtefact
	}
	sample := make([]float32, features*rows)
	for i := range sample {
		sample[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	f := &forest.Forest{}
	f.Fit(sample, features, forest.Params{Trees: trees, Sample: rows}, seed)
	return f, nil
}
