package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/edgepulse/edgepulse/internal/client"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

type modelCmd struct {
	Ls       modelLsCmd       `cmd:"" aliases:"list" help:"List the models of a metric, the newest first."`
	Diff     modelDiffCmd     `cmd:"" help:"Say what a change to another model would change."`
	Pin      modelPinCmd      `cmd:"" help:"Hold a metric at one of its models."`
	Unpin    modelUnpinCmd    `cmd:"" help:"Let a metric score with its own model again."`
	Rollback modelRollbackCmd `cmd:"" help:"Pin the model before the one in use."`
}

func (modelCmd) Help() string {
	return `A metric makes a new model now and then, from a sample of its own past. Pinned to one, it keeps scoring with that
one and makes no other. Changing a pin needs a key with the scope admin.

Examples:
  edgepulse model ls press-1/temperature
  edgepulse model diff press-1/temperature 3fa91c
  edgepulse model pin press-1/temperature 3fa91c
  edgepulse model rollback press-1/temperature
  edgepulse model unpin press-1/temperature`
}

// modelArg is what the commands have in common: a service and a metric.
type modelArg struct {
	remote
	Metric string `arg:"" help:"The metric: device/name, or its id."`
}

// metric finds the id of the metric.
func (m modelArg) metric(ctx context.Context, c *client.Client) (string, error) {
	if id, err := schemas.ParseID(m.Metric); err == nil {
		return id.String(), nil
	}
	device, name := m.Metric, ""
	if i := strings.LastIndex(m.Metric, "/"); i >= 0 {
		device, name = m.Metric[:i], m.Metric[i+1:]
	}
	if device == "" || name == "" {
		return "", fmt.Errorf("%q: expected device/name or the id of a metric", m.Metric)
	}
	var page api.Page[api.Metric]
	if err := c.Get(ctx, "/v1/metrics", url.Values{"device_external_id": {device}, "name": {name}}, &page); err != nil {
		return "", err
	}
	if len(page.Data) != 1 {
		return "", fmt.Errorf("device %q has no metric %q", device, name)
	}
	return page.Data[0].ID, nil
}

// versionLength is that of a whole version, shortVersion that of one for the eye.
const (
	versionLength = 64
	shortVersion  = 12
)

// version completes the beginning of one.
func (m modelArg) version(ctx context.Context, c *client.Client, metric, begins string) (string, error) {
	if len(begins) == versionLength {
		return begins, nil
	}
	found := ""
	for cursor := ""; ; {
		q := url.Values{"metric_id": {metric}, "limit": {"1000"}}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		var page api.Page[api.Model]
		if err := c.Get(ctx, "/v1/models", q, &page); err != nil {
			return "", err
		}
		for _, v := range page.Data {
			switch {
			case !strings.HasPrefix(v.Version, begins):
			case found != "":
				return "", fmt.Errorf("%q begins more than one version: %s and %s", begins, brief(found), brief(v.Version))
			default:
				found = v.Version
			}
		}
		if cursor = page.NextCursor; !page.HasMore {
			break
		}
	}
	if found == "" {
		return "", fmt.Errorf("%s has no model %q; `edgepulse model ls %s` lists them", m.Metric, begins, m.Metric)
	}
	return found, nil
}

func brief(version string) string { return version[:min(len(version), shortVersion)] }

type modelLsCmd struct {
	modelArg
	Limit int  `help:"At most so many." default:"20"`
	JSON  bool `help:"As the API gives it."`
}

func (c *modelLsCmd) Run(ctx context.Context) error {
	service, err := c.client()
	if err != nil {
		return err
	}
	metric, err := c.metric(ctx, service)
	if err != nil {
		return err
	}
	var page api.Page[api.Model]
	if err := service.Get(ctx, "/v1/models", url.Values{"metric_id": {metric}, "limit": {strconv.Itoa(c.Limit)}}, &page); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(page)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "VERSION\tMADE\tROWS SEEN\tROOT\tSTATE")
	for _, m := range page.Data {
		state := ""
		switch {
		case m.Pinned:
			state = "in use, pinned"
		case m.InUse:
			state = "in use"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\n", brief(m.Version), m.TS.Format(time.DateTime), m.Rows, m.Root, state)
	}
	return w.Flush()
}

type modelDiffCmd struct {
	modelArg
	Model       string `arg:"" help:"Version of a model, or how it begins."`
	Against     string `help:"The model to compare with; default the one in use." placeholder:"VERSION"`
	Evaluations int    `help:"How many of the last evaluations to score with both." default:"500"`
	JSON        bool   `help:"As the API gives it."`
}

func (c *modelDiffCmd) Run(ctx context.Context) error {
	service, err := c.client()
	if err != nil {
		return err
	}
	metric, err := c.metric(ctx, service)
	if err != nil {
		return err
	}
	to, err := c.version(ctx, service, metric, c.Model)
	if err != nil {
		return err
	}
	q := url.Values{"evaluations": {strconv.Itoa(c.Evaluations)}}
	if c.Against != "" {
		against, err := c.version(ctx, service, metric, c.Against)
		if err != nil {
			return err
		}
		q.Set("against", against)
	}
	var d api.ModelDiff
	if err := service.Get(ctx, "/v1/models/"+to+"/diff", q, &d); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(d)
	}
	return printDiff(os.Stdout, &d)
}

