package e2e

import (
	"os/exec"
	"syscall"
)

// dieWithParent: a test that is killed leaves no process behind.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
