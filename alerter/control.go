package alerter

import (
	"fmt"
	"math"
	"slices"

	"github.com/google/uuid"

	"github.com/edgepulse/edgepulse/schemas"
)

// control is one piece of configuration in force: a rule, a silence, the
// settings of a metric or a device, or the stone over a deleted one (which keeps its version,
// so that a control that was overtaken can't bring it back).
type control struct {
	message *schemas.Control

	// Derived from message.
	key    schemas.ID // of the control: tenant and what it is about
	tenant schemas.ID
	id     schemas.ID // of the rule, silence, metric or device
	kind   controlKind

	rule    *schemas.AlertRule // nil unless a rule in force
	devices []schemas.ID
	metrics []schemas.ID

	silence     *schemas.Silence // nil unless a silence in force
	silenceRule schemas.ID

	settings *schemas.MetricSettings
	tags     []*schemas.Tag // set on the metric or device
}

type controlKind byte

const (
	ruleKind controlKind = iota + 1
	silenceKind
	settingsKind
	deviceKind
)

// AppendState and DecodeState implement stream.Record: the control as it stood in the log.
func (c *control) AppendState(b []byte) []byte { return appendMessage(b, c.message) }

// DecodeState implements stream.Record.
func (c *control) DecodeState(b []byte) error {
	msg := new(schemas.Control)
	if err := msg.UnmarshalVT(b); err != nil {
		return fmt.Errorf("decode control: %w", err)
	}
	next, err := compile(msg)
	if err != nil {
		return err
	}
	if next == nil {
		return fmt.Errorf("decode control: not one of the alerter's")
	}
	*c = *next
	return nil
}

// compile checks a control and prepares it for matching. It answers nil for
// controls that concern other stages.
func compile(msg *schemas.Control) (*control, error) {
	c := &control{message: msg}
	var id []byte
	switch change := msg.Change.(type) {
	case *schemas.Control_AlertRule:
		id, c.kind = change.AlertRule.GetRuleId(), ruleKind
		if change.AlertRule.GetEnabled() {
			c.rule = change.AlertRule
		}
	case *schemas.Control_AlertRuleDeleted:
		id, c.kind = change.AlertRuleDeleted.GetRuleId(), ruleKind
	case *schemas.Control_Silence:
		id, c.kind, c.silence = change.Silence.GetSilenceId(), silenceKind, change.Silence
	case *schemas.Control_SilenceDeleted:
		id, c.kind = change.SilenceDeleted.GetSilenceId(), silenceKind
	case *schemas.Control_MetricSettings:
		id, c.kind, c.settings = change.MetricSettings.GetMetricId(), settingsKind, change.MetricSettings
		c.tags = c.settings.GetTags()
	case *schemas.Control_DeviceSettings:
		id, c.kind, c.tags = change.DeviceSettings.GetDeviceId(), deviceKind, change.DeviceSettings.GetTags()
	default:
		return nil, nil
	}
	var err error
	if c.tenant, err = schemas.IDFrom(msg.TenantId); err != nil {
		return nil, fmt.Errorf("control's tenant: %w", err)
	}
	if c.id, err = schemas.IDFrom(id); err != nil {
		return nil, fmt.Errorf("control's subject: %w", err)
	}
	if c.rule != nil {
		if err = checkDurations(c.rule); err != nil {
			return nil, err
		}
		if c.devices, err = ids(c.rule.DeviceIds); err != nil {
			return nil, fmt.Errorf("rule's devices: %w", err)
		}
		if c.metrics, err = ids(c.rule.MetricIds); err != nil {
			return nil, fmt.Errorf("rule's metrics: %w", err)
		}
	}
	if c.silence != nil && len(c.silence.RuleId) > 0 {
		if c.silenceRule, err = schemas.IDFrom(c.silence.RuleId); err != nil {
			return nil, fmt.Errorf("silence's rule: %w", err)
		}
	}
	c.key = controlKey(c.tenant, c.kind, c.id)
	return c, nil
}