func printDiff(out io.Writer, d *api.ModelDiff) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "%s/%s\tfrom %s\tto %s\n", d.DeviceExternalID, d.MetricName, brief(d.From.Model.Version), brief(d.To.Model.Version))
	row := func(name string, of func(*api.ModelShape) string) {
		fmt.Fprintf(w, "%s\t%s\t%s\n", name, of(&d.From), of(&d.To))
	}
	row("made", func(s *api.ModelShape) string { return s.Model.TS.Format(time.DateTime) })
	row("rows seen", func(s *api.ModelShape) string { return strconv.FormatInt(s.Model.Rows, 10) })
	row("trees, nodes, mean depth", func(s *api.ModelShape) string { return fmt.Sprintf("%d, %d, %.2f", s.Trees, s.Nodes, s.MeanDepth) })
	for i := range d.To.Features {
		row("  "+d.To.Features[i].Name, func(s *api.ModelShape) string {
			f := s.Features[i]
			return fmt.Sprintf("%s..%s, %.1f %% of splits at depth %.1f", figure(f.Min), figure(f.Max), 100*f.SplitShare, f.SplitDepth)
		})
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print difference: %w", err)
	}
	ch := d.Changes
	if ch == nil {
		fmt.Fprintln(out, "\nA model of before its metric's first value was kept with it: the evaluations can't be scored anew.")
		return nil
	}
	fmt.Fprintf(out, "\nOver the last %d evaluations:\n", ch.Evaluations)
	fmt.Fprintf(w, "difference\tmean\tlargest\nof the forests\t%.4f\t%.4f\nof the scores\t%.4f\t%.4f\n", ch.Forest.Mean, ch.Forest.Max, ch.Score.Mean, ch.Score.Max)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print difference: %w", err)
	}
	fmt.Fprintf(out, "warnings: %d, with the other model %d; %d evaluations cross the threshold\n", ch.Warnings.From, ch.Warnings.To, ch.Warnings.Changed)
	if len(ch.Largest) == 0 || ch.Score.Max == 0 && ch.Forest.Max == 0 {
		return nil
	}
	fmt.Fprintln(out, "\nThe largest:")
	fmt.Fprintln(w, "TIME\tVALUE\tSCORE\tBECOMES\tFOREST\tBECOMES\tSEVERITY")
	for _, at := range ch.Largest {
		fmt.Fprintf(w, "%s\t%s\t%.3f\t%.3f\t%.3f\t%.3f\t%s\n", at.TS.Format(time.DateTime), figure(at.Value), at.From.Score, at.To.Score, at.From.Forest, at.To.Forest,
			first(at.From.Severity, "-")+" -> "+first(at.To.Severity, "-"))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print difference: %w", err)
	}
	return nil
}

type modelPinCmd struct {
	modelArg
	Model string `arg:"" help:"Version of a model, or how it begins."`
}

func (c *modelPinCmd) Run(ctx context.Context) error {
	return c.change(ctx, func(service *client.Client, metric string) error {
		version, err := c.version(ctx, service, metric, c.Model)
		if err != nil {
			return err
		}
		body, err := json.Marshal(map[string]string{"version": version})
		if err != nil {
			return fmt.Errorf("encode body: %w", err)
		}
		var m api.MetricModel
		if err := service.Do(ctx, http.MethodPut, "/v1/metrics/"+metric+"/model", body, http.Header{"Content-Type": {"application/json"}}, &m); err != nil {
			return err
		}
		fmt.Printf("pinned to %s; scores carry it within a moment, `edgepulse model unpin %s` takes it off\n", brief(m.InUse), c.Metric)
		return nil
	})
}

type modelUnpinCmd struct{ modelArg }

func (c *modelUnpinCmd) Run(ctx context.Context) error {
	return c.change(ctx, func(service *client.Client, metric string) error {
		if err := service.Do(ctx, http.MethodDelete, "/v1/metrics/"+metric+"/model", nil, nil, nil); err != nil {
			return err
		}
		fmt.Println("not pinned; the next evaluation is scored with the metric's own model")
		return nil
	})
}

type modelRollbackCmd struct{ modelArg }

func (c *modelRollbackCmd) Run(ctx context.Context) error {
	return c.change(ctx, func(service *client.Client, metric string) error {
		var m api.MetricModel
		if err := service.Post(ctx, "/v1/metrics/"+metric+"/model/rollback", struct{}{}, &m); err != nil {
			return err
		}
		fmt.Printf("rolled back to %s, and pinned there; `edgepulse model unpin %s` takes it off\n", brief(m.InUse), c.Metric)
		return nil
	})
}

func (m modelArg) change(ctx context.Context, fn func(service *client.Client, metric string) error) error {
	service, err := m.client()
	if err != nil {
		return err
	}
	metric, err := m.metric(ctx, service)
	if err != nil {
		return err
	}
	return fn(service, metric)
}

func printJSON(v any) error {
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
