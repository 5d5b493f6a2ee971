package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// ErrInvalid says that a rule or webhook can't be what was asked; its message says why.
var ErrInvalid = fmt.Errorf("invalid")

// ruleControl is a rule as the logs carry it.
func ruleControl(tenant, rule schemas.ID, version uint64, r *api.AlertRule) (*schemas.Control, error) {
	out := &schemas.AlertRule{
		RuleId: rule[:], Name: r.Name, DevicePattern: r.DevicePattern, MetricPattern: r.MetricPattern,
		MinScore: r.MinScore, MinAbsDeviation: r.MinAbsDeviation, MinRelDeviation: r.MinRelDeviation,
		ResolveScore: r.ResolveScore, Enabled: r.Enabled == nil || *r.Enabled, NotifyBackfill: r.NotifyBackfill,
	}
	severity, err := enumNumber(schemas.Severity_value, "SEVERITY_", "min_severity", r.MinSeverity)
	if err != nil {
		return nil, err
	}
	direction, err := enumNumber(schemas.Direction_value, "DIRECTION_", "direction", r.Direction)
	if err != nil {
		return nil, err
	}
	out.MinSeverity, out.Direction = schemas.Severity(severity), schemas.Direction(direction)
	for _, l := range r.Labels {
		n, err := enumNumber(schemas.Label_value, "LABEL_", "labels", l)
		if err != nil {
			return nil, err
		}
		out.Labels = append(out.Labels, schemas.Label(n))
	}
	if out.DeviceIds, err = idBytes("device_ids", r.DeviceIDs); err != nil {
		return nil, err
	}
	if out.MetricIds, err = idBytes("metric_ids", r.MetricIDs); err != nil {
		return nil, err
	}
	out.Tags = sortedTags(r.Tags)
	for _, d := range []struct {
		name, text string
		into       *int64
	}{
		{"for", r.For, &out.ForUs}, {"resolve_after", r.ResolveAfter, &out.ResolveAfterUs},
		{"cooldown", r.Cooldown, &out.CooldownUs}, {"update_every", r.UpdateEvery, &out.UpdateEveryUs},
	} {
		if *d.into, err = micros(d.name, d.text); err != nil {
			return nil, err
		}
	}
	return &schemas.Control{Version: version, TenantId: tenant[:], Change: &schemas.Control_AlertRule{AlertRule: out}}, nil
}

// sortedTags are tags as the logs carry them: in the order of their keys.
func sortedTags(tags map[string]string) []*schemas.Tag {
	var out []*schemas.Tag
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, &schemas.Tag{Key: k, Value: tags[k]})
	}
	return out
}

func ruleDeletedControl(tenant, rule schemas.ID, version uint64) *schemas.Control {
	return &schemas.Control{Version: version, TenantId: tenant[:],
		Change: &schemas.Control_AlertRuleDeleted{AlertRuleDeleted: &schemas.AlertRuleDeleted{RuleId: rule[:]}}}
}

// enumNumber reads an enumeration's value from its API text; empty is zero.
func enumNumber(values map[string]int32, prefix, field, text string) (int32, error) {
	if text == "" {
		return 0, nil
	}
	n, ok := values[prefix+strings.ToUpper(text)]
	if !ok || text != strings.ToLower(text) {
		return 0, fmt.Errorf("%w: unknown %s %q", ErrInvalid, field, text)
	}
	return n, nil
}

func idBytes(field string, texts []string) ([][]byte, error) {
	var out [][]byte
	for _, t := range texts {
		id, err := schemas.ParseID(t)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %q is no identifier", ErrInvalid, field, t)
		}
		out = append(out, id[:])
	}
	return out, nil
}

func micros(field, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%w: %s: %q is no duration", ErrInvalid, field, text)
	}
	return d.Microseconds(), nil
}
