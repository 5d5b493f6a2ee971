package app

import (
	"bytes"
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// TestTypeScriptClient runs the compiled client of examples/typescript against a
// service over TCP; `go tool task typescript:test` compiles it first. What it gets
// is held against the contract on this side too.
func TestTypeScriptClient(t *testing.T) {
	script := os.Getenv("EDGEPULSE_TYPESCRIPT_CLIENT")
	if script == "" {
		t.Skip("go tool task typescript:test compiles the client and runs this")
	}
	b := newAPIBench(t)
	var more []*schemas.Entry
	for i := range 4 { // with the one that is there: three pages of two
		more = append(more, b.w.scored(schemas.MetricID(b.w.device, "temperature"), 60+i, func(s *schemas.Score) { s.Severity = schemas.Severity_SEVERITY_WARNING }))
	}
	b.w.project(stream.Scores, 2, more...)
	service := httptest.NewServer(b.handler)
	defer service.Close()
	for severity, want := range map[string]string{"info": "5 anomalies\n", "critical": "1 anomalies\n"} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, "node", script, severity)
		cmd.Env = append(os.Environ(), "EDGEPULSE_URL="+service.URL, "EDGEPULSE_API_KEY="+b.key)
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.HasSuffix(out, []byte(want)) || !bytes.Contains(out, []byte("critical spike press-1 temperature 20 far above")) {
			t.Errorf("%s: %v\n%s", severity, err, out)
		}
	}
}
