//go:build faultinject

package stream

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"
)

// See faults_off.go. EDGEPULSE_FAULTS lists the rules to switch off;
// EDGEPULSE_FAULT_LOST_ACKS is the share of commit acknowledgements dropped.
var (
	faultNoClip         = faultSet("no-clip")
	faultNewestSnapshot = faultSet("newest-snapshot")
	faultNoReseek       = faultSet("no-reseek")
	faultNoUnknown      = faultSet("no-unknown")
	faultNoCAS          = faultSet("no-cas")
	faultNoChain        = faultSet("no-chain")
	lostAcks, _         = strconv.ParseFloat(os.Getenv("EDGEPULSE_FAULT_LOST_ACKS"), 64)
)

func faultSet(name string) bool {
	for _, f := range strings.Split(os.Getenv("EDGEPULSE_FAULTS"), ",") {
		if f == name {
			return true
		}
	}
	return false
}

func injectLostAck() bool { return lostAcks > 0 && rand.Float64() < lostAcks }

// injectDelay sometimes gives up on a publish that is still in flight.
func injectDelay() (time.Duration, bool) {
	return 2 * time.Millisecond, lostAcks > 0 && rand.Float64() < lostAcks/4
}
