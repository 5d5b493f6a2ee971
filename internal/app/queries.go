package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/edgepulse/edgepulse/alerter/deliverer"
	"github.com/edgepulse/edgepulse/gateway"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

// asGateway translates the store's sentinels into the gateway's.
func asGateway(err error) error {
	var limit *store.LimitError
	if errors.As(err, &limit) {
		return fmt.Errorf("%w: %w", err, &gateway.LimitReached{Text: limit.Error()})
	}
	for _, m := range []struct{ from, to error }{
		{store.ErrNotFound, gateway.ErrNotFound}, {store.ErrBadCursor, gateway.ErrBadCursor}, {store.ErrConflict, gateway.ErrVersion},
		{store.ErrInvalid, gateway.ErrInvalid},
		{store.ErrOtherBody, gateway.ErrOtherBody},
		{store.ErrUnknownModel, gateway.ErrUnknownModel}, {store.ErrNoEarlierModel, gateway.ErrNoEarlierModel},
	} {
		if errors.Is(err, m.from) {
			return fmt.Errorf("%w: %w", m.to, err)
		}
	}
	return err
}

func page[T any](p api.Page[T], err error) (api.Page[T], error) { return p, asGateway(err) }
func one[T any](v T, err error) (T, error)                      { return v, asGateway(err) }

// text is the filter form of an id: empty for none.
func text(id schemas.ID) string {
	if id == schemas.Nil {
		return ""
	}
	return id.String()
}

func order(f gateway.SeriesFilter) store.Order {
	if f.OldestFirst {
		return store.Oldest
	}
	return store.Newest
}

// keys finds API keys for the gateway.
type keys struct{ s *store.Store }

func (k keys) LookupKey(ctx context.Context, id string) (gateway.KeyRecord, error) {
	r, err := k.s.LookupKey(ctx, id)
	if err != nil {
		return gateway.KeyRecord{}, asGateway(err)
	}
	out := gateway.KeyRecord{KeyID: r.KeyID, TenantID: r.TenantID, Hash: r.Hash, Scopes: r.Scopes,
		Revoked: r.RevokedAt != nil, TenantDisabled: r.DisabledAt != nil, EdgeHash: r.EdgeHash}
	out.DevicePattern = r.DevicePattern
	out.Limits = gateway.Limits{Plan: r.Plan, PointsPerMonth: limit(r.PointsPerMonth), MaxMetrics: limit(r.MaxMetrics),
		PointsPerSecond: float64(limit(r.PointsPerSecond)), RequestsPerSecond: float64(limit(r.RequestsPerSecond))}
	if r.RevokedAt != nil {
		out.RevokedAt = *r.RevokedAt
	}
	if r.DisabledAt != nil {
		out.DisabledAt = *r.DisabledAt
	}
	if r.ExpiresAt != nil {
		out.ExpiresAt = *r.ExpiresAt
	}
	return out, nil
}

