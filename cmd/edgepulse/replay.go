package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/edgepulse/edgepulse/internal/app"
	"github.com/edgepulse/edgepulse/internal/replay"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

type replayCmd struct {
	Run  replayRunCmd  `cmd:"" default:"withargs" help:"Take what was received through the folds once more."`
	List replayListCmd `cmd:"" help:"List the shadows and what they hold."`
	Drop replayDropCmd `cmd:"" help:"Delete a shadow, its logs and snapshots."`
}

// period says which part of the past a command works on.
type period struct {
	From   string `help:"Begin of the range, by when the message was stored: RFC 3339, a date, or a time ago such as 2h; default the first message." placeholder:"TIME"`
	To     string `help:"End of the range, not included; default the newest message." placeholder:"TIME"`
	Tenant string `help:"Only batches of this tenant." placeholder:"UUID"`
	Device string `help:"Only this device (external id)." placeholder:"ID"`
}

func (p period) request(now time.Time) (r replay.Request, err error) {
	if r.From, err = readTime("--from", p.From, now); err != nil {
		return r, err
	}
	if r.To, err = readTime("--to", p.To, now); err != nil {
		return r, err
	}
	if p.Tenant != "" {
		if r.Tenant, err = schemas.ParseID(p.Tenant); err != nil {
			return r, fmt.Errorf("--tenant %q is no tenant id; `edgepulse tenant ls` lists them", p.Tenant)
		}
	}
	r.Device = p.Device
	return r, nil
}

func readTime(flag, s string, now time.Time) (time.Time, error) {
	if s == "" || s == "start" || s == "end" {
		return time.Time{}, nil
	}
	if s == "now" {
		return now.UTC(), nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d.Abs()).UTC(), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s %q is no time: expected RFC 3339 (2026-11-27T14:00:00Z), a date, or a time ago (90m, 2h)", flag, s)
}

// shadowing is what commands that make a shadow are told.
type shadowing struct {
	inside
	period
	MaxBytes int64 `name:"shadow-max-bytes" help:"Bytes that the shadow's logs may hold together; 0 = twice what the live ones took." env:"EDGEPULSE_SHADOW_MAX_BYTES"`
}

type replayRunCmd struct {
	shadowing
	Speed  string `help:"Times the original pace, by received_at; max = as fast as it goes." default:"max" placeholder:"N|max"`
	Into   string `help:"shadow:NAME, a set of logs of its own; or live." default:"shadow:replay" placeholder:"WHERE"`
	DryRun bool   `help:"Say what would be published, and publish nothing."`
	Yes    bool   `help:"Confirm --into live."`
}

func (replayRunCmd) Help() string {
	return `Reads what INGEST received from the archive, and from the log what is not archived yet, and folds it once more.

Into a shadow (the default): a set of logs of its own, SHADOW_<name>_INGEST_<p> to SHADOW_<name>_ALERTS_<p>, with the
same roots and folded by the same runners, from a retained snapshot below the range or from root 1. No row, alert or
webhook comes of it. Ctrl+C stops it; the same command with --into shadow:NAME goes on. Compare it with the live logs
by ` + "`edgepulse verify --shadow NAME`" + `, drop it by ` + "`edgepulse replay drop NAME`" + `.

Into live: the messages are published into INGEST once more, each with its original root. The stages know these roots
and fold them as empty: nothing follows. It takes room in INGEST and is refused where the log has lost its end.

Use the settings of the live stages (EDGEPULSE_FEATURE_WINDOW_SEC, EDGEPULSE_FEATURE_HOP): other ones give other results.

Examples:
  edgepulse replay --from 2h --dry-run
  edgepulse replay --from 2026-11-27T08:00:00Z --to 2026-11-27T09:00:00Z --into shadow:incident
  edgepulse replay --from 10m --speed 1 --into shadow:slow
  edgepulse replay --from 1h --into live --yes`
}

