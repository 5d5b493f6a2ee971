package featurizer

import (
	"hash/fnv"
	"runtime"
	"testing"
	"time"
)

// The same bits on every build of an architecture: this passes with GOAMD64=v1
// and GOAMD64=v3, whose compiler fuses x*y+z where nothing forbids it.
func TestSameBits(t *testing.T) {
	h := fnv.New64a()
	for _, step := range []int64{1_000, 700_000, 1_000_000, 45_000_000} {
		w, hop := NewWindow(Config{}), &Hop{}
		f := &feed{ts: 1_700_000_000_000_000, step: step, jitter: step / 3}
		var v Vector
		for i := range 3000 {
			ts, x := f.next()
			if i%11 == 0 {
				w.Add(ts-2*step, x*1e3)
			}
			w.Add(ts, x)
			if hop.Point(time.Second, 0, w.Step(), ts, x, false) {
				w.Evaluate(ts+int64(i%3)*step*40, &v)
				for _, c := range Features {
					h.Write(binaryBits(c.Of(&v)))
				}
				h.Write(binaryBits(hop.Mean()))
			}
		}
		h.Write(w.AppendState(nil))
	}
	const want = 0x4853818ebeeee9cf
	if got := h.Sum64(); got != want && runtime.GOARCH == "amd64" {
		t.Errorf("hash %#x, want %#x", got, uint64(want))
	}
}

func binaryBits(x float64) []byte {
	e := encoder{}
	e.float(x)
	return e.b
}
