//go:build unix && !linux

package embedded

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// serverAttr: an own process group. There is no parent-death signal here: a
// server that outlives its parent is stopped at the next start.
func serverAttr(u osUser) *syscall.SysProcAttr { return toolAttr(u) }

// isServerOf tells whether pid is a postgres started on the data folder.
func isServerOf(pid int, dataDir string) bool {
	out, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return false
	}
	program, _, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	name := filepath.Base(program)
	return (name == "postgres" || name == "postmaster") && strings.Contains(string(out), dataDir)
}
