package check

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const root = "../../.."

var (
	write = flag.Bool("write", false, "write docs/metrics.md anew")
)

// registry is what one process with every component exports.
type registry map[string]*dto.MetricFamily

// scrape starts the product, waits until the monitor has looked, and reads /metrics.
// beside runs while the product still does.
func scrape(t *testing.T, beside func(bin, data string)) registry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir := t.TempDir()
	for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil { // Postgres runs as another user
			t.Fatal(err)
		}
	}
	bin := os.Getenv("EDGEPULSE_BINARY")
	if bin == "" {
		bin = filepath.Join(dir, "edgepulse")
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", bin, "./cmd/edgepulse")
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build the binary: %v\n%s", err, out)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	log, err := os.Create(filepath.Join(dir, "up.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	up := exec.Command(bin, "up", "--data", filepath.Join(dir, "data"), "--addr", addr)
	up.Env = append(os.Environ(), "EDGEPULSE_PARTITIONS=1", "EDGEPULSE_LOG_MAX_BYTES=268435456", "EDGEPULSE_MONITOR_EVERY=500ms")
	up.Stdout, up.Stderr = log, log
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- up.Wait() }()
	defer func() {
		_ = up.Process.Signal(syscall.SIGTERM)
		<-ended
	}()
	said := func() string { b, _ := os.ReadFile(log.Name()); return string(b) }
	for {
		r, err := read(ctx, "http://"+addr+"/metrics")
		if err == nil && r["edgepulse_lag_seconds"] != nil && len(r["edgepulse_lag_seconds"].Metric) >= 12 && r["edgepulse_monitor_last_look_timestamp_seconds"].Metric[0].GetGauge().GetValue() > 0 {
			beside(bin, filepath.Join(dir, "data"))
			return r
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("edgepulse up ended: %v\n%s", err, said())
		case <-ctx.Done():
			t.Fatalf("edgepulse up did not show its metrics: %v\n%s", err, said())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func read(ctx context.Context, url string) (registry, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(resp.Body)
	return families, err
}

// labels of a family, over all its series.
func labels(f *dto.MetricFamily) []string {
	var out []string
	for _, m := range f.Metric {
		for _, l := range m.Label {
			if !slices.Contains(out, l.GetName()) {
				out = append(out, l.GetName())
			}
		}
	}
	slices.Sort(out)
	return out
}

// series resolves a name as it stands in an expression: histograms have three.
func (r registry) series(name string) ([]string, bool) {
	if f, ok := r[name]; ok && f.GetType() != dto.MetricType_HISTOGRAM && f.GetType() != dto.MetricType_SUMMARY {
		return labels(f), true
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		base, cut := strings.CutSuffix(name, suffix)
		f, ok := r[base]
		if !cut || !ok || f.GetType() != dto.MetricType_HISTOGRAM {
			continue
		}
		if suffix == "_bucket" {
			return append(labels(f), "le"), true
		}
		return labels(f), true
	}
	return nil, false
}
