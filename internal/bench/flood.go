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
	Within  Quantiles `json:"nine_beside_plan_ack_ms"` // the tenth sends what its plan allows
	Flooded Quantiles `json:"nine_flooded_ack_ms"`     // it sends all it can
	Greedy  Quantiles `json:"greedy_ack_ms"`
	// GreedyPoints the tenth tenant got stored a second while it sent all it can.
	GreedyPoints float64 `json:"greedy_points_per_second"`
	// GreedyRefused are answers to it that were not 202, a second; it does not wait as Retry-After says.
	GreedyRefused float64 `json:"greedy_refused_per_second"`
	// Change of the nine's p99 against being alone, and against a tenth that keeps to its plan: 0.3 = 30 % more.
	Change     float64 `json:"p99_change"`
	OfRefusing float64 `json:"p99_change_of_refusing"`
}

const normalTenants = 9

// floodPlan is what all ten tenants have bought: twice what the normal ones send.
func floodPlan(s Scenario) api.Plan {
	points := int64(2 * s.Rate)
	requests := 2 * points / int64(s.Points)
	return api.Plan{Name: "bench", PointsPerSecond: &points, RequestsPerSecond: &requests, RetentionDays: 30}
}

// floodTurns is how often the nine are alone, beside a tenth that keeps to its plan,
// and beside the same one when it floods, in turns: whatever else the machine does
// meets all alike. The first round does not count, since metrics and models are made in it.
const floodTurns = 6

// floodSettles is the beginning of a turn that does not count: a plan lets a tenant
// spend what it has saved up for ten seconds at once, and then it is at its limit.
const floodSettles = 1500 * time.Millisecond

// flood lets nine tenants send beside a tenth in three moods. All of them have a
// plan, as tenants of a service do: one without may use the whole machine.
func (c *cluster) flood(ctx context.Context, r *Report, progress func(string)) ([]*load, error) {
	turn := r.Scenario.Duration/(3*(floodTurns+1)) - floodSettles
	if turn < time.Second {
		return nil, fmt.Errorf("scenario %s takes %d turns: ask for %s at least", r.Scenario.Name, 3*(floodTurns+1), 3*(floodTurns+1)*(floodSettles+time.Second))
	}
	keys, err := c.tenants(ctx, normalTenants+1, floodPlan(r.Scenario))
	if err != nil {
		return nil, err
	}
	var all []*load
	nine := func(d time.Duration) (sum *latencies) {
		s := r.Scenario
		s.Duration = d
		var loads []*load
		var wg sync.WaitGroup
		for _, key := range keys[:normalTenants] {
			l := newLoad(c.url, key, s)
			loads = append(loads, l)
			wg.Go(func() { l.run(ctx, func(string) {}) })
		}
		wg.Wait()
		sum = newLatencies()
		for _, l := range loads {
			sum.merge(l.ack)
		}
		all = append(all, loads...)
		return sum
	}
	f := &Flood{}
	moods := [...]struct {
		name string
		rate float64 // of the tenth; 0 = as fast as answers come
	}{{"alone", -1}, {"beside one that keeps to its plan", 2 * r.Scenario.Rate}, {"beside one that floods", 0}}
	var sums [len(moods)]*latencies
	greedySum, greedySeconds := newLatencies(), 0.0
	for i := range floodTurns + 1 {
		for m, mood := range moods {
			progress(fmt.Sprintf("turn %d of %d: nine tenants %s", i, floodTurns, mood.name))
			var tenth *load
			var wg sync.WaitGroup
			if mood.rate >= 0 {
				s := Scenario{Clients: 32, Points: 100, Metrics: 2000, Rate: mood.rate, Duration: floodSettles + turn}
				tenth = newLoad(c.url, keys[normalTenants], s)
				wg.Go(func() { tenth.run(ctx, func(string) {}) })
				all = append(all, tenth)
			}
			nine(floodSettles)
			var points, refused int64
			if tenth != nil {
				points, refused = tenth.points.Load(), tenth.refused.Load()
			}
			sum, start := nine(turn), time.Now()
			wg.Wait()
			if i == 0 {
				continue
			}
			if sums[m] == nil {
				sums[m] = newLatencies()
			}
			sums[m].merge(sum)
			if m == len(moods)-1 {
				greedySeconds += (turn + time.Since(start)).Seconds()
				f.GreedyPoints += float64(tenth.points.Load() - points)
				f.GreedyRefused += float64(tenth.refused.Load() - refused)
				greedySum.merge(tenth.ack)
			}
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	f.Alone, f.Within, f.Flooded, f.Greedy = sums[0].quantiles(), sums[1].quantiles(), sums[2].quantiles(), greedySum.quantiles()
	f.GreedyPoints, f.GreedyRefused = f.GreedyPoints/greedySeconds, f.GreedyRefused/greedySeconds
	f.Change, f.OfRefusing = f.Flooded.P99/f.Alone.P99-1, f.Flooded.P99/f.Within.P99-1
	r.Flood = f
	return all, nil
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