// checkDurations refuses what would overflow when added to an instant. The API
// does so with a better message; a log may hold anything.
func checkDurations(r *schemas.AlertRule) error {
	const tenYears = 10 * 366 * 86400 * second
	for _, us := range []int64{r.ForUs, r.ResolveAfterUs, r.CooldownUs, r.UpdateEveryUs} {
		if us < 0 || us > tenYears {
			return fmt.Errorf("rule's duration of %d µs is out of range", us)
		}
	}
	return nil
}

func ids(raw [][]byte) ([]schemas.ID, error) {
	var out []schemas.ID
	for _, b := range raw {
		id, err := schemas.IDFrom(b)
		if err != nil {
			return nil, err
		}
		out = append(out, id)
	}
	return out, nil
}

// controlKey keeps tenants apart: a control can only ever replace one of its own tenant.
func controlKey(tenant schemas.ID, kind controlKind, id schemas.ID) schemas.ID {
	return schemas.ID(uuid.NewSHA1(uuid.UUID(tenant), append([]byte{byte(kind)}, id[:]...)))
}

// watchKey names what one rule watches; rule is the key of its control, which
// contains the tenant.
func watchKey(rule, metric schemas.ID) schemas.ID {
	return schemas.ID(uuid.NewSHA1(uuid.UUID(rule), metric[:]))
}

// concerns reports whether a change of this control can matter to an existing
// watch; retagged says that the control before it had other tags.
func (c *control) concerns(w *watch, retagged bool) bool {
	switch c.kind {
	case ruleKind:
		return w.rule == c.id
	case settingsKind:
		return w.metric == c.id && (retagged || !c.settings.Enabled)
	case deviceKind:
		return w.device == c.id && retagged
	default:
		return w.open && w.mutedUntil != 0
	}
}

// tenant is the configuration of one tenant in this partition, in the order of ids.
type tenant struct {
	rules      []*control
	silences   []*control
	disabled   map[schemas.ID]bool           // metrics
	tags       map[schemas.ID][]*schemas.Tag // set on metrics and devices; their ids never meet
	generation uint64                        // rises with every change that can alter a match
}

// put brings a new control into force, or takes a deleted one out of it.
func (t *tenant) put(c *control) {
	switch c.kind {
	case ruleKind:
		t.generation++
		t.rules = replace(t.rules, c, c.rule != nil)
	case silenceKind:
		t.silences = replace(t.silences, c, c.silence != nil)
	case settingsKind:
		t.generation++
		t.tag(c)
		if t.disabled == nil {
			t.disabled = map[schemas.ID]bool{}
		}
		if c.settings.Enabled {
			delete(t.disabled, c.id)
		} else {
			t.disabled[c.id] = true
		}
	case deviceKind:
		t.generation++
		t.tag(c)
	}
}

func (t *tenant) tag(c *control) {
	if t.tags == nil {
		t.tags = map[schemas.ID][]*schemas.Tag{}
	}
	if len(c.tags) == 0 {
		delete(t.tags, c.id)
		return
	}
	t.tags[c.id] = c.tags
}

// hasTag reports whether a metric bears a tag. Of each key the value set on the
// metric holds, else that set on its device, else that of the payload.
func (t *tenant) hasTag(device, id schemas.ID, m *metric, want *schemas.Tag) bool {
	for _, set := range [...][]*schemas.Tag{t.tags[id], t.tags[device], m.tags()} {
		for _, tag := range set {
			if tag.Key == want.Key {
				return tag.Value == want.Value
			}
		}
	}
	return false
}

func sameTags(a, b []*schemas.Tag) bool {
	return slices.EqualFunc(a, b, func(a, b *schemas.Tag) bool { return a.Key == b.Key && a.Value == b.Value })
}

