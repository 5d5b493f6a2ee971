//go:build unix && !linux

package e2e

import "os/exec"

// dieWithParent: only Linux can tie a child to its parent; elsewhere the test's
// cleanup ends the children.
func dieWithParent(*exec.Cmd) {}