// limit of a plan; 0 = unbounded.
func limit(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

// queries answers the reading and configuring part of the API.
type queries struct {
	s       *store.Store
	tracer  *Tracer
	probe   *deliverer.Probe
	archive stream.Blobs // of models; nil = none
}

func (q queries) Identity(ctx context.Context, t schemas.ID, keyID string) (api.Session, error) {
	return one(q.s.Identity(ctx, t, keyID))
}

func (q queries) Overview(ctx context.Context, t schemas.ID, now time.Time, hours int) (api.Overview, error) {
	return one(q.s.Overview(ctx, t, now, hours))
}

func (q queries) ListDevices(ctx context.Context, t schemas.ID, p api.PageRequest, f gateway.DeviceFilter) (api.Page[api.Device], error) {
	return page(q.s.ListDevices(ctx, t, p, store.DeviceFilter{ExternalID: f.ExternalID, Search: f.Search, Tags: f.Tags, Now: f.Now}))
}

func (q queries) ListMetrics(ctx context.Context, t schemas.ID, p api.PageRequest, f gateway.MetricFilter) (api.Page[api.Metric], error) {
	return page(q.s.ListMetrics(ctx, t, p, store.MetricFilter{DeviceID: text(f.DeviceID), DeviceExternalID: f.DeviceExternalID, Name: f.Name,
		Search: f.Search, Tags: f.Tags, Summary: f.Summary, Now: f.Now}))
}

func (q queries) GetDevice(ctx context.Context, t, device schemas.ID, now time.Time) (api.Device, error) {
	return one(q.s.Device(ctx, t, device.String(), now))
}

func (q queries) GetMetric(ctx context.Context, t, metric schemas.ID, now time.Time) (api.Metric, error) {
	return one(q.s.Metric(ctx, t, metric.String(), now))
}

func (q queries) Series(ctx context.Context, t, metric schemas.ID, r api.Range, buckets int) (api.Series, error) {
	return one(q.s.Series(ctx, t, metric.String(), r, buckets))
}

func (q queries) Datapoints(ctx context.Context, t schemas.ID, p api.PageRequest, f gateway.SeriesFilter) (api.Page[api.Datapoint], error) {
	return page(q.s.Datapoints(ctx, t, f.MetricID.String(), f.Range, p, order(f)))
}

func (q queries) Downsample(ctx context.Context, t, metric schemas.ID, r api.Range, method string, n int) (api.Downsampled, error) {
	return one(q.s.Downsample(ctx, t, metric, r, method, n))
}

func (q queries) Features(ctx context.Context, t schemas.ID, p api.PageRequest, f gateway.SeriesFilter) (api.Page[api.Features], error) {
	return page(q.s.Features(ctx, t, f.MetricID, f.Range, p, order(f)))
}

func (q queries) UpdateMetricSettings(ctx context.Context, t, metric schemas.ID, v api.MetricSettings, ifVersion *uint64) (api.MetricSettings, error) {
	return one(q.s.UpdateMetricSettings(ctx, t, metric, v, ifVersion))
}

func (q queries) UpdateDeviceSettings(ctx context.Context, t, device schemas.ID, v api.DeviceSettings, ifVersion *uint64) (api.DeviceSettings, error) {
	return one(q.s.UpdateDeviceSettings(ctx, t, device, v, ifVersion))
}

func (q queries) ListModels(ctx context.Context, t, metric schemas.ID, p api.PageRequest) (api.Page[api.Model], error) {
	return page(q.s.ListModels(ctx, t, metric, p))
}

func (q queries) GetModel(ctx context.Context, t schemas.ID, version []byte) (api.Model, error) {
	return one(q.s.Model(ctx, t, version))
}

func (q queries) ListSilences(ctx context.Context, t schemas.ID, p api.PageRequest, activeAt time.Time) (api.Page[api.Silence], error) {
	return page(q.s.ListSilences(ctx, t, p, activeAt))
}

func (q queries) GetSilence(ctx context.Context, t, silence schemas.ID) (api.Silence, error) {
	return one(q.s.Silence(ctx, t, silence))
}

func (q queries) CreateSilence(ctx context.Context, t schemas.ID, v api.Silence, once api.RequestKey) (api.Silence, error) {
	return one(q.s.CreateSilence(ctx, t, v, once))
}

func (q queries) UpdateSilence(ctx context.Context, t, id schemas.ID, v api.Silence, ifVersion uint64) (api.Silence, error) {
	return one(q.s.UpdateSilence(ctx, t, id, v, ifVersion))
}

func (q queries) DeleteSilence(ctx context.Context, t, silence schemas.ID, ifVersion uint64) error {
	return asGateway(q.s.DeleteSilence(ctx, t, silence, ifVersion))
}

func (q queries) Scores(ctx context.Context, t schemas.ID, p api.PageRequest, f gateway.SeriesFilter) (api.Page[api.Score], error) {
	return page(q.s.Scores(ctx, t, f.MetricID.String(), f.Range, p, order(f)))
}

func (q queries) Anomalies(ctx context.Context, t schemas.ID, p api.PageRequest, f gateway.AnomalyFilter) (api.Page[api.Score], error) {
	sf := store.AnomalyFilter{MetricID: text(f.MetricID), DeviceID: text(f.DeviceID), MinSeverity: f.MinSeverity, Tags: f.Tags}
	if f.Label != "" {
		sf.Labels = []string{f.Label}
	}
	return page(q.s.Anomalies(ctx, t, sf, f.Range, p))
}

func (q queries) ListAlertEvents(ctx context.Context, t schemas.ID, p api.PageRequest, f gateway.AlertEventFilter) (api.Page[api.AlertEvent], error) {
	return page(q.s.ListAlertEvents(ctx, t, store.AlertFilter{AlertID: text(f.AlertID), RuleID: text(f.RuleID), MetricID: text(f.MetricID),
		DeviceID: text(f.DeviceID), State: f.State, MinSeverity: f.MinSeverity, Tags: f.Tags}, f.Range, p))
}

func (q queries) GetAlertEvent(ctx context.Context, t, event schemas.ID) (api.AlertEvent, error) {
	return one(q.s.AlertEvent(ctx, t, event.String()))
}

func (q queries) TraceEvent(ctx context.Context, t, event schemas.ID) (api.EventTrace, error) {
	out, _, err := q.tracer.Event(ctx, t, event.String())
	return one(out, err)
}

func (q queries) ListAlerts(ctx context.Context, t schemas.ID, p api.PageRequest, f gateway.AlertFilter) (api.Page[api.Alert], error) {
	return page(q.s.ListAlerts(ctx, t, store.FoldedFilter{State: f.State, MinSeverity: f.MinSeverity, Label: f.Label,
		MetricID: text(f.MetricID), DeviceID: text(f.DeviceID), Tags: f.Tags}, p))
}

func (q queries) GetAlert(ctx context.Context, t, alert schemas.ID) (api.Alert, error) {
	return one(q.s.Alert(ctx, t, alert.String()))
}

func (q queries) ListBatches(ctx context.Context, t schemas.ID, p api.PageRequest, onlyRejected bool) (api.Page[api.Receipt], error) {
	return page(q.s.ListReceipts(ctx, t, onlyRejected, p))
}

func (q queries) Receipt(ctx context.Context, t, batch schemas.ID) (api.Receipt, error) {
	return one(q.s.Receipt(ctx, t, batch.String()))
}

func (q queries) AlertsFrom(ctx context.Context, t schemas.ID, partition int, root uint64, skip, limit int) ([]api.AlertEvent, uint64, error) {
	return q.s.AlertsFrom(ctx, t, partition, root, skip, limit)
}

func (q queries) MetricNames(ctx context.Context, t, metric schemas.ID) (device, name string, err error) {
	device, name, err = q.s.MetricNames(ctx, t, metric)
	return device, name, asGateway(err)
}

func (q queries) ListAlertRules(ctx context.Context, t schemas.ID, p api.PageRequest) (api.Page[api.AlertRule], error) {
	return page(q.s.ListAlertRules(ctx, t, p))
}

func (q queries) GetAlertRule(ctx context.Context, t, rule schemas.ID) (api.AlertRule, error) {
	return one(q.s.AlertRule(ctx, t, rule.String()))
}

func (q queries) CreateAlertRule(ctx context.Context, t schemas.ID, rule api.AlertRule, once api.RequestKey) (api.AlertRule, error) {
	return one(q.s.CreateAlertRule(ctx, t, rule, once))
}

func (q queries) UpdateAlertRule(ctx context.Context, t, id schemas.ID, rule api.AlertRule, ifVersion uint64) (api.AlertRule, error) {
	return one(q.s.UpdateAlertRule(ctx, t, id.String(), rule, ifVersion))
}

func (q queries) DeleteAlertRule(ctx context.Context, t, rule schemas.ID, ifVersion uint64) error {
	return asGateway(q.s.DeleteAlertRule(ctx, t, rule.String(), ifVersion))
}

func (q queries) ListWebhooks(ctx context.Context, t schemas.ID, p api.PageRequest) (api.Page[api.Webhook], error) {
	return page(q.s.ListWebhooks(ctx, t, p))
}

func (q queries) GetWebhook(ctx context.Context, t, webhook schemas.ID) (api.Webhook, error) {
	return one(q.s.Webhook(ctx, t, webhook.String()))
}

func (q queries) CreateWebhook(ctx context.Context, t schemas.ID, w api.Webhook, once api.RequestKey) (api.Webhook, error) {
	return one(q.s.CreateWebhook(ctx, t, w, once))
}

func (q queries) UpdateWebhook(ctx context.Context, t, id schemas.ID, w api.Webhook, ifVersion uint64) (api.Webhook, error) {
	return one(q.s.UpdateWebhook(ctx, t, id.String(), w, ifVersion))
}

func (q queries) RotateWebhookSecret(ctx context.Context, t, id schemas.ID) (api.Webhook, error) {
	return one(q.s.RotateWebhookSecret(ctx, t, id.String()))
}

func (q queries) ListDeliveries(ctx context.Context, t, webhook schemas.ID, p api.PageRequest) (api.Page[api.EndpointDelivery], error) {
	return page(q.s.ListDeliveries(ctx, t, webhook.String(), p))
}

// TestWebhook also tests an endpoint that is disabled: whoever mends it wants to know.
func (q queries) TestWebhook(ctx context.Context, t, id schemas.ID) (api.WebhookTest, error) {
	list, err := q.s.Endpoints(ctx, t)
	if err != nil {
		return api.WebhookTest{}, asGateway(err)
	}
	for _, x := range list {
		if x.ID == id {
			return q.probe.Test(ctx, t, endpointOf(x))
		}
	}
	return api.WebhookTest{}, gateway.ErrNotFound
}

func (q queries) DeleteWebhook(ctx context.Context, t, webhook schemas.ID, ifVersion uint64) error {
	return asGateway(q.s.DeleteWebhook(ctx, t, webhook.String(), ifVersion))
}

// relayEvery is how soon a change of configuration is on its way into the logs.
const relayEvery = 250 * time.Millisecond

func startRelay(_ context.Context, a *App) (func(context.Context) error, error) {
	if a.gateway == nil || a.store == nil {
		return nil, errors.New("the relay runs beside a gateway")
	}
	a.observed.relay(a.registry)
	return a.background("relay", (&relay{app: a}).run), nil
}

// relay carries configuration from Postgres into every partition of INGEST: a
// fold knows only what its log told it.
type relay struct{ app *App }

func (r *relay) run(ctx context.Context) error {
	if err := r.checkpoint(ctx); err != nil && ctx.Err() == nil {
		r.app.log.Warn("configuration checkpoint failed", "error", err)
	}
	timer := time.NewTicker(relayEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			n, err := r.app.store.RelayControls(ctx, 100, r.publish)
			r.app.observed.relayed.Add(float64(n))
			if err != nil && ctx.Err() == nil {
				r.app.observed.relayFailures.Inc()
				r.app.log.Warn("relay waits", "error", err)
			}
		}
	}
}

// checkpoint repeats the whole configuration at start, so that the logs hold it
// even when an outbox row was lost with an older copy of the database.
func (r *relay) checkpoint(ctx context.Context) error {
	all, err := r.app.store.AllControls(ctx)
	if err != nil {
		return err
	}
	for _, c := range all {
		if err := r.send(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (r *relay) publish(ctx context.Context, pending []store.PendingControl) error {
	for _, p := range pending {
		c := &schemas.Control{}
		if err := c.UnmarshalVT(p.Payload); err != nil {
			return fmt.Errorf("decode control %d: %w", p.Version, err)
		}
		if err := r.send(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (r *relay) send(ctx context.Context, c *schemas.Control) error {
	all := make([]int, r.app.cfg.NATS.Partitions)
	for p := range all {
		all[p] = p
	}
	return r.app.gateway.AppendControl(ctx, all, c)
}
