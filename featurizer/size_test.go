package featurizer

import (
	"runtime"
	"testing"
)

// A window stays small in memory too.
func TestResidentSize(t *testing.T) {
	for _, s := range shapes {
		var before, after runtime.MemStats
		windows := make([]*Window, 8)
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range windows {
			windows[i], _ = filled(s.step, s.jitter)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		size := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / int64(len(windows))
		t.Logf("%s: %d bytes resident", s.name, size)
		if size > 20_000 {
			t.Errorf("%s: %d bytes", s.name, size)
		}
		runtime.KeepAlive(windows)
	}
}