func (c *replayRunCmd) Run(ctx context.Context) error {
	speed, err := readSpeed(c.Speed)
	if err != nil {
		return err
	}
	name, shadow := strings.CutPrefix(c.Into, "shadow:")
	if !shadow && c.Into != "live" {
		return fmt.Errorf("--into %q: expected shadow:NAME or live", c.Into)
	}
	if shadow {
		if err := stream.CheckShadowName(name); err != nil {
			return err
		}
	}
	r, err := c.request(time.Now())
	if err != nil {
		return err
	}
	b, err := c.broker(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	deps, err := app.OpenReplay(ctx, &c.Config, b)
	if err != nil {
		return err
	}
	defer printErased(deps)
	switch {
	case c.DryRun:
		p, err := deps.Plan(ctx, r)
		if err != nil {
			return err
		}
		printPlan(p)
		fmt.Println("nothing was published; a shadow also folds what lies between its snapshots and the range")
		return nil
	case shadow:
		_, err := c.shadow(ctx, deps, name, r, speed)
		return err
	}
	return c.live(ctx, deps, r, speed)
}

func readSpeed(s string) (float64, error) {
	if s == "max" {
		return 0, nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || v <= 0 || v > 1e6 {
		return 0, fmt.Errorf("--speed %q: expected max or a number above 0, e.g. 1 for the original pace, 60 for a minute per second", s)
	}
	return v, nil
}

func printPlan(p *replay.Plan) {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "PARTITION\tROOTS\tMESSAGES\tMB\tFOLDED FROM")
	for _, part := range p.Parts {
		fmt.Fprintf(w, "%d\t%d-%d\t%d\t%.1f\t%d (%s)\n", part.Partition, part.From, part.To, part.Roots(), float64(part.Bytes)/1e6, part.First, part.Why)
	}
	_ = w.Flush() // standard output is gone: nobody to tell
	fmt.Printf("%d messages, %.1f MB, %s\n", p.Roots(), float64(p.Bytes())/1e6, p.Range())
}

// shadow makes or goes on with a shadow until all is folded.
func (c *shadowing) shadow(ctx context.Context, deps replay.Deps, name string, r replay.Request, speed float64) (*replay.Shadow, error) {
	s, err := deps.OpenShadow(ctx, name, r, c.MaxBytes)
	if err != nil {
		return nil, err
	}
	at, err := s.Progress(ctx)
	if err != nil {
		return s, err
	}
	if s.Resumed {
		fmt.Printf("shadow %s is there: %d of %d messages published, %d folded\n", name, at.Published, at.Total, at.Folded)
	} else {
		printPlan(s.Plan)
	}
	began := time.Now()
	if !at.Done() {
		show := newReplayProgress(at)
		log := c.Log
		if log.Level == "info" {
			log.Level = "warn" // claims and snapshots of a shadow are no news
		}
		err = s.Run(ctx, replay.RunOptions{Speed: speed, Runner: c.Runner, Logger: log.Logger(), Progress: show.set})
		show.end()
	}
	now, lookErr := s.Progress(context.WithoutCancel(ctx))
	if err == nil {
		err = lookErr
	}
	if errors.Is(err, context.Canceled) {
		return s, fmt.Errorf("stopped: %d of %d messages published, %d folded; `edgepulse replay --into shadow:%s` goes on", now.Published, now.Total, now.Folded, name)
	}
	if err != nil {
		return s, err
	}
	fmt.Printf("shadow %s: %d messages folded in %.1f s\nnext: edgepulse verify --shadow %s; edgepulse replay drop %s\n",
		name, now.Folded, time.Since(began).Seconds(), name, name)
	return s, nil
}

func (c *replayRunCmd) live(ctx context.Context, deps replay.Deps, r replay.Request, speed float64) error {
	p, err := deps.Plan(ctx, r)
	if err != nil {
		return err
	}
	if err := deps.CheckLive(ctx, p); err != nil {
		return err
	}
	printPlan(p)
	fmt.Println("into the live INGEST: every message names its original root, so the stages fold it as empty;\nno row, alert or webhook follows, and INGEST grows by that much")
	if !c.Yes {
		return errors.New("nothing was published: confirm with --yes")
	}
	show := newReplayProgress(replay.Progress{Total: p.Roots()})
	n, err := deps.Live(ctx, p, speed, show.set)
	show.end()
	if err != nil {
		return fmt.Errorf("after %d of %d messages: %w", n, p.Roots(), err)
	}
	fmt.Printf("%d messages published again\n", n)
	return nil
}

type replayListCmd struct{ inside }

func (c *replayListCmd) Run(ctx context.Context) error {
	b, err := c.broker(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	list, err := b.Shadows(ctx)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		fmt.Println("no shadows")
		return nil
	}
	deps, err := app.OpenReplay(ctx, &c.Config, b)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "SHADOW\tMADE\tMESSAGES\tPUBLISHED\tFOLDED\tMB\tRESERVED MB\tRANGE")
	for _, st := range list {
		held, reserved := uint64(0), int64(0)
		for _, l := range st.Logs {
			held, reserved = held+l.Bytes, reserved+l.MaxBytes
		}
		state := "broken: drop it\t\t\t"
		what := ""
		if s, err := deps.Find(ctx, st.Name); err == nil {
			if at, err := s.Progress(ctx); err == nil {
				state = fmt.Sprintf("%d\t%d\t%d\t", at.Total, at.Published, at.Folded)
			}
			what = s.Plan.Range()
			if f := strings.Trim(s.Plan.Tenant+"/"+s.Plan.Device, "/"); f != "" {
				what += ", only " + f
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s%.1f\t%d\t%s\n", st.Name, ago(st.Created), state, float64(held)/1e6, reserved>>20, what)
	}
	return w.Flush()
}

type replayDropCmd struct {
	inside
	Name string `arg:"" help:"Name of the shadow." placeholder:"NAME"`
}

func (c *replayDropCmd) Run(ctx context.Context) error {
	b, err := c.broker(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	deps, err := app.OpenReplay(ctx, &c.Config, b)
	if err != nil {
		return err
	}
	if _, err := deps.Find(ctx, c.Name); err != nil {
		// What is left of a broken one goes all the same.
		if dropErr := deps.Drop(ctx, c.Name); dropErr != nil {
			return dropErr
		}
		return err
	}
	if err := deps.Drop(ctx, c.Name); err != nil {
		return err
	}
	fmt.Printf("shadow %s is gone\n", c.Name)
	return nil
}

// replayProgress shows a replay on one line, or now and then where nobody watches.
type replayProgress struct {
	*progress
	base  int
	began time.Time
	said  time.Time
}

func newReplayProgress(at replay.Progress) *replayProgress {
	p := &replayProgress{progress: newProgress("messages folded", at.Total-at.Folded), base: at.Folded, began: time.Now(), said: time.Now()}
	return p
}

const sayEvery = 10 * time.Second

func (p *replayProgress) set(at replay.Progress) {
	n := at.Folded - p.base
	p.progress.set(n)
	if p.tty || time.Since(p.said) < sayEvery {
		return
	}
	p.said = time.Now()
	rate := float64(n) / time.Since(p.began).Seconds()
	line := fmt.Sprintf("%d of %d messages published, %d folded, %.0f/s", at.Published, at.Total, at.Folded, rate)
	if rate > 0 {
		line += fmt.Sprintf(", %s left", time.Duration(float64(at.Total-at.Folded)/rate)*time.Second)
	}
	fmt.Fprintln(os.Stderr, line)
}
