package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// Flood is what one greedy tenant does to nine others, in one run.
type Flood struct {
	Alone   Quantiles `json:"nine_alone_ack_ms"`
	Flooded Quantiles `json:"nine_flooded_ack_ms"`
	Greedy  Quantiles `json:"greedy_ack_ms"`
	// GreedyPoints the tenth tenant got stored a second.
	GreedyPoints float64 `json:"greedy_points_per_second"`
	// GreedyRefused are answers to it that were not 202, a second; it does not wait as Retry-After says.
	GreedyRefused float64 `json:"greedy_refused_per_second"`
	Change        float64 `json:"p99_change"` // of the nine: 0.3 = 30 % more
}

const normalTenants = 9

// floodPlan is what all ten tenants have bought: twice what the normal ones send.
func floodPlan(s Scenario) api.Plan {
	points := int64(2 * s.Rate)
	requests := 2 * points / int64(s.Points)
	return api.Plan{Name: "bench", PointsPerSecond: &points, RequestsPerSecond: &requests, RetentionDays: 30}
}

// flood lets nine tenants send, half of the time alone, half beside a tenth that
// sends all it can. All of them have a plan, as tenants of a service do: a tenant
// without one may use the whole machine.
func (c *cluster) flood(ctx context.Context, r *Report, progress func(string)) ([]*load, error) {
	s := r.Scenario
	half := s
	half.Duration = s.Duration / 2
	keys, err := c.tenants(ctx, normalTenants+1, floodPlan(s))
	if err != nil {
		return nil, err
	}
	var all []*load
	round := func(name string, greedy *load) Quantiles {
		var nine []*load
		var wg sync.WaitGroup
		for _, key := range keys[:normalTenants] {
			l := newLoad(c.url, key, half)
			nine = append(nine, l)
			wg.Go(func() { l.run(ctx, func(string) {}) })
		}
		if greedy != nil {
			wg.Go(func() { greedy.run(ctx, func(what string) { progress(name + ", greedy tenant " + what) }) })
		} else {
			progress(name)
		}
		wg.Wait()
		sum := newLatencies()
		for _, l := range nine {
			sum.merge(l.ack)
		}
		all = append(all, nine...)
		return sum.quantiles()
	}
	f := &Flood{}
	f.Alone = round("nine tenants alone", nil)
	greedy := newLoad(c.url, keys[normalTenants], Scenario{Clients: 32, Points: 100, Metrics: 2000, Duration: half.Duration})
	start := time.Now()
	f.Flooded = round("nine tenants", greedy)
	f.GreedyPoints = float64(greedy.points.Load()) / time.Since(start).Seconds()
	f.GreedyRefused = float64(greedy.refused.Load()) / time.Since(start).Seconds()
	f.Greedy = greedy.ack.quantiles()
	if f.Alone.P99 > 0 {
		f.Change = f.Flooded.P99/f.Alone.P99 - 1
	}
	r.Flood = f
	return append(all, greedy), nil
}

// tenants makes tenants of a plan with a key each.
func (c *cluster) tenants(ctx context.Context, n int, plan api.Plan) (keys []string, err error) {
	if err := c.store.PutPlan(ctx, plan); err != nil {
		return nil, err
	}
	for i := range n {
		t, err := c.store.CreateTenant(ctx, fmt.Sprintf("tenant-%d", i))
		if err != nil {
			return nil, err
		}
		if err := c.store.SetTenantPlan(ctx, t.ID, plan.Name); err != nil {
			return nil, err
		}
		key, _, err := c.store.CreateKey(ctx, t.ID, []string{"ingest"}, store.KeyOptions{})
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}
