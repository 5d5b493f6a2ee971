package stream

import (
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/edgepulse/edgepulse/schemas"
)

type counter struct{ n uint64 }

func (c *counter) AppendState(b []byte) []byte { return binary.BigEndian.AppendUint64(b, c.n) }
func (c *counter) DecodeState(b []byte) error {
	if len(b) != 8 {
		return fmt.Errorf("counter has %d bytes, expected 8", len(b))
	}
	c.n = binary.BigEndian.Uint64(b)
	return nil
}

// TestCaptureIsTheStateAtItsRoot changes records while a capture is underway and
// compares base plus deltas with a copy made the moment each capture began.
func TestCaptureIsTheStateAtItsRoot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewState()
		tables := []*Table[*counter]{
			NewTable(s, "a", func() *counter { return &counter{} }),
			NewTable(s, "b", func() *counter { return &counter{} }),
		}
		model := map[recordKey]uint64{}
		restored := map[recordKey][]byte{}
		var frozen map[recordKey]uint64

		finish := func() {
			for !s.stepCapture(16) {
			}
			for _, r := range s.endCapture().records {
				if r.bytes == nil {
					delete(restored, recordKey{r.table, r.key})
					continue
				}
				restored[recordKey{r.table, r.key}] = r.bytes
			}
			if len(restored) != len(frozen) {
				t.Fatalf("capture has %d records, the state had %d", len(restored), len(frozen))
			}
			for k, n := range frozen {
				if got := binary.BigEndian.Uint64(restored[k]); got != n {
					t.Fatalf("record %v is %d in the capture, was %d", k, got, n)
				}
			}
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			k := recordKey{uint8(rapid.IntRange(0, 1).Draw(t, "table")), schemas.ID{15: byte(rapid.IntRange(0, 6).Draw(t, "key"))}}
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				tables[k.table].Delete(k.key)
				delete(model, k)
			case 1:
				if s.capture != nil {
					finish()
				}
				s.beginCapture(1)
				frozen = map[recordKey]uint64{}
				for k, v := range model {
					frozen[k] = v
				}
			case 2:
				if s.capture != nil {
					s.stepCapture(8)
				}
			default:
				tables[k.table].Touch(k.key).n++
				model[k]++
			}
		}
		for i, tb := range tables {
			n := 0
			for k, v := range model {
				if int(k.table) == i {
					n++
					if c, ok := tb.Get(k.key); !ok || c.n != v {
						t.Fatalf("live record %v differs", k)
					}
				}
			}
			if tb.Len() != n || len(tb.Keys()) != n {
				t.Fatalf("table %d has %d records, expected %d", i, tb.Len(), n)
			}
		}
		if s.capture != nil {
			finish()
		}
	})
}

// A capture hands control back after about as many bytes as asked, also where a
// new block of memory begins: the fold waits for nothing longer.
func TestCaptureInSmallSteps(t *testing.T) {
	s := NewState()
	table := NewTable(s, "blobs", func() *blobRecord { return &blobRecord{} })
	for i := range 400 {
		table.Touch(schemas.ID{byte(i >> 8), byte(i)})
	}
	s.beginCapture(1)
	steps, last := 1, 0
	for !s.stepCapture(captureStep) {
		if n := len(s.capture.records) - last; n > captureStep/len(blobRecord{})+1 {
			t.Fatalf("step %d took %d records", steps, n)
		}
		last = len(s.capture.records)
		steps++
	}
	if want := 400 * len(blobRecord{}) / captureStep; steps < want {
		t.Errorf("%d steps, want at least %d", steps, want)
	}
}

type blobRecord [16 << 10]byte

func (r *blobRecord) AppendState(b []byte) []byte { return append(b, r[:]...) }
func (r *blobRecord) DecodeState([]byte) error    { return nil }
