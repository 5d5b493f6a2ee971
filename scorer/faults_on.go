//go:build faultinject

package scorer

import (
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
)

// See faults_off.go. EDGEPULSE_FAULTS lists the sins.
var (
	faultClock    = faultSet("clock-in-fold")
	faultMapOrder = faultSet("map-order-in-fold")
)

func faultSet(name string) bool {
	return slices.Contains(strings.Split(os.Getenv("EDGEPULSE_FAULTS"), ","), name)
}

// sin lets a score depend on the time of day, by its last bit, or its
// contributors on the order of a map.
func sin(s *schemas.Score) {
	if faultClock && time.Now().UnixMicro()%16 == 0 {
		s.Score = math.Nextafter(s.Score, 2)
	}
	if faultMapOrder {
		byName := map[string]*schemas.Contribution{}
		for _, c := range s.Contributors {
			byName[c.Name] = c
		}
		s.Contributors = s.Contributors[:0]
		for _, c := range byName {
			s.Contributors = append(s.Contributors, c)
		}
	}
}
