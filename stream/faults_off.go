//go:build !faultinject

package stream

import "time"

// The rules of the commit protocol can be switched off one by one in a test
// build (tag faultinject), to show that the crash test notices. Here they are
// constants, so nothing of it is left in the product.
const (
	faultNoClip         = false // reader: apply entries at or below the position
	faultNewestSnapshot = false // recovery: take the newest snapshot even beyond the marker
	faultNoReseek       = false // reader: never seek again
	faultNoUnknown      = false // writer: take an unknown result for a failure and go on
	faultNoCAS          = false // writer: publish without the expected sequence
	faultNoChain        = false // reader: do not compare chains
)

func injectLostAck() bool                { return false }
func injectDelay() (time.Duration, bool) { return 0, false }
