package replay

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/edgepulse/edgepulse/internal/client"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// Served is what holding an API's answers against a recomputation gave.
type Served struct {
	Scores, Alerts int // compared
	Differing      int
	Listed         []string // the first differences, for people
}

const listedMost = 20

// errNothingServed says that a filtered shadow has nothing of the key's tenant.
var errNothingServed = errors.New("the shadow holds no score of this key's tenant: it is another tenant's, or the range has none")

// CompareServed asks the API for scores and alert events of the key's tenant and
// compares them, field by field, with what the shadow recomputed for the roots
// that were asked for. What the API has and the shadow not, differs too.
func (s *Shadow) CompareServed(ctx context.Context, c *client.Client) (Served, error) {
	var out Served
	metrics, err := tenantMetrics(ctx, c)
	if err != nil {
		return out, fmt.Errorf("list metrics: %w", err)
	}
	for _, part := range s.Plan.Parts {
		e, err := s.expected(ctx, part, metrics)
		if err != nil {
			return out, err
		}
		for _, metric := range slices.Sorted(maps.Keys(e.scores)) {
			if err := e.compareScores(ctx, c, metric, &out); err != nil {
				return out, fmt.Errorf("compare scores of metric %s: %w", metric, err)
			}
		}
		if err := e.compareAlerts(ctx, c, &out); err != nil {
			return out, fmt.Errorf("compare alert events: %w", err)
		}
	}
	if out.Scores == 0 {
		return out, errNothingServed
	}
	return out, nil
}

func tenantMetrics(ctx context.Context, c *client.Client) (map[string]bool, error) {
	out := map[string]bool{}
	err := pages(ctx, c, "/v1/metrics", url.Values{"limit": {"1000"}}, func(m api.Metric) { out[m.ID] = true })
	return out, err
}

// pages reads all pages of a list.
func pages[T any](ctx context.Context, c *client.Client, path string, q url.Values, each func(T)) error {
	for {
		var page api.Page[T]
		if err := c.Get(ctx, path, q, &page); err != nil {
			return err
		}
		for _, v := range page.Data {
			each(v)
		}
		if !page.HasMore {
			return nil
		}
		q.Set("cursor", page.NextCursor)
	}
}

// expectation is what the API should say of one partition.
type expectation struct {
	part   Part
	filter Filter
	scores map[string]map[scoreKey]api.Score // by metric
	alerts map[string]api.AlertEvent         // by event
	from   time.Time                         // of the alert events
	to     time.Time
}

type scoreKey struct {
	root uint64
	ts   int64
	tick bool
}

