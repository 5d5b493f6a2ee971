package gateway

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// shelf answers Queries from memory, each tenant its own: what the handlers do
// with answers is tested here, what the store answers is tested in the store.
type shelf struct {
	mu    sync.Mutex
	rules map[[2]schemas.ID]api.AlertRule
	hooks map[[2]schemas.ID]api.Webhook
	err   error
	asked []any // filters and pages, as they arrived
	page  api.PageRequest
}

// orTrue is what the store makes of a switch that was not given.
func orTrue(b *bool) *bool {
	if b == nil {
		return new(true)
	}
	return b
}

func newShelf() *shelf {
	return &shelf{rules: map[[2]schemas.ID]api.AlertRule{}, hooks: map[[2]schemas.ID]api.Webhook{}}
}

func (s *shelf) note(p api.PageRequest, f any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.page = append(s.asked, f), p
	if p.Cursor == "bad" {
		return fmt.Errorf("read cursor: %w", ErrBadCursor)
	}
	return s.err
}

func (s *shelf) last() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == 0 {
		return nil
	}
	return s.asked[len(s.asked)-1]
}

func (s *shelf) ListDevices(_ context.Context, _ schemas.ID, p api.PageRequest, f DeviceFilter) (api.Page[api.Device], error) {
	return api.Page[api.Device]{}, s.note(p, f)
}

func (s *shelf) ListMetrics(_ context.Context, _ schemas.ID, p api.PageRequest, f MetricFilter) (api.Page[api.Metric], error) {
	return api.Page[api.Metric]{}, s.note(p, f)
}

func (s *shelf) Datapoints(_ context.Context, _ schemas.ID, p api.PageRequest, f SeriesFilter) (api.Page[api.Datapoint], error) {
	return api.Page[api.Datapoint]{}, s.note(p, f)
}

func (s *shelf) Scores(_ context.Context, _ schemas.ID, p api.PageRequest, f SeriesFilter) (api.Page[api.Score], error) {
	return api.Page[api.Score]{}, s.note(p, f)
}

func (s *shelf) Anomalies(_ context.Context, _ schemas.ID, p api.PageRequest, f AnomalyFilter) (api.Page[api.Score], error) {
	return api.Page[api.Score]{}, s.note(p, f)
}

func (s *shelf) ListAlertEvents(_ context.Context, _ schemas.ID, p api.PageRequest, f AlertEventFilter) (api.Page[api.AlertEvent], error) {
	return api.Page[api.AlertEvent]{}, s.note(p, f)
}

func (s *shelf) GetAlertEvent(context.Context, schemas.ID, schemas.ID) (api.AlertEvent, error) {
	return api.AlertEvent{}, ErrNotFound
}

func (s *shelf) Receipt(context.Context, schemas.ID, schemas.ID) (api.Receipt, error) {
	return api.Receipt{}, ErrNotFound
}

