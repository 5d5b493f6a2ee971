package gateway

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/payload"
)

// codeMetricLimit refuses an item whose metric would be one more than the plan allows.
const codeMetricLimit = "metric_limit"

const (
	// metricActive is how long after its newest point a metric counts for the plan.
	metricActive = 30 * 24 * time.Hour
	// metricsEvery is how often the active metrics of a tenant with a limit are read.
	metricsEvery = time.Minute
)

// cardinality holds the number of active metrics to the plan, for tenants that
// have a limit. What is known goes on; what is new is refused item by item once
// the plan is full. It is approximate: another gateway's new metrics are learnt of
// within metricsEvery, and while the store can't be asked all are let through.
type cardinality struct {
	usage  Usage // nil = it is not judged
	wall   func() time.Time
	now    func() int64
	failed func(error)
	flight singleflight.Group

	mu      sync.Mutex
	tenants map[schemas.ID]*metricSet
}

type metricSet struct {
	known map[schemas.ID]time.Time // and when it was let in here; zero = the store has it
	asked time.Time
	read  bool // at least once
}

// admit refuses the samples of metrics that are too many.
func (c *cardinality) admit(ctx context.Context, key KeyRecord, body *payload.Body) {
	if key.MaxMetrics <= 0 || c.usage == nil {
		return
	}
	set := c.refresh(ctx, key.TenantID)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !set.read {
		return
	}
	for i := range body.Devices {
		d := &body.Devices[i]
		if d.Fault != nil {
			continue
		}
		device := schemas.DeviceID(key.TenantID, d.ExternalID)
		judged := map[string]bool{}
		kept := d.Samples[:0]
		for _, s := range d.Samples {
			ok, again := judged[s.Name]
			if !again {
				ok = set.take(schemas.MetricID(device, s.Name), key.MaxMetrics, c.wall())
				judged[s.Name] = ok
			}
			if ok {
				kept = append(kept, s)
				continue
			}
			d.Rejected = append(d.Rejected, payload.Rejection{Index: s.Index, Code: codeMetricLimit, Pointer: "/metrics/" + strconv.Itoa(s.Index),
				Detail: fmt.Sprintf("the plan %s allows %d metrics, and this one would be new", key.Plan, key.MaxMetrics)})
			body.Accepted--
			body.Rejected++
		}
		if len(kept) < len(d.Samples) {
			slices.SortFunc(d.Rejected, func(a, b payload.Rejection) int { return cmp.Compare(a.Index, b.Index) })
		}
		d.Samples = kept
	}
}

func (s *metricSet) take(metric schemas.ID, most int64, now time.Time) bool {
	if _, ok := s.known[metric]; ok {
		return true
	}
	if int64(len(s.known)) >= most {
		return false
	}
	s.known[metric] = now
	return true
}

// refresh reads a tenant's active metrics when they were read long ago. Only the
// first request of a tenant waits for it.
func (c *cardinality) refresh(ctx context.Context, tenant schemas.ID) *metricSet {
	c.mu.Lock()
	set := c.tenants[tenant]
	if set == nil {
		set = &metricSet{known: map[schemas.ID]time.Time{}}
		c.tenants[tenant] = set
	}
	read, fresh := set.read, !set.asked.IsZero() && c.wall().Sub(set.asked) < metricsEvery
	c.mu.Unlock()
	if fresh {
		return set
	}
	done := c.flight.DoChan(tenant.String(), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		list, err := c.usage.ActiveMetrics(ctx, tenant, time.UnixMicro(c.now()).Add(-metricActive))
		c.mu.Lock()
		defer c.mu.Unlock()
		set.asked = c.wall() // also after a failure: the next one asks later
		if err != nil {
			c.failed(err)
			return nil, err
		}
		known := make(map[schemas.ID]time.Time, len(list))
		for _, id := range list {
			known[id] = time.Time{}
		}
		for id, since := range set.known { // on their way to the store
			if _, there := known[id]; !there && !since.IsZero() && c.wall().Sub(since) < 2*metricsEvery {
				known[id] = since
			}
		}
		set.known, set.read = known, true
		return nil, nil
	})
	if read {
		return set
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
	return set
}
