package gateway

import (
	"bytes"
	"net/http"
	"testing"
)

// FuzzIngest: no body and no header value is an error of ours, and whatever is
// refused says why.
func FuzzIngest(f *testing.F) {
	f.Add([]byte(oneMetric("d")), "", "k")
	f.Add([]byte(`{"batches":[{"device_external_id":"a","metrics":[{"name":"v","value":1},3]},4]}`), "identity", "")
	f.Add([]byte("\x1f\x8b\x08\x00"), "gzip", "\x00")
	f.Add([]byte("\x28\xb5\x2f\xfd\x04\x00"), "zstd", "a b")
	b := newBench(f, nil)
	f.Fuzz(func(t *testing.T, body []byte, encoding, key string) {
		w := b.do(http.MethodPost, "/v1/ingest", b.key, bytes.NewReader(body), "Content-Encoding", encoding, "Idempotency-Key", key)
		switch {
		case w.Code >= 500:
			t.Fatalf("%d %s", w.Code, w.Body)
		case w.Code != http.StatusAccepted:
			problemOf(t, w)
		}
		if b.server.budget.total != 0 {
			t.Fatalf("%d bytes of budget are lost", b.server.budget.total)
		}
	})
}
