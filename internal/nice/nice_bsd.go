//go:build unix && !linux

package nice

// Self gives this process a niceness.
func Self(niceness int) error { return Process(0, niceness) }
