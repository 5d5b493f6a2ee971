// Package demo makes a service show itself: a small fleet with a history, live
// sensors with anomalies in rounds, rules, and an inbox for the webhooks.
//
// What comes in: a client of the service's API; all goes through it as it would
// from outside. What goes out: rules, an endpoint, points, and what the inbox
// received. Order: rules and endpoint, history, then live. State: demo.json and
// demo-inbox.jsonl in the data folder, so that a later run goes on. Failure: what
// fails at the start ends the run; a live request that fails is sent again.
package demo

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgepulse/edgepulse/internal/client"
	"github.com/edgepulse/edgepulse/internal/simulate"
	"github.com/edgepulse/edgepulse/internal/simulate/play"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// InboxPath is where the inbox is served.
const InboxPath = "/demo/inbox"

// Demo is the demo of one data folder.
type Demo struct {
	Inbox *Inbox

	api   *client.Client
	log   *slog.Logger
	file  string
	state state
}

// Open reads what earlier runs left in the data folder.
func Open(dir string, log *slog.Logger) (*Demo, error) {
	d := &Demo{log: log, file: filepath.Join(dir, "demo.json")}
	var err error
	if d.state, err = loadState(d.file); err != nil {
		return nil, err
	}
	if d.Inbox, err = OpenInbox(filepath.Join(dir, "demo-inbox.jsonl")); err != nil {
		return nil, err
	}
	if d.state.Secret != "" {
		// At once: deliveries that were due go out before anything else happens.
		err = d.Inbox.Trust(d.state.Secret)
	}
	return d, err
}

// Prepare makes rules, endpoint and history where they are missing, and returns
// when the models have learned it. base is the service's own address.
func (d *Demo) Prepare(ctx context.Context, c *client.Client, base string, progress func(points int)) error {
	d.api = c
	if err := d.rules(ctx); err != nil {
		return err
	}
	if err := d.endpoint(ctx, base+InboxPath); err != nil {
		return err
	}
	if d.state.HistoryDone {
		return nil
	}
	return d.history(ctx, progress)
}

func (d *Demo) rules(ctx context.Context) error {
	var have api.Page[api.AlertRule]
	if err := d.api.Get(ctx, "/v1/alert-rules", url.Values{"limit": {"1000"}}, &have); err != nil {
		return fmt.Errorf("list rules: %w", err)
	}
	if d.state.Webhook != "" {
		return nil // a rule that was deleted since stays deleted
	}
	for _, r := range Rules() {
		if slices.ContainsFunc(have.Data, func(h api.AlertRule) bool { return h.Name == r.Name }) {
			continue
		}
		if err := d.api.Post(ctx, "/v1/alert-rules", r, nil); err != nil {
			return fmt.Errorf("make rule %q: %w", r.Name, err)
		}
	}
	return nil
}

// endpoint points a webhook at the inbox. A secret is shown once, so an endpoint
// whose secret is not known, or that points at a former address, is replaced.
func (d *Demo) endpoint(ctx context.Context, target string) error {
	if d.state.Webhook != "" && d.state.URL == target {
		return nil
	}
	var have api.Page[api.Webhook]
	if err := d.api.Get(ctx, "/v1/webhooks", url.Values{"limit": {"1000"}}, &have); err != nil {
		return fmt.Errorf("list webhooks: %w", err)
	}
	for _, w := range have.Data {
		if w.URL == target || w.ID == d.state.Webhook {
			if err := d.api.Do(ctx, "DELETE", "/v1/webhooks/"+w.ID, nil, nil, nil); err != nil {
				return fmt.Errorf("remove former webhook: %w", err)
			}
		}
	}
	var made api.Webhook
	if err := d.api.Post(ctx, "/v1/webhooks", api.Webhook{URL: target, Description: "inbox of the demo"}, &made); err != nil {
		return fmt.Errorf("make webhook: %w", err)
	}
	d.state.Webhook, d.state.URL, d.state.Secret = made.ID, target, made.Secret
	if err := d.state.save(d.file); err != nil {
		return err
	}
	return d.Inbox.Trust(made.Secret)
}

func (d *Demo) history(ctx context.Context, progress func(int)) error {
	if d.state.HistoryTo.IsZero() {
		d.state.HistoryTo = time.Now().UTC().Truncate(time.Second)
		d.state.HistoryFrom = d.state.HistoryTo.Add(-historyLen)
		if err := d.state.save(d.file); err != nil {
			return err
		}
	}
	fleet, err := simulate.New(History(d.state.HistoryFrom))
	if err != nil {
		return err
	}
	if _, err := play.History(ctx, d.api, fleet, d.state.HistoryTo, play.Options{Keep: Keep, Progress: progress}); err != nil {
		return err
	}
	if err := d.learned(ctx); err != nil {
		return fmt.Errorf("wait for the models: %w", err)
	}
	d.state.HistoryDone, d.state.SentTo = true, d.state.HistoryTo
	return d.state.save(d.file)
}

// learned waits until the last score of every metric is of the history's end and
// its model is trusted.
func (d *Demo) learned(ctx context.Context) error {
	want := 0
	last, err := simulate.New(History(d.state.HistoryTo.Add(-historyStep)))
	if err != nil {
		return err
	}
	for p := range last.Until(d.state.HistoryTo) {
		if Keep(p) {
			want++
		}
	}
	var metrics api.Page[api.Metric]
	for {
		if err := d.api.Get(ctx, "/v1/metrics", url.Values{"limit": {"1000"}}, &metrics); err != nil {
			return err
		}
		if len(metrics.Data) >= want {
			break
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, m := range metrics.Data {
		g.Go(func() error { return d.trusted(ctx, m) })
	}
	return g.Wait()
}

func (d *Demo) trusted(ctx context.Context, m api.Metric) error {
	for {
		var scores api.Page[api.Score]
		if err := d.api.Get(ctx, "/v1/scores", url.Values{"metric_id": {m.ID}, "limit": {"1"}}, &scores); err != nil {
			return err
		}
		if len(scores.Data) == 1 && scores.Data[0].WarmUp == "trusted" && !scores.Data[0].TS.Before(d.state.HistoryTo.Add(-historyStep)) {
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}
