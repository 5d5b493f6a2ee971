//go:build !unix

package nice

// Process does nothing where there is no niceness.
func Process(int, int) error { return nil }

// Self does nothing where there is no niceness.
func Self(int) error { return nil }
