package powercut

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/client"
	"github.com/edgepulse/edgepulse/schemas/api"
)

const (
	partitions = 4
	clients    = 8
	metricName = "value"
)

// pointID names what was acknowledged; every device has one metric.
type pointID struct {
	device string
	ts     int64
}

func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "edgepulse")
	openParents(t, path)
	if out, err := exec.Command("go", "build", "-tags", "faultinject", "-o", path, "../../cmd/edgepulse").CombinedOutput(); err != nil {
		t.Fatalf("build the binary: %v\n%s", err, out)
	}
	return path
}

// openParents lets the user that Postgres runs as pass the test's folders.
func openParents(t *testing.T, path string) {
	for d := path; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

// service is a running `edgepulse up` with its database.
type service struct {
	cmd  *exec.Cmd
	done chan struct{}
	api  *client.Client
}

func start(t *testing.T, ctx context.Context, binary, data, faults string) *service {
	t.Helper()
	s := &service{cmd: exec.CommandContext(ctx, binary, "up", "--data", data, "--addr", "127.0.0.1:0", "--log-level", "warn"), done: make(chan struct{})}
	s.cmd.Env = append(os.Environ(), "EDGEPULSE_FAULTS="+faults, "EDGEPULSE_LOG_MAX_BYTES=268435456")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(t.TempDir(), "up.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := os.Remove(filepath.Join(data, "dev.env")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait() // a killed process ends with an error
		close(s.done)
	}()
	t.Cleanup(s.kill)
	for { // dev.env is written when everything runs
		select {
		case <-s.done:
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("the service ended: %s", text)
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
		if s.api = connect(filepath.Join(data, "dev.env")); s.api != nil {
			return s
		}
	}
}

func connect(env string) *client.Client {
	f, err := os.Open(env)
	if err != nil {
		return nil
	}
	defer f.Close()
	values := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		k, v, _ := strings.Cut(lines.Text(), "=")
		values[k] = strings.Trim(v, "'")
	}
	c, err := client.New(values["EDGEPULSE_URL"], values["EDGEPULSE_API_KEY"])
	if err != nil {
		return nil
	}
	return c
}

// family are the process and all it has started.
func (s *service) family() []int {
	parent := map[int]int{}
	entries, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, e := range entries {
		b, _ := os.ReadFile(e) // it may have ended
		if _, rest, ok := strings.Cut(string(b), ") "); ok {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(e)))
			parent[pid], _ = strconv.Atoi(strings.Fields(rest)[1])
		}
	}
	out := []int{s.cmd.Process.Pid}
	for i := 0; i < len(out); i++ {
		for pid, p := range parent {
			if p == out[i] {
				out = append(out, pid)
			}
		}
	}
	return out
}

func (s *service) signal(sig syscall.Signal) {
	for _, pid := range s.family() {
		_ = syscall.Kill(pid, sig) // it may have ended
	}
}

// stop freezes every process and returns when none runs.
func (s *service) stop() {
	for running := true; running; {
		s.signal(syscall.SIGSTOP)
		running = false
		for _, pid := range s.family() {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if _, rest, ok := strings.Cut(string(b), ") "); ok && rest[0] != 'T' && rest[0] != 'Z' {
				running = true
			}
		}
	}
}

func (s *service) goOn() { s.signal(syscall.SIGCONT) }

func (s *service) kill() {
	s.signal(syscall.SIGKILL)
	<-s.done
}

// serves waits until the API shows every point that was acknowledged.
func (s *service) serves(t *testing.T, ctx context.Context, acked map[pointID]float64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		left := missing(acked, s.served(ctx))
		if left == 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%d of %d acknowledged points are not served", left, len(acked))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (s *service) served(ctx context.Context) map[pointID]float64 {
	out := map[pointID]float64{}
	var metrics api.Page[api.Metric]
	if s.api.Get(ctx, "/v1/metrics", nil, &metrics) != nil {
		return out // not ready yet
	}
	for _, m := range metrics.Data {
		q := url.Values{"metric_id": {m.ID}, "limit": {"10000"}}
		for {
			var page api.Page[api.Datapoint]
			if s.api.Get(ctx, "/v1/datapoints", q, &page) != nil {
				return out
			}
			for _, p := range page.Data {
				out[pointID{m.DeviceExternalID, p.TS.UnixMicro()}] = p.Value
			}
			if !page.HasMore {
				break
			}
			q.Set("cursor", page.NextCursor)
		}
	}
	return out
}

// load posts single points from some clients and remembers what was acknowledged.
type load struct {
	s     *service
	mu    sync.Mutex
	acked map[pointID]float64
	next  int64
}

func newLoad(s *service) *load { return &load{s: s, acked: map[pointID]float64{}} }

// run posts for d, then calls cut while the clients still post.
func (l *load) run(ctx context.Context, d time.Duration, cut func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				l.post(ctx, fmt.Sprintf("device-%d", c))
			}
		})
	}
	time.Sleep(d) // the length of the load, not a wait for a state
	cut()
	cancel()
	wg.Wait()
}

func (l *load) post(ctx context.Context, device string) {
	l.mu.Lock()
	l.next++
	id, v := pointID{device, time.Now().UnixMicro()}, float64(l.next)
	l.mu.Unlock()
	body := fmt.Sprintf(`{"device_external_id":%q,"metrics":[{"name":%q,"ts":%q,"value":%v}]}`, device, metricName,
		time.UnixMicro(id.ts).UTC().Format("2006-01-02T15:04:05.000000Z"), v)
	var answer api.IngestAnswer
	if l.s.api.Do(ctx, http.MethodPost, "/v1/ingest", []byte(body), http.Header{"Content-Type": {"application/json"}}, &answer) != nil {
		return
	}
	l.mu.Lock()
	l.acked[id] = v
	l.mu.Unlock()
}

func (l *load) acknowledged() map[pointID]float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[pointID]float64, len(l.acked))
	for k, v := range l.acked {
		out[k] = v
	}
	return out
}
