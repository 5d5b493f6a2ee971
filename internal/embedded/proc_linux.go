package embedded

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// serverAttr: an own process group, so that Ctrl-C in a terminal reaches the
// server through Stop only; and a fast shutdown when this process dies.
func serverAttr(u osUser) *syscall.SysProcAttr {
	a := toolAttr(u)
	a.Pdeathsig = shutdownFast
	return a
}

// isServerOf tells whether pid is a postgres whose working directory is the
// data folder: a postmaster always works there.
func isServerOf(pid int, dataDir string) bool {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	program, _, _ := bytes.Cut(cmdline, []byte{0})
	if name := filepath.Base(string(program)); name != "postgres" && name != "postmaster" {
		return false
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return true // not ours to look at; better to stop a postgres named in our file than to run two
	}
	real, err := filepath.EvalSymlinks(dataDir)
	return err == nil && cwd == real
}
