package embedded

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"testing"
)

// TestPostgresGivesWay: the server and the processes it forks have the niceness asked for.
func TestPostgresGivesWay(t *testing.T) {
	p := startPG(t, PostgresOptions{Dir: pgDir(t), Nice: 5})
	processes, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	children := 0
	for _, dir := range processes {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%s/stat", dir.Name()))
		if err != nil {
			continue // no process, or gone
		}
		// From the state on, behind a name that may hold spaces: parent is the 2nd, niceness the 17th.
		f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		own, child := dir.Name() == strconv.Itoa(p.PID()), string(f[1]) == strconv.Itoa(p.PID())
		if child {
			children++
		}
		if niceness := string(f[16]); (own || child) && niceness != "5" {
			t.Errorf("process %s has niceness %s, expected 5", dir.Name(), niceness)
		}
	}
	if children == 0 {
		t.Error("the server has no processes")
	}
}
