//go:build faultinject

package embedded

import (
	"os"
	"slices"
	"strings"
)

// See faults_off.go.
var faultNoSync = slices.Contains(strings.Split(os.Getenv("EDGEPULSE_FAULTS"), ","), "no-sync")
