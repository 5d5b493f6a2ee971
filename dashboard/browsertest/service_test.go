package browsertest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var (
	pictures = flag.String("pictures", "", "folder for a picture of every page")
	binary   = flag.String("bin", "", "binary to test, instead of one built from this tree")
	running  = flag.String("data", "", "data folder of a running demo of that binary, instead of one of our own")
)

// service is the product under test.
var service struct {
	bin, url, key string
	env           []string // for commands that reach broker and database
}

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	stop, err := startService()
	if err != nil {
		return 1, err
	}
	end, err := startBrowser()
	if err != nil {
		return 1, errors.Join(err, stop())
	}
	code := m.Run()
	return code, errors.Join(end(), stop())
}

// startService builds the binary from this tree and runs it as a stranger would.
func startService() (func() error, error) {
	if *running != "" {
		service.bin = *binary
		return func() error { return nil }, readEnv(*running)
	}
	dir, err := os.MkdirTemp("", "edgepulse-dashboard")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // Postgres runs as another user
		return nil, err
	}
	if service.bin = *binary; service.bin == "" {
		service.bin = filepath.Join(dir, "edgepulse")
		build := exec.Command("go", "build", "-trimpath", "-o", service.bin, "./cmd/edgepulse")
		build.Dir = filepath.Join("..", "..")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build: %w\n%s", err, out)
		}
	}
	data := filepath.Join(dir, "data")
	cmd := exec.Command(service.bin, "up", "--demo", "--data", data, "--addr", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), ownerEnv(), "EDGEPULSE_WEBHOOK_ALLOW=127.0.0.1/32")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := func() error {
		_ = cmd.Process.Signal(os.Interrupt)
		kill := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("stop the service: %w", err)
		}
		return os.RemoveAll(dir)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "is ready") {
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	if err := readEnv(data); err != nil {
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

// readEnv takes address, key and the ways to broker and database from dev.env.
func readEnv(data string) error {
	env, err := os.ReadFile(filepath.Join(data, "dev.env"))
	if err != nil {
		return err
	}
	for _, v := range regexp.MustCompile(`(?m)^(\w+)='([^']*)'$`).FindAllStringSubmatch(string(env), -1) {
		service.env = append(service.env, v[1]+"="+v[2])
		switch v[1] {
		case "EDGEPULSE_URL":
			service.url = v[2]
		case "EDGEPULSE_API_KEY":
			service.key = v[2]
		}
	}
	if service.url == "" || service.key == "" {
		return errors.New("dev.env names no address or no key")
	}
	return nil
}

// cli runs a command of the product and answers what it prints.
func cli(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), service.bin, args...)
	cmd.Env = append(os.Environ(), service.env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("edgepulse %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

// call asks the API with the key, beside the browser.
func call(t *testing.T, method, path string, body, into any) *http.Response {
	t.Helper()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, service.url+path, r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", service.key)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(got, into); err != nil || res.StatusCode >= 300 {
			t.Fatalf("%s %s: %d, %v: %s", method, path, res.StatusCode, err, got)
		}
	}
	return res
}

// metricID names a metric of the demo.
func metricID(t *testing.T, device, name string) string {
	t.Helper()
	var page struct {
		Data []struct{ ID string }
	}
	call(t, "GET", "/v1/metrics?device_external_id="+device+"&name="+name, nil, &page)
	if len(page.Data) != 1 {
		t.Fatalf("%d metrics are %s/%s", len(page.Data), device, name)
	}
	return page.Data[0].ID
}

// until polls for a state of the service.
func until(t *testing.T, most time.Duration, what string, reached func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !reached() {
		select {
		case <-ctx.Done():
			t.Fatalf("no %s within %s", what, most)
		case <-tick.C:
		}
	}
}
