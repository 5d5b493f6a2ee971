package nice

import (
	"fmt"
	"os"
	"strconv"
)

// Self gives this process a niceness. On Linux each thread has its own and hands it to
// those it starts, so this looks at all threads until none is new.
func Self(niceness int) error {
	if niceness == 0 {
		return nil
	}
	done := map[int]bool{}
	for before := -1; before != len(done); {
		before = len(done)
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("list threads: %w", err)
		}
		for _, t := range threads {
			tid, err := strconv.Atoi(t.Name())
			if err != nil || done[tid] {
				continue
			}
			if err := Process(tid, niceness); err != nil {
				return err
			}
			done[tid] = true
		}
	}
	return nil
}
