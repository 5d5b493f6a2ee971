//go:build unix

package nice

import (
	"fmt"
	"syscall"
)

// Process gives a process a niceness, 0 to 19; those it starts later have it too. On
// Linux it is that of the process's first thread alone, and of what that one starts.
func Process(pid, niceness int) error {
	if niceness == 0 {
		return nil
	}
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, pid, niceness); err != nil {
		return fmt.Errorf("set niceness of process %d to %d: %w", pid, niceness, err)
	}
	return nil
}
