// Package scorer judges features: calibrated residual channels and an isolation
// forest per metric give each evaluation a score, a label, what was expected and
// a band.
//
// What comes in: FEATURES_<p>: one vector per evaluation, declarations, ticks,
// controls. What goes out: one Score per evaluation; declarations, ticks and
// controls verbatim; a ModelVersion whenever a forest was grown anew. Order: that
// of the log. State: one Model per metric. An evaluation by tick (silence)
// changes no model, so that offline and online scores agree. On failure: an
// entry that does not decode becomes a dead letter.
package scorer

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/zones"
	"github.com/edgepulse/edgepulse/stream"
)

// Fold is the scorer's core.
type Fold struct {
	state   *stream.State
	metrics *stream.Table[*metric]
	// known are the settings of all metrics, also of those not scored yet.
	known *stream.Table[*settings]

	entry    schemas.Entry
	verdict  Verdict
	features [FeatureCount]float64
	emit     schemas.Entry
	score    schemas.Score
	kind     schemas.Entry_Score
}

// New returns an empty fold.
func New() stream.Fold {
	s := stream.NewState()
	f := &Fold{state: s, metrics: stream.NewTable(s, "metrics", func() *metric { return &metric{} })}
	f.known = stream.NewTable(s, "settings", func() *settings { return &settings{} })
	f.kind.Score = &f.score
	f.emit.Kind = &f.kind
	return f
}

// State implements stream.Fold.
func (f *Fold) State() *stream.State { return f.state }

// Apply implements stream.Fold.
func (f *Fold) Apply(in stream.Input, out *stream.Outputs) error {
	if schemas.KindOf(in.Bytes) == schemas.KindDeadLetter {
		return nil
	}
	f.entry.Reset()
	if err := f.entry.UnmarshalVTUnsafe(in.Bytes); err != nil {
		return &stream.RejectError{Reason: "undecodable", Detail: "not an entry of the log"}
	}
	switch k := f.entry.Kind.(type) {
	case *schemas.Entry_Features:
		return f.evaluate(k.Features, out)
	case *schemas.Entry_MetricDeclared, *schemas.Entry_Tick:
		out.Forward(in.Bytes)
	case *schemas.Entry_Control:
		if err := f.control(k.Control); err != nil {
			return err
		}
		out.Forward(in.Bytes)
	}
	return nil
}

// control takes what concerns this stage.
func (f *Fold) control(c *schemas.Control) error {
	switch k := c.Change.(type) {
	case *schemas.Control_TenantDeleted:
		for _, raw := range k.TenantDeleted.MetricIds {
			// Ids are derived from the tenant's: they can be nobody else's.
			if id, err := schemas.IDFrom(raw); err == nil {
				f.metrics.Delete(id)
				f.known.Delete(id)
			}
		}
	case *schemas.Control_MetricSettings:
		f.settings(c.Version, k.MetricSettings)
	case *schemas.Control_ModelPin:
		return f.pinModel(c.Version, k.ModelPin)
	}
	return nil
}

func (f *Fold) settings(version uint64, s *schemas.MetricSettings) {
	id, err := schemas.IDFrom(s.MetricId)
	if err != nil {
		return
	}
	next := settingsFrom(version, s)
	if known, ok := f.known.Get(id); !ok || version > known.version {
		*f.known.Touch(id) = next
	}
	if m, ok := f.metrics.Get(id); ok && version > m.settings {
		f.metrics.Touch(id).set(next)
	}
}

// evaluate scores one vector.
func (f *Fold) evaluate(e *schemas.Features, out *stream.Outputs) error {
	id, err := schemas.IDFrom(e.MetricId)
	if err != nil {
		return &stream.RejectError{Reason: "bad_metric", Detail: err.Error()}
	}
	v := &f.verdict
	if e.Silent {
		m, ok := f.metrics.Get(id)
		if !ok || m.model == nil {
			return nil // nothing was ever scored: there is nothing to miss
		}
		m.model.Silence(e.Ts, e.LastTs, v)
		f.emitScore(e, m, v, out)
		return nil
	}
	m := f.metrics.Touch(id)
	if m.model == nil {
		m.model = NewModel(seedOf(id))
		if set, ok := f.known.Get(id); ok {
			m.set(*set)
		}
	}
	// Step stays 0: the model learns the step of its evaluations, so that it sees
	// the same online and offline.
	m.model.Observe(Observation{TS: e.Ts, Value: e.Value, Extreme: e.Extreme, Features: f.vector(e), Sensitivity: m.sensitivity}, v)
	f.announce(e, m, out)
	f.emitScore(e, m, v, out)
	return nil
}

// announce emits a model's artefact when its forest was grown anew: not behind a
// pin, where it would be one that never scored.
func (f *Fold) announce(e *schemas.Features, m *metric, out *stream.Outputs) {
	if m.isPinned() || m.model.ForestVersion() == m.refits {
		return
	}
	m.refits = m.model.ForestVersion()
	artefact := m.model.Artefact()
	m.version = sha256.Sum256(artefact)
	anchor := m.model.Anchor()
	out.Emit(&schemas.Entry{Kind: &schemas.Entry_ModelVersion{ModelVersion: &schemas.ModelVersion{TenantId: e.TenantId, MetricId: e.MetricId,
		Version: m.version[:], Ts: e.Ts, Rows: uint32(min(m.model.Rows(), math.MaxUint32)),
		Artefact: artefact, Anchor: &anchor}}})
}

// seedOf derives the model's seed from the metric alone.
func seedOf(id schemas.ID) uint64 { return binary.LittleEndian.Uint64(id[8:]) }

