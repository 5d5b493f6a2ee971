//go:build !faultinject

package scorer

import "github.com/edgepulse/edgepulse/schemas"

// A test build (tag faultinject) can make the fold depend on what it must not
// depend on, to show that `edgepulse verify` notices. Nothing of it is left here.
func sin(*schemas.Score) {}
