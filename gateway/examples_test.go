package gateway

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/edgepulse/edgepulse/schemas/api"
)

// TestExamplesAreAccepted: what the documentation shows works as it says.
func TestExamplesAreAccepted(t *testing.T) {
	files, err := filepath.Glob("../examples/payloads/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no examples", err)
	}
	b := newBench(t, nil)
	rejected := map[string]int{"partly-wrong.json": 2}
	for _, f := range files {
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		w := b.ingest(string(body))
		var a api.IngestAnswer
		decode(t, w, &a)
		if w.Code != http.StatusAccepted || a.Rejected != rejected[filepath.Base(f)] {
			t.Errorf("%s: %d %s", f, w.Code, w.Body)
		}
	}
}
