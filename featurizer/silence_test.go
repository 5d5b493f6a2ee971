package featurizer

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// line is one entry of POINTS: a sample of a metric, or a tick.
type line struct {
	second   int64
	metric   byte // 0 = tick
	backfill bool
}

func (l line) entry(t *testing.T) []byte {
	t.Helper()
	e := &schemas.Entry{Kind: &schemas.Entry_Tick{Tick: &schemas.Tick{Second: l.second}}}
	if l.metric != 0 {
		e.Kind = &schemas.Entry_Points{Points: &schemas.Points{
			TenantId: bytesOf(1), DeviceId: bytesOf(2), ReceivedAt: l.second * 1e6, Backfill: l.backfill,
			Series: []*schemas.Series{{MetricId: bytesOf(l.metric), Ts: []int64{l.second * 1e6}, Values: []float64{float64(l.second % 7)}}},
		}}
	}
	b, err := e.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// present is a script of seconds: every metric m sends each m*10 seconds until
// its end, and every second ticks.
func present(from, to int64, ends map[byte]int64) (out []line) {
	for s := from; s < to; s++ {
		for m := byte(1); m <= 3; m++ {
			if s%(int64(m)*10) == 0 && s < ends[m] {
				out = append(out, line{second: s, metric: m})
			}
		}
		out = append(out, line{second: s})
	}
	return out
}

// foldSilence runs the script; restart says before which lines the fold is replaced by
// a copy of its own snapshot.
func foldSilence(t *testing.T, script []line, restart func(i int) bool) (outputs []byte, silent map[byte][]int64) {
	t.Helper()
	f, silent := New(), map[byte][]int64{}
	var out stream.Outputs
	for i, l := range script {
		if restart(i) {
			next := New()
			if err := stream.CopyState(next.State(), f.State()); err != nil {
				t.Fatal(err)
			}
			f = next
		}
		out.Reset()
		if err := f.Apply(stream.Input{Root: uint64(i + 1), Bytes: l.entry(t)}, &out); err != nil {
			t.Fatal(err)
		}
		for _, b := range out.Entries() {
			outputs = append(outputs, b...)
			var e schemas.Entry
			if err := e.UnmarshalVT(b); err != nil {
				t.Fatal(err)
			}
			if v := e.GetFeatures(); v.GetSilent() {
				silent[v.MetricId[0]] = append(silent[v.MetricId[0]], l.second)
			}
		}
	}
	return outputs, silent
}

func silenceScript() []line {
	var script []line
	for s := int64(1_000); s < 9_000; s += 10 { // metric 1 begins as history, the others live
		script = append(script, line{second: s, metric: 1, backfill: true})
	}
	return append(script, present(10_000, 10_900, map[byte]int64{1: 10_200, 2: 10_301, 3: 10_500})...)
}

// Silence is noticed within three expected intervals, by a metric whose rhythm
// was learned a moment ago and whose history came as backfill as well.
func TestSilenceIsNoticed(t *testing.T) {
	_, silent := foldSilence(t, silenceScript(), func(int) bool { return false })
	for m, last := range map[byte]int64{1: 10_190, 2: 10_300, 3: 10_470} {
		at := silent[m]
		if len(at) == 0 || at[0] > last+int64(m)*30 || at[0] < last+int64(m)*20 {
			t.Errorf("metric %d, last heard at %d, every %d s: silent at %v", m, last, int(m)*10, at)
			continue
		}
		for i := 1; i < len(at); i++ {
			if at[i]-at[i-1] != 60 {
				t.Errorf("metric %d: silent at %v, want every minute", m, at)
				break
			}
		}
	}
}

// What a tick brings about does not depend on restarts: deadlines are derived state.
func TestSilenceAfterRestarts(t *testing.T) {
	script := silenceScript()
	want, _ := foldSilence(t, script, func(int) bool { return false })
	for _, every := range []int{1, 7, 450} {
		t.Run(fmt.Sprint(every), func(t *testing.T) {
			got, _ := foldSilence(t, script, func(i int) bool { return i%every == every-1 })
			if !bytes.Equal(got, want) {
				t.Error("outputs differ from those without a restart")
			}
		})
	}
}

func bytesOf(first byte) []byte {
	id := schemas.ID{first}
	return id[:]
}