func (s *shelf) ListAlertRules(_ context.Context, tenant schemas.ID, p api.PageRequest) (api.Page[api.AlertRule], error) {
	page := api.Page[api.AlertRule]{}
	err := s.note(p, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, r := range s.rules {
		if k[0] == tenant {
			page.Data = append(page.Data, r)
		}
	}
	return page, err
}

func (s *shelf) GetAlertRule(_ context.Context, tenant, id schemas.ID) (api.AlertRule, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.rules[[2]schemas.ID{tenant, id}]
	if !ok {
		return r, ErrNotFound
	}
	return r, nil
}

func (s *shelf) CreateAlertRule(_ context.Context, tenant schemas.ID, rule api.AlertRule, _ api.RequestKey) (api.AlertRule, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, now := schemas.NewID(), time.Now()
	rule.ID, rule.Version, rule.CreatedAt, rule.UpdatedAt, rule.Enabled = id.String(), 1, &now, &now, orTrue(rule.Enabled)
	s.rules[[2]schemas.ID{tenant, id}] = rule
	return rule, nil
}

func (s *shelf) UpdateAlertRule(_ context.Context, tenant, id schemas.ID, rule api.AlertRule, ifVersion uint64) (api.AlertRule, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := [2]schemas.ID{tenant, id}
	old, ok := s.rules[k]
	switch {
	case !ok:
		return rule, ErrNotFound
	case ifVersion > 0 && old.Version != ifVersion:
		return rule, ErrVersion
	}
	rule.ID, rule.Version, rule.CreatedAt, rule.UpdatedAt, rule.Enabled = old.ID, old.Version+1, old.CreatedAt, old.CreatedAt, orTrue(rule.Enabled)
	s.rules[k] = rule
	return rule, nil
}

func (s *shelf) DeleteAlertRule(_ context.Context, tenant, id schemas.ID, ifVersion uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := [2]schemas.ID{tenant, id}
	old, ok := s.rules[k]
	switch {
	case !ok:
		return ErrNotFound
	case ifVersion > 0 && old.Version != ifVersion:
		return ErrVersion
	}
	delete(s.rules, k)
	return nil
}

func (s *shelf) ListWebhooks(_ context.Context, tenant schemas.ID, p api.PageRequest) (api.Page[api.Webhook], error) {
	page := api.Page[api.Webhook]{}
	err := s.note(p, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, h := range s.hooks {
		if k[0] == tenant {
			page.Data = append(page.Data, h)
		}
	}
	return page, err
}

func (s *shelf) GetWebhook(_ context.Context, tenant, id schemas.ID) (api.Webhook, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.hooks[[2]schemas.ID{tenant, id}]
	if !ok {
		return h, ErrNotFound
	}
	return h, nil
}

func (s *shelf) CreateWebhook(_ context.Context, tenant schemas.ID, hook api.Webhook, _ api.RequestKey) (api.Webhook, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, now := schemas.NewID(), time.Now()
	hook.ID, hook.Secret, hook.Version, hook.CreatedAt, hook.Enabled = id.String(), "whsec_test", 1, &now, orTrue(hook.Enabled)
	s.hooks[[2]schemas.ID{tenant, id}] = hook
	return hook, nil
}

func (s *shelf) DeleteWebhook(_ context.Context, tenant, id schemas.ID, _ uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := [2]schemas.ID{tenant, id}
	if _, ok := s.hooks[k]; !ok {
		return ErrNotFound
	}
	delete(s.hooks, k)
	return nil
}

func (s *shelf) Identity(context.Context, schemas.ID, string) (api.Session, error) {
	return api.Session{TenantName: "acme", KeyName: "laptop"}, s.err
}

func (s *shelf) Overview(_ context.Context, _ schemas.ID, _ time.Time, hours int) (api.Overview, error) {
	return api.Overview{}, s.note(api.PageRequest{}, hours)
}

func (s *shelf) GetDevice(context.Context, schemas.ID, schemas.ID, time.Time) (api.Device, error) {
	return api.Device{}, ErrNotFound
}

func (s *shelf) GetMetric(context.Context, schemas.ID, schemas.ID, time.Time) (api.Metric, error) {
	return api.Metric{}, ErrNotFound
}

func (s *shelf) Series(_ context.Context, _, metric schemas.ID, r api.Range, buckets int) (api.Series, error) {
	return api.Series{MetricID: metric.String(), From: r.From, To: r.To, Points: []api.SeriesPoint{}, Anomalies: []api.Score{}}, s.note(api.PageRequest{Limit: buckets}, r)
}

func (s *shelf) TraceEvent(context.Context, schemas.ID, schemas.ID) (api.EventTrace, error) {
	return api.EventTrace{}, ErrNotFound
}

func (s *shelf) ListAlerts(_ context.Context, _ schemas.ID, p api.PageRequest, f AlertFilter) (api.Page[api.Alert], error) {
	return api.Page[api.Alert]{}, s.note(p, f)
}

func (s *shelf) GetAlert(context.Context, schemas.ID, schemas.ID) (api.Alert, error) {
	return api.Alert{}, ErrNotFound
}

func (s *shelf) ListBatches(_ context.Context, _ schemas.ID, p api.PageRequest, onlyRejected bool) (api.Page[api.Receipt], error) {
	return api.Page[api.Receipt]{}, s.note(p, onlyRejected)
}

func (s *shelf) UpdateWebhook(_ context.Context, tenant, id schemas.ID, hook api.Webhook, ifVersion uint64) (api.Webhook, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := [2]schemas.ID{tenant, id}
	old, ok := s.hooks[k]
	switch {
	case !ok:
		return hook, ErrNotFound
	case ifVersion > 0 && old.Version != ifVersion:
		return hook, ErrVersion
	}
	hook.ID, hook.Version, hook.CreatedAt, hook.Enabled = id.String(), old.Version+1, old.CreatedAt, orTrue(hook.Enabled)
	s.hooks[k] = hook
	return hook, nil
}

func (s *shelf) RotateWebhookSecret(_ context.Context, tenant, id schemas.ID) (api.Webhook, error) {
	hook, err := s.GetWebhook(context.Background(), tenant, id)
	hook.Secret = "whsec_next"
	return hook, err
}

func (s *shelf) Downsample(_ context.Context, _, _ schemas.ID, r api.Range, method string, n int) (api.Downsampled, error) {
	return api.Downsampled{Data: []api.DownsampledPoint{}, Method: method}, s.note(api.PageRequest{Limit: n}, r)
}

func (s *shelf) Features(_ context.Context, _ schemas.ID, p api.PageRequest, f SeriesFilter) (api.Page[api.Features], error) {
	return api.Page[api.Features]{}, s.note(p, f)
}

func (s *shelf) ListModels(_ context.Context, _, metric schemas.ID, p api.PageRequest) (api.Page[api.Model], error) {
	return api.Page[api.Model]{}, s.note(p, metric)
}

func (s *shelf) GetModel(context.Context, schemas.ID, []byte) (api.Model, error) {
	return api.Model{}, ErrNotFound
}

func (s *shelf) DiffModels(context.Context, schemas.ID, []byte, []byte, int) (api.ModelDiff, error) {
	return api.ModelDiff{}, ErrNotFound
}

func (s *shelf) GetMetricModel(context.Context, schemas.ID, schemas.ID) (api.MetricModel, error) {
	return api.MetricModel{}, ErrNotFound
}

func (s *shelf) PinModel(context.Context, schemas.ID, schemas.ID, []byte, *uint64) (api.MetricModel, error) {
	return api.MetricModel{}, ErrUnknownModel
}

func (s *shelf) UnpinModel(context.Context, schemas.ID, schemas.ID, *uint64) error {
	return ErrNotFound
}

func (s *shelf) RollBackModel(context.Context, schemas.ID, schemas.ID, *uint64, api.RequestKey) (api.MetricModel, error) {
	return api.MetricModel{}, ErrNoEarlierModel
}

func (s *shelf) UpdateDeviceSettings(_ context.Context, _, _ schemas.ID, v api.DeviceSettings, _ *uint64) (api.DeviceSettings, error) {
	return v, nil
}

func (s *shelf) UpdateMetricSettings(_ context.Context, _, _ schemas.ID, v api.MetricSettings, _ *uint64) (api.MetricSettings, error) {
	return v, ErrNotFound
}

func (s *shelf) ListSilences(_ context.Context, _ schemas.ID, p api.PageRequest, at time.Time) (api.Page[api.Silence], error) {
	return api.Page[api.Silence]{}, s.note(p, at)
}

func (s *shelf) GetSilence(context.Context, schemas.ID, schemas.ID) (api.Silence, error) {
	return api.Silence{}, ErrNotFound
}

func (s *shelf) CreateSilence(_ context.Context, _ schemas.ID, v api.Silence, _ api.RequestKey) (api.Silence, error) {
	return v, s.note(api.PageRequest{}, v)
}

func (s *shelf) UpdateSilence(_ context.Context, _, _ schemas.ID, v api.Silence, _ uint64) (api.Silence, error) {
	return v, ErrNotFound
}

func (s *shelf) DeleteSilence(context.Context, schemas.ID, schemas.ID, uint64) error {
	return ErrNotFound
}

func (s *shelf) TestWebhook(_ context.Context, tenant, id schemas.ID) (api.WebhookTest, error) {
	if _, err := s.GetWebhook(context.Background(), tenant, id); err != nil {
		return api.WebhookTest{}, err
	}
	return api.WebhookTest{Outcome: "delivered", Status: 200}, nil
}

func (s *shelf) AlertsFrom(context.Context, schemas.ID, int, uint64, int, int) ([]api.AlertEvent, uint64, error) {
	return nil, 0, s.err
}

func (s *shelf) MetricNames(context.Context, schemas.ID, schemas.ID) (string, string, error) {
	return "", "", ErrNotFound
}

func (s *shelf) ListDeliveries(ctx context.Context, tenant, id schemas.ID, p api.PageRequest) (api.Page[api.EndpointDelivery], error) {
	if _, err := s.GetWebhook(ctx, tenant, id); err != nil {
		return api.Page[api.EndpointDelivery]{}, err
	}
	return api.Page[api.EndpointDelivery]{}, s.note(p, id)
}
