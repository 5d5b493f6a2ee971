package gateway

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/edgepulse/edgepulse/schemas"
)

// Usage answers what a tenant has used of its plan.
type Usage interface {
	// MonthPoints answers the points counted in the month that begins at first, and
	// through which root of every partition they are counted, in one view of both.
	MonthPoints(ctx context.Context, tenant schemas.ID, first time.Time, partitions int) (points int64, through []uint64, err error)
	// ActiveMetrics lists the metrics that have a point since then, or are that new.
	ActiveMetrics(ctx context.Context, tenant schemas.ID, since time.Time) ([]schemas.ID, error)
}

// month is a tenant's month: what usage has counted, and what is on its way there.
// A point that was accepted leaves the second as soon as its root is counted.
type month struct {
	first     time.Time     // of the month
	left      time.Duration // of it, at the last look
	counted   int64
	asked     time.Time // when counted was looked up; zero = never
	pending   [][]unit  // by partition, ascending root
	waiting   int64     // sum of pending
	reserved  int64     // being written now
	elsewhere int64     // pending and reserved at other gateways
}

// unit is what one root of a partition holds of a tenant.
type unit struct {
	root   uint64
	points int64
}

const (
	// monthEvery is how often usage is asked for while a tenant sends.
	monthEvery = 2 * time.Second
	// monthStale is when a tenant that comes back waits for the answer.
	monthStale = 10 * time.Second
	// monthUnits bounds what is remembered per tenant and partition; beyond it the
	// oldest two become one, which counts the first of them longer.
	monthUnits = 10_000
)

func (m *month) estimate() int64 { return m.counted + m.waiting + m.reserved + m.elsewhere }

// monthOf is the first instant of a month and what is left of it.
func monthOf(now int64) (first time.Time, left time.Duration) {
	t := time.UnixMicro(now).UTC()
	first = time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
	return first, first.AddDate(0, 1, 0).Sub(t)
}

// months judges the monthly quota.
type months struct {
	q          *quotas
	usage      Usage // nil = the quota is not judged
	partitions int
	now        func() int64 // of the log: usage counts by the day of receipt
	flight     singleflight.Group
	failed     func(error)
}

// reserve charges n points to the month, or says that it is used up; what was
// acknowledged already is charged and not judged. The caller settles what became
// of them.
func (m *months) reserve(ctx context.Context, key KeyRecord, n int, judge bool) *problem {
	if key.PointsPerMonth <= 0 || m.usage == nil {
		return nil
	}
	m.refresh(ctx, key)
	m.q.mu.Lock()
	defer m.q.mu.Unlock()
	a := m.q.of(key)
	if used := a.month.estimate(); judge && used+int64(n) > key.PointsPerMonth {
		p := limited(key, "plan_exhausted", fmt.Sprintf("the plan %s allows %d points a month, %d are used, and this request has %d", key.Plan, key.PointsPerMonth, used, n),
			a.month.left, a.remaining(key, true))
		p.title = "The month's points are used up"
		return p
	}
	a.month.reserved += int64(n)
	a.changed = m.q.wall()
	return nil
}

// settle ends a reservation: what is in the log is pending under its roots until
// usage has counted it.
func (m *months) settle(key KeyRecord, n int, stored []stored) {
	if key.PointsPerMonth <= 0 || m.usage == nil {
		return
	}
	m.q.mu.Lock()
	defer m.q.mu.Unlock()
	a := m.q.of(key)
	a.month.reserved = max(0, a.month.reserved-int64(n))
	for _, s := range stored {
		a.month.add(s)
	}
	a.changed = m.q.wall()
}

// stored is what a request has put into a partition.
type stored struct {
	partition int
	root      uint64
	points    int
}

func (m *month) add(s stored) {
	for len(m.pending) <= s.partition {
		m.pending = append(m.pending, nil)
	}
	list := m.pending[s.partition]
	i, found := slices.BinarySearchFunc(list, s.root, func(u unit, root uint64) int { return cmpRoot(u.root, root) })
	if found {
		list[i].points += int64(s.points)
	} else {
		list = slices.Insert(list, i, unit{s.root, int64(s.points)})
	}
	if len(list) > monthUnits {
		list[1].points += list[0].points
		list = list[1:]
	}
	m.pending[s.partition] = list
	m.waiting += int64(s.points)
}

func cmpRoot(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// count takes what usage says, and forgets what is in it.
func (m *month) count(points int64, through []uint64) {
	m.counted = points
	for p, list := range m.pending {
		if p >= len(through) {
			break
		}
		done := 0
		for done < len(list) && list[done].root <= through[p] {
			m.waiting -= list[done].points
			done++
		}
		m.pending[p] = slices.Delete(list, 0, done)
	}
}

// refresh asks for the usage when the last answer is old. Who sends all the time
// never waits for it; while usage can't be asked, the last answer stands.
func (m *months) refresh(ctx context.Context, key KeyRecord) {
	first, left := monthOf(m.now())
	m.q.mu.Lock()
	a, wall := m.q.of(key), m.q.wall()
	a.month.left = left
	begun := a.month.first.Equal(first)
	age := wall.Sub(a.month.asked)
	known := begun && !a.month.asked.IsZero()
	m.q.mu.Unlock()
	if known && age < monthEvery {
		return
	}
	done := m.flight.DoChan(key.TenantID.String(), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		points, through, err := m.usage.MonthPoints(ctx, key.TenantID, first, m.partitions)
		m.q.mu.Lock()
		defer m.q.mu.Unlock()
		mo := &m.q.of(key).month
		mo.asked = m.q.wall() // also after a failure: the next one asks later
		if !mo.first.Equal(first) {
			mo.first, mo.counted = first, 0
		}
		if err != nil {
			m.failed(err)
			return nil, err
		}
		mo.count(points, through)
		return nil, nil
	})
	if known && age < monthStale {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}
