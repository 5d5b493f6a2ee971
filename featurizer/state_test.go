package featurizer

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// fuzzConfig is small, so that short inputs reach every mode.
var fuzzConfig = Config{Window: 5 * time.Second, MaxSamples: 16}

func FuzzDecodeState(f *testing.F) {
	w := NewWindow(fuzzConfig)
	f.Add(w.AppendState(nil))
	for i := range int64(300) {
		w.Add(i*100_000*(1+9*(i/100%2)), float64(i*i%11))
		if i%3 == 0 {
			w.Add(i*100_000-40_000, 1)
		}
		if i%7 == 0 {
			f.Add(w.AppendState(nil))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		w := NewWindow(fuzzConfig)
		if err := w.DecodeState(b); err != nil {
			if w.Len() != 0 {
				t.Fatal("a refused state left something behind")
			}
			return
		}
		if again := w.AppendState(nil); !bytes.Equal(again, b) {
			t.Fatalf("accepted % x\nwrites   % x", b, again)
		}
		var v Vector
		ts, _ := w.Newest()
		w.Evaluate(ts, &v)
		w.Evaluate(ts+7_000_000, &v)
		for i := range int64(40) {
			w.Add(ts+i*90_000, float64(i))
			w.Add(ts+i*90_000-500_000, float64(-i))
			w.Evaluate(ts+i*90_000, &v)
		}
	})
}

func TestDecodeStateRefuses(t *testing.T) {
	w := NewWindow(Config{})
	for i := range int64(20) {
		w.Add(i*1_000_000, float64(i))
	}
	state := w.AppendState(nil)
	for n := range state {
		if err := NewWindow(Config{}).DecodeState(state[:n]); !errors.Is(err, ErrState) {
			t.Fatalf("first %d bytes: %v", n, err)
		}
	}
	if err := NewWindow(Config{}).DecodeState(append(bytes.Clone(state), 0)); !errors.Is(err, ErrState) {
		t.Errorf("one byte more: %v", err)
	}
	if err := NewWindow(Config{Window: time.Minute}).DecodeState(state); !errors.Is(err, ErrConfig) {
		t.Errorf("other configuration: %v", err)
	}
	var h Hop
	if err := h.DecodeState(h.AppendState(nil)[1:]); !errors.Is(err, ErrState) {
		t.Errorf("short hop: %v", err)
	}
}
