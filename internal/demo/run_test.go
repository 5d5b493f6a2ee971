package demo_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/embedded"
)

var full = flag.Bool("full", false, "wait until all five labels have shown")

// TestUpDemo runs the real binary as a stranger would: from nothing to a verified
// webhook about a live sensor, Ctrl+C, and a second start that goes on.
//
// With -full it waits for all labels; `go tool task prove:demo` does.
func TestUpDemo(t *testing.T) {
	if _, err := embedded.FindPostgres(t.Context(), os.Getenv("EDGEPULSE_PG_BIN"), 0); err != nil {
		if os.Getenv("EDGEPULSE_TEST_STRICT") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	// Not t.TempDir: its folders are closed to the user that Postgres runs as.
	dir, err := os.MkdirTemp("", "edgepulse-demo")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	bin := filepath.Join(dir, "edgepulse")
	build := exec.Command("go", "build", "-trimpath", "-o", bin, "github.com/edgepulse/edgepulse/cmd/edgepulse")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as the Taskfile builds it: what is compiled once serves both
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	data := filepath.Join(dir, "data")

	first := start(t, bin, data)
	t.Logf("ready after %.1f s, history and trained models included", first.ready.Seconds())
	labels := map[string]time.Duration{}
	want := 1
	if *full {
		want = 5
	}
	first.until(t, 3*time.Minute, "alerts in the inbox", func() bool {
		for _, m := range first.inbox(t) {
			if m.Event.Data.State != "resolved" && strings.HasPrefix(m.Event.Data.Device, "demo-") && labels[m.Event.Data.Label] == 0 {
				if !m.Verified {
					t.Fatal("an alert in the inbox is not verified")
				}
				labels[m.Event.Data.Label] = m.ReceivedAt.Sub(first.at)
			}
		}
		return len(labels) >= want
	})
	earliest := 3 * time.Minute
	for label, after := range labels {
		t.Logf("%s verified in the inbox after %.1f s", label, after.Seconds())
		earliest = min(earliest, after)
	}
	if earliest > time.Minute {
		t.Errorf("the first verified alert took %s, expected at most a minute", earliest)
	}
	before := first.inbox(t)
	rules, hooks := first.count(t, "alert-rules"), first.count(t, "webhooks")
	first.stop(t)

	second := start(t, bin, data)
	t.Logf("ready again after %.1f s", second.ready.Seconds())
	defer second.stop(t)
	known := map[string]bool{}
	for _, m := range second.inbox(t) {
		known[m.WebhookID] = true
	}
	for _, m := range before {
		if !known[m.WebhookID] {
			t.Errorf("message %s of the first run is lost", m.WebhookID)
		}
	}
	if r, h := second.count(t, "alert-rules"), second.count(t, "webhooks"); r != rules || h != hooks {
		t.Errorf("%d rules and %d webhooks became %d and %d", rules, hooks, r, h)
	}
	// The sensors go on: the newest point of a live metric becomes one of this run.
	metric := second.metric(t, "demo-pump-0002", "temperature")
	second.until(t, time.Minute, "live points of the second run", func() bool {
		var page struct {
			Data []struct {
				TS time.Time `json:"ts"`
			} `json:"data"`
		}
		second.get(t, "/v1/datapoints?limit=1&metric_id="+metric, &page)
		return len(page.Data) == 1 && page.Data[0].TS.After(second.at.Add(second.ready))
	})
}

// process is a running `up --demo`.
type process struct {
	cmd   *exec.Cmd
	at    time.Time
	ready time.Duration
	url   string
	key   string
}

var environment = regexp.MustCompile(`(?m)^(EDGEPULSE_URL|EDGEPULSE_API_KEY)='([^']*)'$`)

func start(t *testing.T, bin, data string) *process {
	t.Helper()
	p := &process{at: time.Now(), cmd: exec.Command(bin, "up", "--demo", "--data", data, "--addr", "127.0.0.1:0")}
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "is ready") {
	}
	if p.ready = time.Since(p.at); p.ready > time.Minute {
		t.Errorf("ready after %s", p.ready)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	env, err := os.ReadFile(filepath.Join(data, "dev.env"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range environment.FindAllStringSubmatch(string(env), -1) {
		if m[1] == "EDGEPULSE_URL" {
			p.url = m[2]
		} else {
			p.key = m[2]
		}
	}
	return p
}

// stop is Ctrl+C: it must end the process without an error.
func (p *process) stop(t *testing.T) {
	t.Helper()
	begin := time.Now()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	t.Logf("stopped within %.1f s", time.Since(begin).Seconds())
}

// until polls for a state.
func (p *process) until(t *testing.T, most time.Duration, what string, reached func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !reached() {
		select {
		case <-ctx.Done():
			t.Fatalf("no %s within %s", what, most)
		case <-tick.C:
		}
	}
}

func (p *process) get(t *testing.T, path string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", p.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", p.key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(into); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d, %v", path, res.StatusCode, err)
	}
}

type message struct {
	Verified   bool      `json:"verified"`
	ReceivedAt time.Time `json:"received_at"`
	WebhookID  string    `json:"webhook_id"`
	Event      struct {
		Data struct {
			Device string `json:"device_external_id"`
			Label  string `json:"label"`
			State  string `json:"state"`
		} `json:"data"`
	} `json:"event"`
}

func (p *process) inbox(t *testing.T) []message {
	var list struct {
		Data []message `json:"data"`
	}
	p.get(t, "/demo/inbox", &list)
	return list.Data
}

func (p *process) count(t *testing.T, resource string) int {
	var page struct {
		Data []json.RawMessage `json:"data"`
	}
	p.get(t, "/v1/"+resource, &page)
	return len(page.Data)
}

func (p *process) metric(t *testing.T, device, name string) string {
	var page struct {
		Data []struct {
			ID     string `json:"id"`
			Device string `json:"device_external_id"`
			Name   string `json:"name"`
		} `json:"data"`
	}
	p.get(t, "/v1/metrics?limit=1000", &page)
	for _, m := range page.Data {
		if m.Device == device && m.Name == name {
			return m.ID
		}
	}
	t.Fatalf("no metric %s/%s", device, name)
	return ""
}
