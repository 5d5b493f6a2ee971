package nice

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain: as a child it makes itself nice and prints the niceness of its threads.
func TestMain(m *testing.M) {
	if os.Getenv("EDGEPULSE_TEST_NICE") == "" {
		os.Exit(m.Run())
	}
	if err := Self(7); err != nil {
		panic(err)
	}
	threads, err := filepath.Glob("/proc/self/task/*/stat")
	if err != nil {
		panic(err)
	}
	for _, t := range threads {
		os.Stdout.WriteString(niceness(t) + "\n")
	}
	os.Exit(0)
}

// niceness of a thread is the 19th field; its name may hold spaces.
func niceness(stat string) string {
	b, err := os.ReadFile(stat)
	if err != nil {
		panic(err)
	}
	return strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))[16]
}

func TestSelf(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "EDGEPULSE_TEST_NICE=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	threads := strings.Fields(string(out))
	if len(threads) < 2 {
		t.Fatalf("%d threads", len(threads))
	}
	for i, n := range threads {
		if n != "7" {
			t.Errorf("thread %d of %d has niceness %s, expected 7", i, len(threads), n)
		}
	}
}
