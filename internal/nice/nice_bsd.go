//go:build unix && !linux

package nice

import (
	"fmt"
	"syscall"
)

// Process gives a process a niceness, 0 to 19; those it starts later have it too.
func Process(pid, niceness int) error {
	if niceness == 0 {
		return nil
	}
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, pid, niceness); err != nil {
		return fmt.Errorf("set niceness of process %d to %d: %w", pid, niceness, err)
	}
	return nil
}

// Self gives this process a niceness.
func Self(niceness int) error { return Process(0, niceness) }
