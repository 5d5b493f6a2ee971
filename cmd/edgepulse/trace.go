package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/edgepulse/edgepulse/internal/app"
	"github.com/edgepulse/edgepulse/schemas"
)

type traceCmd struct {
	inside
	Event string `arg:"" help:"event_id of an alert event, e.g. from GET /v1/alert-events." placeholder:"EVENT"`
	Raw   bool   `help:"Print only the raw payload bytes."`
}

func (traceCmd) Help() string {
	return `Walks an alert event back: rule, score, features, datapoints, the request that carried them, and its bytes as
they were received, from the log or from the archive.

Example:
  edgepulse trace 0e9c6a0e-…`
}

func (c *traceCmd) Run(ctx context.Context) error {
	b, err := c.broker(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	t, raw, err := app.TraceEvent(ctx, &c.Config, b, s, c.Event)
	if err != nil {
		return err
	}
	if c.Raw {
		_, err = os.Stdout.Write(raw)
		return err
	}
	e := t.Event
	fmt.Printf("alert     %s %s of %s/%s at %s (rule %q)\n", e.State, e.Label, e.DeviceExternalID, e.MetricName, e.TS.Format(time.RFC3339Nano), e.RuleName)
	if e.Explanation != "" {
		fmt.Printf("          %s\n", e.Explanation)
	}
	if t.Score != nil {
		fmt.Printf("score     %.3f (alarm %.3f), severity %s, root %d of partition %d\n", t.Score.Score, t.Score.AlarmScore, t.Score.Severity, t.Score.Root, e.Partition)
	}
	if len(t.Features) > 0 {
		fmt.Printf("features  %s\n", short(string(t.Features), 200))
	}
	fmt.Printf("points    %d in the window", len(t.Points))
	if n := len(t.Points); n > 0 {
		fmt.Printf(", the newest %g at %s", t.Points[0].Value, t.Points[0].TS.Format(time.RFC3339Nano))
	}
	fmt.Println()
	for _, r := range t.Parts {
		fmt.Printf("request   %s part %d of %d, key %s, root %d\n", r.RequestID, r.Part+1, r.Parts, r.KeyID, r.Root.Sequence)
	}
	if p := t.Raw; p != nil {
		fmt.Printf("payload   %d bytes from %s, SHA-256 of the body %s\n          %s\n", p.Bytes, p.Source, p.BodySHA256, short(p.DeviceJSON, 400))
	}
	for _, s := range t.Stages {
		fmt.Printf("%-9s %s\n", s.Stage, s.At.Format(time.RFC3339Nano))
	}
	for _, d := range e.Deliveries {
		fmt.Printf("delivery  %s attempt %d to %s at %s: %s %d %s\n", d.WebhookID, d.Attempt, d.EndpointID, d.At.Format(time.RFC3339), d.Outcome, d.Status, d.Error)
	}
	return nil
}

func short(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > n {
		return s[:n] + " …"
	}
	return s
}

// printEntry shows a log entry; payload bytes as text.
func printEntry(w io.Writer, raw []byte) error {
	e := &schemas.Entry{}
	if err := e.UnmarshalVT(raw); err != nil {
		fmt.Fprintf(w, "entry does not decode: %d bytes\n%x\n", len(raw), raw[:min(len(raw), 256)])
		return nil
	}
	if b := e.GetBatch(); b != nil {
		for _, s := range b.Slices {
			fmt.Fprintf(w, "payload of request %s, device object %d at offset %d:\n%s\n", b.RequestId, s.Index, s.Offset, s.Json)
		}
		return nil
	}
	fmt.Fprintln(w, protojson.Format(e))
	return nil
}
