package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edgepulse/edgepulse/internal/client"
	"github.com/edgepulse/edgepulse/schemas/api"
)

type alertsCmd struct {
	Tail alertsTailCmd `cmd:"" help:"Show alert events as they happen."`
}

type alertsTailCmd struct {
	remote
	Since       time.Duration `help:"Begin with the events of the last while, e.g. 1h." placeholder:"DURATION"`
	MinSeverity string        `help:"Least severity: info, warning or critical." default:"info" enum:"info,warning,critical"`
	Follow      bool          `help:"Go on until Ctrl+C." default:"true" negatable:""`
	JSON        bool          `help:"One JSON object per line, as the API gives it."`
	Color       string        `help:"auto, always or never." default:"auto" enum:"auto,always,never"`
}

func (alertsTailCmd) Help() string {
	return `One line per event: label, device/metric, value, what was expected with its band, and how long after the
measurement the event was here. The colour tells the severity.

Examples:
  edgepulse alerts tail
  edgepulse alerts tail --since 1h --no-follow
  edgepulse alerts tail --json --min-severity warning | jq .label`
}

const (
	tailEvery = 200 * time.Millisecond
	// tailOverlap is how far back every look goes: events are ordered by the time
	// of their measurements, and those of slow sensors come late.
	tailOverlap = 2 * time.Minute
	tailPage    = 1000
)

func (c *alertsTailCmd) Run(ctx context.Context) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	t := &tail{api: api, c: c, began: time.Now(), seen: map[string]time.Time{},
		color: c.Color == "always" || c.Color == "auto" && isTerminal(os.Stdout) && os.Getenv("NO_COLOR") == ""}
	from := t.began.Add(-c.Since)
	tick := time.NewTicker(tailEvery)
	defer tick.Stop()
	for first := true; ; first = false {
		// A first look that fails tells a wrong address or key; later ones are told
		// by the client's own patience.
		if err := t.look(ctx, from); err != nil {
			return err
		}
		if first && c.Follow && !c.JSON && isTerminal(os.Stderr) {
			fmt.Fprintln(os.Stderr, "waiting for alerts; Ctrl+C ends")
		}
		if !c.Follow {
			return nil
		}
		if oldest := time.Now().Add(-tailOverlap); from.Before(oldest) {
			from = oldest
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

type tail struct {
	api   *client.Client
	c     *alertsTailCmd
	began time.Time
	seen  map[string]time.Time // event by its time
	color bool
}

// look prints what is new since an instant, oldest first.
func (t *tail) look(ctx context.Context, from time.Time) error {
	var news []api.AlertEvent
	for cursor := ""; ; {
		q := url.Values{"from": {from.UTC().Format(time.RFC3339Nano)}, "limit": {strconv.Itoa(tailPage)}, "min_severity": {t.c.MinSeverity}}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		var page api.Page[api.AlertEvent]
		if err := t.api.Get(ctx, "/v1/alert-events", q, &page); err != nil {
			return err
		}
		for _, e := range page.Data {
			if _, ok := t.seen[e.EventID]; !ok {
				t.seen[e.EventID] = e.TS
				news = append(news, e)
			}
		}
		if cursor = page.NextCursor; !page.HasMore {
			break
		}
	}
	for id, ts := range t.seen {
		if ts.Before(from) {
			delete(t.seen, id)
		}
	}
	slices.SortStableFunc(news, func(a, b api.AlertEvent) int {
		if c := a.TS.Compare(b.TS); c != 0 {
			return c
		}
		return int(a.Ordinal) - int(b.Ordinal)
	})
	for _, e := range news {
		if t.c.JSON {
			if err := json.NewEncoder(os.Stdout).Encode(e); err != nil {
				return fmt.Errorf("print event: %w", err)
			}
			continue
		}
		delay := time.Duration(0)
		if e.TS.After(t.began) {
			delay = time.Since(e.TS)
		}
		if _, err := fmt.Println(alertLine(e, delay, t.color)); err != nil {
			return fmt.Errorf("print event: %w", err)
		}
	}
	return nil
}

// alertLine is one event for the eye; delay 0 is unknown.
func alertLine(e api.AlertEvent, delay time.Duration, color bool) string {
	var b strings.Builder
	b.WriteString(e.TS.Local().Format("15:04:05 "))
	name := strings.ToUpper(e.Label)
	if e.SubLabel != "" {
		name += "/" + e.SubLabel
	}
	head := fmt.Sprintf("%-11s", name)
	if color {
		head = severityColor(e) + head + "\x1b[0m"
	}
	fmt.Fprintf(&b, "%s %s/%s ", head, e.DeviceExternalID, e.MetricName)
	switch {
	case e.State == "resolved":
		fmt.Fprintf(&b, "resolved after %s", e.TS.Sub(e.OpenedAt).Round(time.Second))
	case e.Label == "missingness" || e.Label == "stuck" || e.Expected == nil:
		b.WriteString(e.Explanation)
	default:
		fmt.Fprintf(&b, "%s%s (expected %s", figure(e.Value), unit(e.Unit), figure(*e.Expected))
		if e.Lower != nil && e.Upper != nil {
			fmt.Fprintf(&b, ", %s..%s", figure(*e.Lower), figure(*e.Upper))
		}
		b.WriteString(")")
	}
	switch {
	case e.State == "updated":
		fmt.Fprintf(&b, ", %s, still open", e.Severity)
	case e.State == "opened":
		fmt.Fprintf(&b, ", %s", e.Severity)
	}
	if e.SuppressedBy != "" {
		fmt.Fprintf(&b, ", not notified (%s)", e.SuppressedBy)
	}
	if delay > 0 && e.State != "resolved" {
		fmt.Fprintf(&b, " in %s", roughly(delay))
	}
	return b.String()
}

func unit(u string) string {
	if u == "" || u == "1" {
		return ""
	}
	return " " + u
}

// figure writes at most four significant digits.
func figure(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }

func roughly(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func severityColor(e api.AlertEvent) string {
	switch {
	case e.State == "resolved":
		return "\x1b[32m" // green
	case e.Severity == "critical":
		return "\x1b[1;31m" // red
	case e.Severity == "warning":
		return "\x1b[33m" // yellow
	}
	return "\x1b[36m" // cyan
}
