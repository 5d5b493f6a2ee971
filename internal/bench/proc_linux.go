package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// clockTick is the unit of /proc/<pid>/stat on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// cpu is the time each process has used, Postgres with all its backends.
func (c *cluster) cpu() map[string]time.Duration {
	out := map[string]time.Duration{"load": cpuOf(os.Getpid())}
	for _, ch := range c.children {
		out[ch.name] = cpuOf(ch.cmd.Process.Pid)
	}
	for _, pid := range descendants(c.postgres.PID()) {
		out["postgres"] += cpuOf(pid)
	}
	return out
}

// rss is the resident memory of each process in MB.
func (c *cluster) rss() map[string]float64 {
	out := map[string]float64{}
	for _, ch := range c.children {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", ch.cmd.Process.Pid))
		if f := strings.Fields(string(b)); len(f) > 1 {
			pages, _ := strconv.ParseFloat(f[1], 64)
			out[ch.name] = pages * float64(os.Getpagesize()) / 1e6
		}
	}
	return out
}

func cpuOf(pid int) time.Duration {
	f := statFields(pid)
	if len(f) < 16 {
		return 0
	}
	var ticks int64
	// utime and stime, and those of children that have ended.
	for _, i := range []int{11, 12, 13, 14} {
		n, _ := strconv.ParseInt(f[i], 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * clockTick
}

// statFields are the fields of /proc/<pid>/stat behind the command's name.
func statFields(pid int) []string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.Fields(rest)
}

func descendants(pid int) []int {
	out := []int{pid}
	entries, _ := filepath.Glob("/proc/[0-9]*")
	parent := map[int]int{}
	for _, e := range entries {
		id, _ := strconv.Atoi(filepath.Base(e))
		if f := statFields(id); len(f) > 1 {
			parent[id], _ = strconv.Atoi(f[1])
		}
	}
	for i := 0; i < len(out); i++ {
		for id, pp := range parent {
			if pp == out[i] && id != pid {
				out = append(out, id)
			}
		}
	}
	return out
}