func replace(list []*control, c *control, inForce bool) []*control {
	i, found := slices.BinarySearchFunc(list, c.id, func(have *control, id schemas.ID) int { return have.id.Compare(id) })
	switch {
	case found && inForce:
		list[i] = c
	case found:
		list = slices.Delete(list, i, i+1)
	case inForce:
		list = slices.Insert(list, i, c)
	}
	return list
}

// rule finds a rule in force.
func (t *tenant) rule(id schemas.ID) *control {
	i, found := slices.BinarySearchFunc(t.rules, id, func(have *control, id schemas.ID) int { return have.id.Compare(id) })
	if !found {
		return nil
	}
	return t.rules[i]
}

// matches reports whether a rule watches a metric; every condition that is given must hold.
func (t *tenant) matches(c *control, device, id schemas.ID, m *metric) bool {
	r := c.rule
	if len(c.devices) > 0 && !slices.Contains(c.devices, device) {
		return false
	}
	if len(c.metrics) > 0 && !slices.Contains(c.metrics, id) {
		return false
	}
	if !globMatch(r.DevicePattern, m.deviceName()) || !globMatch(r.MetricPattern, m.name()) {
		return false
	}
	for _, want := range r.Tags {
		if !t.hasTag(device, id, m, want) {
			return false
		}
	}
	return true
}

// silences reports whether a silence is in force for an event.
func (c *control) silences(rule schemas.ID, m *metric, ts int64) bool {
	s := c.silence
	if ts < s.StartsAt || ts >= s.EndsAt {
		return false
	}
	if c.silenceRule != schemas.Nil && c.silenceRule != rule {
		return false
	}
	return globMatch(s.DevicePattern, m.deviceName()) && globMatch(s.MetricPattern, m.name())
}

// fires reports whether a score meets a rule's condition. A rule with neither a
// score nor a severity asks for any anomaly. Direction and deviation compare the
// value with what was expected; a rule that asks for them is therefore not met
// by a silent or stuck metric, whose value deviates from nothing.
func (c *control) fires(s *schemas.Score) bool {
	r := c.rule
	if !trusted(s) {
		return false
	}
	if r.MinScore > 0 && !(s.AlarmScore >= r.MinScore) {
		return false
	}
	if s.Severity < c.minSeverity() {
		return false
	}
	if len(r.Labels) > 0 && !slices.Contains(r.Labels, s.Label) {
		return false
	}
	deviation := math.Abs(s.Value - s.Expected)
	if r.MinAbsDeviation > 0 && !(deviation >= r.MinAbsDeviation) {
		return false
	}
	if r.MinRelDeviation > 0 && !(deviation > 0 && deviation >= r.MinRelDeviation*math.Abs(s.Expected)) {
		return false
	}
	return c.rightSide(s)
}

// holds reports whether an open alert stays open: its condition is met, or the
// score has not yet fallen below the lower bound of the hysteresis.
func (c *control) holds(s *schemas.Score) bool {
	if c.fires(s) {
		return true
	}
	return c.rule.ResolveScore > 0 && s.AlarmScore >= c.rule.ResolveScore && trusted(s) && c.rightSide(s)
}

func (c *control) rightSide(s *schemas.Score) bool {
	switch c.rule.Direction {
	case schemas.Direction_DIRECTION_UP:
		return s.Value > s.Expected
	case schemas.Direction_DIRECTION_DOWN:
		return s.Value < s.Expected
	default:
		return true
	}
}

func (c *control) minSeverity() schemas.Severity {
	if c.rule.MinScore > 0 || c.rule.MinSeverity > schemas.Severity_SEVERITY_NONE {
		return c.rule.MinSeverity
	}
	return schemas.Severity_SEVERITY_INFO
}

// trusted reports whether a score may alarm: its calibration is complete, or its
// verdict (missing, stuck) needs none.
func trusted(s *schemas.Score) bool {
	return s.WarmUp >= schemas.WarmUp_WARM_UP_LEARNING ||
		s.Label == schemas.Label_LABEL_MISSINGNESS || s.Label == schemas.Label_LABEL_STUCK
}
