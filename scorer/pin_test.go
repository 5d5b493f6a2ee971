package scorer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// pinBench folds the evaluations of one metric.
type pinBench struct {
	t      *testing.T
	fold   *Fold
	metric schemas.ID
	out    stream.Outputs
}

func newPinBench(t *testing.T) *pinBench {
	return &pinBench{t: t, fold: New().(*Fold), metric: schemas.ID{1, 2, 3, 4, 5, 6, 7, 8, 9}}
}

// apply folds an entry and returns what came out, encoded and decoded.
func (b *pinBench) apply(e *schemas.Entry) ([][]byte, []*schemas.Entry) {
	b.t.Helper()
	raw, err := b.try(e)
	if err != nil {
		b.t.Fatal(err)
	}
	var out []*schemas.Entry
	for _, r := range raw {
		e := &schemas.Entry{}
		if err := e.UnmarshalVT(r); err != nil {
			b.t.Fatal(err)
		}
		out = append(out, e)
	}
	return raw, out
}

func (b *pinBench) try(e *schemas.Entry) ([][]byte, error) {
	in, err := e.MarshalVT()
	if err != nil {
		b.t.Fatal(err)
	}
	b.out.Reset()
	if err := b.fold.Apply(stream.Input{Bytes: in}, &b.out); err != nil {
		return nil, err
	}
	clear(in) // what a fold keeps of an entry is its own copy
	var out [][]byte
	for _, raw := range b.out.Entries() {
		out = append(out, bytes.Clone(raw))
	}
	return out, nil
}

// evaluate folds one observation: its score, and the model that it announced.
func (b *pinBench) evaluate(o Observation) ([][]byte, *schemas.Score, *schemas.ModelVersion) {
	b.t.Helper()
	f := o.Features
	raw, list := b.apply(&schemas.Entry{Kind: &schemas.Entry_Features{Features: &schemas.Features{MetricId: b.metric[:], Ts: o.TS, Value: o.Value, Extreme: o.Extreme,
		Mean: f[0], Std: f[1], Median: f[2], Mad: f[3], Min: f[4], Max: f[5], Range: f[6], Slope: f[7], MissingRate: f[8], StuckRun: uint32(f[9]), Last: f[10]}}})
	var score *schemas.Score
	var model *schemas.ModelVersion
	for _, e := range list {
		if s := e.GetScore(); s != nil {
			score = s
		}
		if m := e.GetModelVersion(); m != nil {
			model = m
		}
	}
	return raw, score, model
}

func pinEntry(metric schemas.ID, control uint64, artefact []byte) *schemas.Entry {
	p := &schemas.ModelPin{MetricId: metric[:], Artefact: artefact}
	if artefact != nil {
		sum := sha256.Sum256(artefact)
		p.Version = sum[:]
	}
	return &schemas.Entry{Kind: &schemas.Entry_Control{Control: &schemas.Control{Version: control, Change: &schemas.Control_ModelPin{ModelPin: p}}}}
}

// pin folds a control and expects it forwarded as it is.
func (b *pinBench) pin(control uint64, artefact []byte) {
	b.t.Helper()
	e := pinEntry(b.metric, control, artefact)
	want, _ := e.MarshalVT()
	if raw, _ := b.apply(e); len(raw) != 1 || !bytes.Equal(raw[0], want) {
		b.t.Fatalf("the control is not forwarded verbatim: %d entries", len(raw))
	}
}

func (b *pinBench) record() []byte {
	m, ok := b.fold.metrics.Get(b.metric)
	if !ok {
		return nil
	}
	return m.AppendState(nil)
}

// restored is the fold after a restart.
func (b *pinBench) restored() *pinBench {
	b.t.Helper()
	out := newPinBench(b.t)
	before := b.record()
	if err := out.fold.metrics.Touch(b.metric).DecodeState(before); err != nil {
		b.t.Fatal(err)
	}
	if !bytes.Equal(out.record(), before) {
		b.t.Fatal("bytes change through decoding")
	}
	return out
}

