package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/edgepulse/edgepulse/internal/store"
)

// Flood is what one greedy tenant does to nine others, in one run.
type Flood struct {
	Alone   Quantiles `json:"nine_alone_ack_ms"`
	Flooded Quantiles `json:"nine_flooded_ack_ms"`
	Greedy  Quantiles `json:"greedy_ack_ms"`
	// GreedyPoints the tenth tenant got stored a second.
	GreedyPoints float64 `json:"greedy_points_per_second"`
	Change       float64 `json:"p99_change"` // of the nine: 0.3 = 30 % more
}

const normalTenants = 9

// flood lets nine tenants send, half of the time alone, half beside a tenth that
// sends all it can.
func (c *cluster) flood(ctx context.Context, r *Report, progress func(string)) ([]*load, error) {
	s := r.Scenario
	half := s
	half.Duration = s.Duration / 2
	keys, err := c.tenants(ctx, normalTenants)
	if err != nil {
		return nil, err
	}
	var all []*load
	round := func(name string, greedy *load) Quantiles {
		var nine []*load
		var wg sync.WaitGroup
		for _, key := range keys {
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
	greedy := newLoad(c.url, c.key, Scenario{Clients: 32, Points: 100, Metrics: 2000, Duration: half.Duration})
	start := time.Now()
	f.Flooded = round("nine tenants", greedy)
	f.GreedyPoints = float64(greedy.points.Load()) / time.Since(start).Seconds()
	f.Greedy = greedy.ack.quantiles()
	if f.Alone.P99 > 0 {
		f.Change = f.Flooded.P99/f.Alone.P99 - 1
	}
	r.Flood = f
	return append(all, greedy), nil
}

// tenants makes tenants with a key each.
func (c *cluster) tenants(ctx context.Context, n int) (keys []string, err error) {
	for i := range n {
		t, err := c.store.CreateTenant(ctx, fmt.Sprintf("normal-%d", i))
		if err != nil {
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
