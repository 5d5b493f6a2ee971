//go:build !linux

package bench

import (
	"os/exec"
	"time"
)

func dieWithParent(*exec.Cmd) {}

// Without /proc the report has no CPU and memory figures.
func (c *cluster) cpu() map[string]time.Duration { return nil }
func (c *cluster) rss() map[string]float64       { return nil }
