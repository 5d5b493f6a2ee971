package bench

import (
	"fmt"
	"testing"
	"time"
)

const (
	storedBudget   = 20 << 10 // bytes per metric, all stages
	residentBudget = 80 << 10
	seasonSlots    = 288 * 4 // bytes of the times of day that so few rows do not reach
)

// TestStateBudget holds what a metric costs, whatever its rhythm. A full day of
// seconds: edgepulse bench --state 200 --step 1s --rows 86400
func TestStateBudget(t *testing.T) {
	if testing.Short() {
		t.Skip("folds some ten thousand points")
	}
	for _, step := range []time.Duration{time.Second, 2 * time.Second, 30 * time.Second, 10 * time.Minute} {
		t.Run(step.String(), func(t *testing.T) {
			costs, err := State(t.Context(), 20, StateRows, step, func(string) {})
			if err != nil {
				t.Fatal(err)
			}
			stored, resident, by := 0.0, 0.0, ""
			for _, c := range costs {
				stored, resident = stored+c.Stored, resident+c.Resident
				by += fmt.Sprintf(", %s %.0f/%.0f", c.Stage, c.Stored, c.Resident)
			}
			t.Logf("stored %.0f, resident %.0f%s", stored, resident, by)
			if stored+seasonSlots > storedBudget || resident > residentBudget {
				t.Errorf("stored %.0f of %d less %d, resident %.0f of %d", stored, storedBudget, seasonSlots, resident, residentBudget)
			}
		})
	}
}