func (s *Shadow) expected(ctx context.Context, part Part, metrics map[string]bool) (*expectation, error) {
	e := &expectation{part: part, filter: s.filter, scores: map[string]map[scoreKey]api.Score{}, alerts: map[string]api.AlertEvent{}}
	for _, log := range []stream.LogName{stream.Scores, stream.Alerts} {
		err := s.deps.Broker.Scan(ctx, log.In(s.Name), part.Partition, part.From-1, part.To, func(root uint64, _ int, raw []byte) error {
			if kind := schemas.KindOf(raw); kind != schemas.KindScore && kind != schemas.KindAlertEvent {
				return nil
			}
			if keep, err := s.filter.output(raw); err != nil || !keep {
				return err
			}
			entry := &schemas.Entry{}
			if err := entry.UnmarshalVT(raw); err != nil {
				return fmt.Errorf("decode entry of root %d: %w", root, err)
			}
			if v := entry.GetScore(); v != nil && metrics[idText(v.MetricId)] {
				e.score(root, v)
			}
			if v := entry.GetAlertEvent(); v != nil && metrics[idText(v.MetricId)] {
				e.alert(root, v)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (e *expectation) score(root uint64, v *schemas.Score) {
	id := idText(v.MetricId)
	if e.scores[id] == nil {
		e.scores[id] = map[scoreKey]api.Score{}
	}
	e.scores[id][scoreKey{root, v.Ts, v.Tick}] = api.Score{MetricID: id, DeviceID: idText(v.DeviceId), TS: instant(v.Ts),
		WindowStart: instant(v.WindowStart), WindowEnd: instant(v.WindowEnd), Value: number(v.Value), Score: number(v.Score), AlarmScore: number(v.AlarmScore),
		Severity: v.Severity.Word(), Label: notNone(v.Label.Word()), SubLabel: notNone(v.SubLabel.Word()),
		Expected: finite(v.Expected), Lower: finite(v.Lower), Upper: finite(v.Upper), Explanation: v.Explanation,
		Contributors: contributions(v.Contributors), WarmUp: v.WarmUp.Word(), WarmUpETA: float64(v.WarmUpEtaUs) / 1e6,
		ModelVersion: hex.EncodeToString(v.ModelVersion), Tick: v.Tick, Backfill: v.Backfill, Root: root}
}

func (e *expectation) alert(root uint64, v *schemas.AlertEvent) {
	at := instant(v.Ts)
	if e.from.IsZero() || at.Before(e.from) {
		e.from = at
	}
	if !at.Before(e.to) {
		e.to = at.Add(time.Microsecond)
	}
	e.alerts[idText(v.EventId)] = api.AlertEvent{EventID: idText(v.EventId), AlertID: idText(v.AlertId), RuleID: idText(v.RuleId), RuleName: v.RuleName,
		TenantID: idText(v.TenantId), DeviceID: idText(v.DeviceId), DeviceExternalID: v.DeviceExternalId, MetricID: idText(v.MetricId),
		MetricName: v.MetricName, Unit: v.Unit, State: v.State.Word(), Ordinal: v.Ordinal, OpenedAt: instant(v.OpenedAt), TS: at,
		WindowStart: instant(v.WindowStart), WindowEnd: instant(v.WindowEnd), Value: number(v.Value), Score: number(v.Score), AlarmScore: number(v.AlarmScore),
		Expected: finite(v.Expected), Lower: finite(v.Lower), Upper: finite(v.Upper), Severity: v.Severity.Word(), Label: v.Label.Word(),
		SubLabel: notNone(v.SubLabel.Word()), Explanation: v.Explanation, Contributors: contributions(v.Contributors), Backfill: v.Backfill,
		Notified: v.Notify, SuppressedBy: v.SuppressedBy, Root: root, Partition: e.part.Partition}
}

// projectionLag is how long an API may lack what the logs have: projections
// follow them.
const projectionLag = 10 * time.Second

// patiently repeats a comparison while the API may not have all yet; the last
// one counts.
func patiently(ctx context.Context, compare func() (missing int, found Served, err error), into *Served) error {
	for until := time.Now().Add(projectionLag); ; {
		missing, found, err := compare()
		if err != nil {
			return err
		}
		if missing == 0 || time.Now().After(until) {
			into.Scores, into.Alerts, into.Differing = into.Scores+found.Scores, into.Alerts+found.Alerts, into.Differing+found.Differing
			into.Listed = append(into.Listed, found.Listed[:min(len(found.Listed), listedMost-min(listedMost, len(into.Listed)))]...)
			return nil
		}
		if err := wait(ctx, time.Second); err != nil {
			return err
		}
	}
}

func (e *expectation) compareScores(ctx context.Context, c *client.Client, metric string, out *Served) error {
	want := e.scores[metric]
	from, to := int64(math.MaxInt64), int64(math.MinInt64)
	for k := range want {
		from, to = min(from, k.ts), max(to, k.ts)
	}
	return patiently(ctx, func() (int, Served, error) {
		found, left := Served{}, maps.Clone(want)
		q := url.Values{"metric_id": {metric}, "limit": {"10000"}, "order": {"oldest"},
			"from": {instant(from).Format(time.RFC3339Nano)}, "to": {instant(to + 1).Format(time.RFC3339Nano)}}
		err := pages(ctx, c, "/v1/scores", q, func(v api.Score) {
			if v.Root < e.part.From || v.Root > e.part.To {
				return
			}
			v.DeviceExternalID, v.MetricName = "", "" // of the device's row, not of the score
			key := scoreKey{v.Root, v.TS.UnixMicro(), v.Tick}
			found.Scores++
			w, ok := left[key]
			delete(left, key)
			found.compare(fmt.Sprintf("score of metric %s at %s (root %d)", metric, v.TS.Format(time.RFC3339Nano), v.Root), v, w, ok)
		})
		for _, k := range slices.SortedFunc(maps.Keys(left), func(a, b scoreKey) int { return int(int64(a.root) - int64(b.root)) }) {
			found.Scores++
			found.differs(fmt.Sprintf("score of metric %s at %s (root %d): not served", metric, instant(k.ts).Format(time.RFC3339Nano), k.root))
		}
		return len(left), found, err
	}, out)
}

func (e *expectation) compareAlerts(ctx context.Context, c *client.Client, out *Served) error {
	if len(e.alerts) == 0 {
		return nil
	}
	return patiently(ctx, func() (int, Served, error) {
		found, left := Served{}, maps.Clone(e.alerts)
		q := url.Values{"limit": {"1000"}, "from": {e.from.Format(time.RFC3339Nano)}, "to": {e.to.Format(time.RFC3339Nano)}}
		err := pages(ctx, c, "/v1/alert-events", q, func(v api.AlertEvent) {
			if v.Partition != e.part.Partition || v.Root < e.part.From || v.Root > e.part.To || e.filter.Device != "" && v.DeviceExternalID != e.filter.Device {
				return
			}
			found.Alerts++
			w, ok := left[v.EventID]
			delete(left, v.EventID)
			found.compare(fmt.Sprintf("alert event %s (root %d)", v.EventID, v.Root), v, w, ok)
		})
		for _, id := range slices.Sorted(maps.Keys(left)) {
			found.Alerts++
			found.differs(fmt.Sprintf("alert event %s (root %d): not served", id, left[id].Root))
		}
		return len(left), found, err
	}, out)
}

func (f *Served) differs(what string) {
	f.Differing++
	if len(f.Listed) < listedMost {
		f.Listed = append(f.Listed, what)
	}
}

// compare holds two JSON objects against each other.
func (f *Served) compare(what string, got, want any, known bool) {
	if !known {
		f.differs(what + ": served, but not recomputed")
		return
	}
	g, w := fieldsOf(got), fieldsOf(want)
	for _, name := range slices.Sorted(maps.Keys(w)) {
		if g[name] != w[name] {
			f.differs(fmt.Sprintf("%s: %s is %s, recomputed %s", what, name, orNothing(g[name]), orNothing(w[name])))
			return
		}
	}
	for name := range g {
		if _, ok := w[name]; !ok {
			f.differs(fmt.Sprintf("%s: %s is %s, recomputed nothing", what, name, g[name]))
			return
		}
	}
}

// fieldsOf is an object of the API by field, each as JSON.
func fieldsOf(v any) map[string]string {
	b, err := json.Marshal(v)
	var fields map[string]json.RawMessage
	if err != nil || json.Unmarshal(b, &fields) != nil {
		return map[string]string{"object": strconv.Quote(fmt.Sprint(v))}
	}
	out := map[string]string{}
	for k, f := range fields {
		out[k] = string(f)
	}
	return out
}

func idText(b []byte) string {
	id, err := schemas.IDFrom(b)
	if err != nil {
		return hex.EncodeToString(b)
	}
	return id.String()
}

func instant(us int64) time.Time { return time.UnixMicro(us).UTC() }

// finite is nil for what JSON can't write, as the API has it.
func finite(f float64) *float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &f
}

func number(f float64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}

func notNone(word string) string {
	if word == "none" {
		return ""
	}
	return word
}

func contributions(list []*schemas.Contribution) []api.Contribution {
	var out []api.Contribution
	for _, c := range list {
		out = append(out, api.Contribution{Name: c.Name, Share: c.Share})
	}
	return out
}
