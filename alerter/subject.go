package alerter

import (
	"errors"
	"fmt"
	"math"

	"github.com/edgepulse/edgepulse/schemas"
)

// metric is what a declaration told about a metric. Records stay: the stage that
// declares evicts by its own rules and declares again only what it has evicted.
type metric struct {
	tenant   schemas.ID
	declared *schemas.MetricDeclared
}

// AppendState implements stream.Record.
func (m *metric) AppendState(b []byte) []byte { return appendMessage(b, m.declared) }

// DecodeState implements stream.Record.
func (m *metric) DecodeState(b []byte) error {
	d := new(schemas.MetricDeclared)
	if err := d.UnmarshalVT(b); err != nil {
		return fmt.Errorf("decode metric: %w", err)
	}
	owner, err := schemas.IDFrom(d.TenantId)
	if err != nil {
		return fmt.Errorf("decode metric: %w", err)
	}
	m.tenant, m.declared = owner, d
	return nil
}

// A metric that was never declared has no names and no tags but those set by API;
// only rules without patterns and other tags match it.
func (m *metric) deviceName() string {
	if m == nil {
		return ""
	}
	return m.declared.DeviceExternalId
}

func (m *metric) name() string {
	if m == nil {
		return ""
	}
	return m.declared.Name
}

func (m *metric) unit() string {
	if m == nil {
		return ""
	}
	return m.declared.Unit
}

// tags are those of the payload.
func (m *metric) tags() []*schemas.Tag {
	if m == nil {
		return nil
	}
	return m.declared.Tags
}

// subject is the cached index of one metric: which rules watch it. It holds
// nothing that the tables don't, and is made again when the tenant's rules change.
type subject struct {
	tenant     schemas.ID
	device, id schemas.ID
	generation uint64
	metric     *metric
	rules      []watchedBy
	disabled   bool
	// threshold is the lowest alarm score at which a rule can fire although the
	// severity is none.
	threshold float64
	active    int // watches that exist
}

// watchedBy is one rule of a subject and the key of their watch.
type watchedBy struct {
	rule *control
	key  schemas.ID
}

var errOtherTenant = errors.New("score of a metric of another tenant")

// subjectOf finds or makes the index of a score's metric.
func (f *Fold) subjectOf(s *schemas.Score) (*subject, error) {
	id, err := schemas.IDFrom(s.MetricId)
	if err != nil {
		return nil, fmt.Errorf("metric: %w", err)
	}
	owner, err := schemas.IDFrom(s.TenantId)
	if err != nil {
		return nil, fmt.Errorf("tenant: %w", err)
	}
	device, err := schemas.IDFrom(s.DeviceId)
	if err != nil {
		return nil, fmt.Errorf("device: %w", err)
	}
	t := f.tenant(owner)
	if sub := f.subjects[id]; sub != nil && sub.generation == t.generation && sub.tenant == owner && sub.device == device {
		return sub, nil
	}
	m, _ := f.metrics.Get(id)
	if m != nil && m.tenant != owner {
		return nil, errOtherTenant
	}
	sub := f.index(t, &subject{tenant: owner, device: device, id: id, generation: t.generation, metric: m})
	f.subjects[id] = sub
	return sub, nil
}

// index finds the rules that watch a metric, in the order of their ids.
func (f *Fold) index(t *tenant, sub *subject) *subject {
	sub.threshold = math.Inf(1)
	sub.disabled = t.disabled[sub.id]
	for _, r := range t.rules {
		if !t.matches(r, sub.device, sub.id, sub.metric) {
			continue
		}
		key := watchKey(r.key, sub.id)
		sub.rules = append(sub.rules, watchedBy{r, key})
		if _, ok := f.watches.Get(key); ok {
			sub.active++
		}
		if r.minSeverity() == schemas.Severity_SEVERITY_NONE {
			sub.threshold = math.Min(sub.threshold, r.rule.MinScore)
		}
	}
	return sub
}