// learn folds observations until n models were announced, and returns their artefacts.
func (b *pinBench) learn(obs []Observation, n int) (artefacts [][]byte, rest []Observation) {
	b.t.Helper()
	for i, o := range obs {
		if _, _, m := b.evaluate(o); m != nil {
			if artefacts = append(artefacts, m.Artefact); len(artefacts) == n {
				return artefacts, obs[i+1:]
			}
		}
	}
	b.t.Fatalf("%d models announced, want %d", len(artefacts), n)
	return nil, nil
}

// While pinned, the pattern channel says what the forest of the artefact alone says,
// calibrated by the channel's own past.
func TestPinnedForestScoresAlone(t *testing.T) {
	for seed := range uint64(3) {
		obs := synthetic(seed, 2500)
		b := newPinBench(t)
		list, rest := b.learn(obs, 4)
		b.pin(1, list[1])
		alone, err := GrowArtefact(list[1])
		if err != nil {
			t.Fatal(err)
		}
		want := sha256.Sum256(list[1])
		spoke := 0
		for i, o := range rest {
			m, _ := b.fold.metrics.Get(b.metric)
			before := NewModel(0)
			if err := before.DecodeState(m.model.AppendState(nil)); err != nil {
				t.Fatal(err)
			}
			_, s, announced := b.evaluate(o)
			if announced != nil || !bytes.Equal(s.ModelVersion, want[:]) {
				t.Fatalf("seed %d row %d: version %x, a model announced: %t", seed, i, s.ModelVersion, announced != nil)
			}
			f := layFeatures(o.Features, m.model.row.residual, m.model.anchor)
			v := alone.Score(f[:])
			voice := patternWeight * before.pattern.ranks.score(v, &before.pattern.rng)
			if v <= before.pattern.ranks.quantile(.5) {
				voice = 0
			}
			if got := m.model.scores[patternIndex]; got != voice {
				t.Fatalf("seed %d row %d: the channel says %v, the artefact alone %v", seed, i, got, voice)
			}
			if voice > 0 {
				spoke++
			}
		}
		if spoke < 100 {
			t.Fatalf("seed %d: the channel spoke at %d rows", seed, spoke)
		}
	}
}

// Pinned to the version in use, nothing changes until the next one would have been
// grown; and behind any pin the metric's own sample goes on, so that after it is
// taken off the forest is the one of a metric that was never pinned.
func TestPinOnlyHoldsTheForest(t *testing.T) {
	for seed := range uint64(4) {
		obs := synthetic(seed, 3000)
		free, held := newPinBench(t), newPinBench(t)
		list, rest := free.learn(obs, 3)
		held.learn(obs, 3)
		held.pin(7, list[2])
		same, missed := 0, 0
		var last *schemas.ModelVersion
		for i, o := range rest {
			want, _, m := free.evaluate(o)
			got, _, announced := held.evaluate(o)
			if announced != nil {
				t.Fatalf("seed %d row %d: a model was announced behind the pin", seed, i)
			}
			if m != nil {
				last, missed = m, missed+1
			}
			if missed == 0 {
				if same++; len(got) != len(want) || !bytes.Equal(got[0], want[0]) {
					t.Fatalf("seed %d row %d: the version in use, pinned, scores otherwise", seed, i)
				}
			}
		}
		if missed < 3 || same == 0 {
			t.Fatalf("seed %d: %d models missed, %d rows before the first", seed, missed, same)
		}
		held.pin(8, nil)
		next := obs[0]
		next.TS = obs[len(obs)-1].TS + minute
		_, _, m := free.evaluate(next)
		if m == nil {
			m = last
		}
		_, s, announced := held.evaluate(next)
		if announced == nil || !bytes.Equal(announced.Artefact, m.Artefact) || !bytes.Equal(s.ModelVersion, m.Version) {
			t.Fatalf("seed %d: the forest behind the pin has not gone on; announced: %t", seed, announced != nil)
		}
	}
}