// vector lays the features out in the order of FeatureNames.
func (f *Fold) vector(e *schemas.Features) []float64 {
	f.features = [FeatureCount]float64{e.Mean, e.Std, e.Median, e.Mad, e.Min, e.Max, e.Range, e.Slope,
		e.MissingRate, float64(e.StuckRun), e.Last, e.Value - e.Median}
	return f.features[:]
}

func (f *Fold) emitScore(e *schemas.Features, m *metric, v *Verdict, out *stream.Outputs) {
	f.score = schemas.Score{
		TenantId: e.TenantId, DeviceId: e.DeviceId, MetricId: e.MetricId, Ts: e.Ts, Tick: e.Tick, Backfill: e.Backfill,
		WindowStart: e.WindowStart, WindowEnd: e.WindowEnd, Value: e.Value, Score: v.Score, AlarmScore: v.Alarm,
		Severity: schemas.Severity(v.Severity), Label: schemas.Label(v.Label), SubLabel: schemas.SubLabel(v.SubLabel),
		Expected: v.Expected, Lower: v.Lower, Upper: v.Upper,
		WarmUp: schemas.WarmUp(v.WarmUp.State), WarmUpEtaUs: int64(v.WarmUp.ETASeconds * 1e6),
		Silent: e.Silent, ReceivedAt: e.ReceivedAt,
	}
	f.score.ModelVersion = m.modelVersion()
	if m.quiets(e.Value, v) {
		f.score.Severity, f.score.Label, f.score.SubLabel, f.score.AlarmScore = 0, 0, 0, 0
	}
	if f.score.Severity != schemas.Severity_SEVERITY_NONE {
		f.score.Explanation = v.Explain()
		for _, c := range v.Contributors() {
			f.score.Contributors = append(f.score.Contributors, &schemas.Contribution{Name: c.Channel, Share: c.Share})
		}
	}
	sin(&f.score)
	out.Emit(&f.emit)
}

// metric is what the scorer keeps of one metric.
type metric struct {
	model        *Model
	settings     uint64 // version
	direction    schemas.Direction
	minDeviation float64
	sensitivity  float64 // see settings
	timezone     string
	refits       uint64   // of the forest, as announced
	version      [32]byte // of the announced forest
	pin          *pin     // nil = never pinned
}

// quiets applies the metric's settings: a deviation that nobody asked to hear of.
func (m *metric) quiets(value float64, v *Verdict) bool {
	if v.Label == Missingness || v.Label == Stuck {
		return false
	}
	d := value - v.Expected
	switch m.direction {
	case schemas.Direction_DIRECTION_UP:
		if d < 0 {
			return true
		}
	case schemas.Direction_DIRECTION_DOWN:
		if d > 0 {
			return true
		}
	}
	return max(d, -d) < m.minDeviation
}

// The first byte of a record: its layout, and the parts that are there. A part is
// absent until it is used, so a record without it is as it was before the part
// was thought of.
const (
	recordLayout = 1
	recordPin    = 2
	recordOwn    = 4 // sensitivity and time zone
)

// AppendState implements stream.Record.
func (m *metric) AppendState(b []byte) []byte {
	parts := byte(recordLayout)
	if m.pin != nil {
		parts |= recordPin
	}
	if m.sensitivity != 0 || m.timezone != "" {
		parts |= recordOwn
	}
	b = append(b, parts, byte(m.direction))
	b = binary.AppendUvarint(b, m.settings)
	b = appendFloat(b, m.minDeviation)
	b = binary.AppendUvarint(b, m.refits)
	if m.refits > 0 {
		b = append(b, m.version[:]...)
	}
	if m.pin != nil {
		b = m.pin.appendState(b)
	}
	if parts&recordOwn != 0 {
		b = appendOwn(b, m.sensitivity, m.timezone)
	}
	if m.model == nil {
		return b
	}
	return m.model.AppendState(b)
}

var errRecord = errors.New("damaged record of a metric")

// DecodeState implements stream.Record.
func (m *metric) DecodeState(b []byte) error {
	if len(b) < 3 || b[0]&recordLayout == 0 || b[0]&^(recordLayout|recordPin|recordOwn) != 0 {
		return errRecord
	}
	parts := b[0]
	m.direction = schemas.Direction(b[1])
	v, n := binary.Uvarint(b[2:])
	if n <= 0 || len(b) < 2+n+8 {
		return errRecord
	}
	m.settings = v
	m.minDeviation = readFloat(b[2+n:])
	b = b[2+n+8:]
	if m.refits, n = binary.Uvarint(b); n <= 0 {
		return errRecord
	}
	b = b[n:]
	if m.refits > 0 {
		if len(b) < len(m.version) {
			return errRecord
		}
		b = b[copy(m.version[:], b):]
	}
	if parts&recordPin != 0 {
		m.pin = &pin{}
		var err error
		if b, err = m.pin.decode(b); err != nil {
			return err
		}
	}
	if parts&recordOwn != 0 {
		var err error
		if m.sensitivity, m.timezone, b, err = readOwn(b); err != nil {
			return err
		}
	}
	if len(b) == 0 {
		return nil
	}
	m.model = NewModel(0)
	if err := m.model.DecodeState(b); err != nil {
		return err
	}
	if m.isPinned() {
		m.model.Pin(m.pin.artefact)
	}
	zone, _ := zones.Find(m.timezone) // was found before
	m.model.mix.season.zone = zone
	return nil
}

func appendFloat(b []byte, f float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
}

func readFloat(b []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b)) }