// A restart at any row leaves no trace, pinned, unpinned and in between.
func TestPinSurvivesRestarts(t *testing.T) {
	obs := synthetic(5, 2500)
	whole, cut := newPinBench(t), newPinBench(t)
	list, rest := whole.learn(obs, 3)
	cut.learn(obs, 3)
	for i, o := range rest {
		switch i {
		case 40:
			whole.pin(1, list[0])
			cut.pin(1, list[0])
		case 700:
			whole.pin(2, list[1])
			cut.pin(2, list[1])
		case 1100:
			whole.pin(3, nil)
			cut.pin(3, nil)
		}
		if i%53 == 0 || i >= 38 && i < 44 || i >= 1098 && i < 1104 {
			cut = cut.restored()
		}
		want, _, _ := whole.evaluate(o)
		got, _, _ := cut.evaluate(o)
		if fmt.Sprintf("%x", got) != fmt.Sprintf("%x", want) {
			t.Fatalf("row %d differs after a restart", i)
		}
	}
	if !bytes.Equal(cut.record(), whole.record()) {
		t.Fatal("records differ")
	}
}

// A metric that was never pinned has the record that it always had.
func TestRecordWithoutPin(t *testing.T) {
	b := newPinBench(t)
	list, _ := b.learn(synthetic(1, 900), 2)
	before := b.record()
	if before[0] != recordLayout {
		t.Fatalf("the record begins with %d", before[0])
	}
	b.restored()
	b.pin(5, list[0])
	if got, want := len(b.record()), len(before)+1+2+len(list[0]); got != want {
		t.Errorf("a pin costs %d bytes, its artefact has %d", got-len(before), len(list[0]))
	}
	b.pin(6, nil)
	if got := len(b.record()); got != len(before)+2 {
		t.Errorf("a pin that was taken off leaves %d bytes", got-len(before))
	}
	for n := range 40 { // a record that ends too early is refused, never taken for another
		if err := (&metric{}).DecodeState(b.record()[:n]); err == nil && n > 0 {
			if m := new(metric); m.DecodeState(b.record()[:n]) == nil && m.model != nil {
				t.Errorf("%d bytes were taken for a record", n)
			}
		}
	}
}

func TestPinsThatChangeNothing(t *testing.T) {
	b := newPinBench(t)
	list, _ := b.learn(synthetic(1, 900), 2)
	b.pin(5, list[0])
	before := b.record()
	reject := func(name string, e *schemas.Entry) {
		t.Helper()
		var r *stream.RejectError
		if _, err := b.try(e); !errors.As(err, &r) || r.Reason != "bad_model_pin" {
			t.Errorf("%s: %v", name, err)
		}
	}
	damaged := pinEntry(b.metric, 6, list[1])
	damaged.GetControl().GetModelPin().Artefact = append(bytes.Clone(list[1][:len(list[1])-1]), list[1][len(list[1])-1]^1)
	reject("another hash", damaged)
	other := bytes.Clone(list[1])
	binary.LittleEndian.PutUint16(other[8:], uint16(FeatureCount/2))
	binary.LittleEndian.PutUint16(other[12:], 2*patternSample)
	reject("other features", pinEntry(b.metric, 6, other))
	huge := bytes.Clone(list[1])
	binary.LittleEndian.PutUint16(huge[10:], 65535)
	reject("too many trees", pinEntry(b.metric, 6, huge))
	nan := bytes.Clone(list[1])
	binary.LittleEndian.PutUint32(nan[artefactHeader:], 0x7fc00000)
	reject("a sample that is no number", pinEntry(b.metric, 6, nan))
	reject("no artefact at all", pinEntry(b.metric, 6, []byte("model")))
	noID := pinEntry(b.metric, 6, list[1])
	noID.GetControl().GetModelPin().MetricId = []byte{1}
	reject("no metric", noID)
	b.pin(5, list[1]) // known
	b.pin(4, nil)     // older
	if !bytes.Equal(b.record(), before) {
		t.Fatal("something has changed")
	}
	if raw, _ := b.apply(pinEntry(schemas.ID{9}, 9, list[1])); len(raw) != 1 {
		t.Fatal("a pin of a metric that is not here is not forwarded")
	}
	if _, ok := b.fold.metrics.Get(schemas.ID{9}); ok {
		t.Fatal("a pin makes a metric")
	}
	b.apply(&schemas.Entry{Kind: &schemas.Entry_Control{Control: &schemas.Control{Change: &schemas.Control_TenantDeleted{TenantDeleted: &schemas.TenantDeleted{MetricIds: [][]byte{b.metric[:]}}}}}})
	if b.record() != nil {
		t.Fatal("the deletion of its tenant leaves a pin")
	}
}
