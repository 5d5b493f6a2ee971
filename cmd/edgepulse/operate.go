package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/edgepulse/edgepulse/internal/app"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/stream"
)

type statusCmd struct {
	inside
	JSON bool `help:"Print JSON."`
}

func (statusCmd) Help() string {
	return "Looks twice, a second apart. LAG is how many roots a log is behind INGEST, PROJECTED how many its tables are;\nMSG/S how many messages it took in that second; OWNER who made its last commit."
}

func (c *statusCmd) Run(ctx context.Context) error {
	b, err := c.broker(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	before, err := b.Status(ctx)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Second):
	}
	list, err := b.Status(ctx)
	if err != nil {
		return err
	}
	positions := map[stream.LogName]map[int]uint64{}
	if s, err := c.store(ctx); err == nil {
		defer s.Close()
		if positions, err = s.Positions(ctx); err != nil {
			return err
		}
	}
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(map[string]any{"logs": list, "projected": positions})
	}
	return printStatus(before, list, positions)
}

func printStatus(before, list []stream.LogStatus, positions map[stream.LogName]map[int]uint64) error {
	ends := map[int]uint64{}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "STREAM\tROOT\tLAG\tPROJECTED\tMSG/S\tMESSAGES\tMB\tFULL\tEPOCH\tLAST\tOWNER\t")
	for i, l := range list {
		lag, projected, epoch := "", "", ""
		if l.Log == stream.Ingest {
			ends[l.Partition] = l.Root
		} else {
			epoch = fmt.Sprint(l.Epoch)
			if l.Log != stream.Deliveries {
				lag = fmt.Sprint(max(0, int64(ends[l.Partition])-int64(l.Root)))
			}
			if p, ok := positions[l.Log][l.Partition]; ok {
				end := l.Root
				if l.Log == stream.Deliveries {
					end = l.LastSeq
				}
				projected = fmt.Sprint(max(0, int64(end)-int64(p)))
			}
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%d\t%d\t%.1f\t%.1f %%\t%s\t%s\t%s\t\n", stream.StreamName(l.Log, l.Partition), l.Root, lag, projected,
			l.LastSeq-before[i].LastSeq, l.Messages, float64(l.Bytes)/1e6, 100*float64(l.Bytes)/float64(l.MaxBytes), epoch, ago(l.LastAt), l.Owner)
	}
	return w.Flush()
}

func ago(t time.Time) string {
	if t.IsZero() || t.Unix() <= 0 {
		return "never"
	}
	return time.Since(t).Round(time.Second).String() + " ago"
}

type rebuildCmd struct {
	inside
	Log      string `arg:"" help:"Log to derive again, e.g. POINTS; what derives from it goes too." placeholder:"LOG"`
	Truncate bool   `help:"Also empty the Postgres tables projected from these logs."`
	Yes      bool   `help:"Do not ask."`
}

func (rebuildCmd) Help() string {
	return `Throws POINTS, FEATURES, SCORES or ALERTS away with all that derives from it, and the snapshots of the stages that
write them. Running stages derive the same bytes again. INGEST and DELIVERIES are the truth and stay; no webhook is
sent twice. Where the log before it has been truncated, what follows a retained snapshot is derived again; older rows in
Postgres stay as they are, and --truncate is refused.

Example:
  edgepulse rebuild POINTS --yes`
}

func (c *rebuildCmd) Run(ctx context.Context) error {
	b, err := c.broker(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	name, _, _ := strings.Cut(strings.ToUpper(c.Log), "_")
	logs := stream.Downstream(stream.LogName(name))
	if !c.Yes && isTerminal(os.Stdin) {
		fmt.Printf("throw away %v and derive it again? [y/N] ", logs)
		var answer string
		_, _ = fmt.Scanln(&answer)
		if !strings.HasPrefix(strings.ToLower(answer), "y") {
			return errors.New("nothing was changed")
		}
	}
	blobs, err := app.OpenSnapshots(ctx, &c.Config)
	if err != nil {
		return err
	}
	var s *store.Store
	positions := map[stream.LogName]map[int]uint64{}
	if c.Truncate || c.Database.URL != "" || c.Database.WriterURL != "" {
		if s, err = c.store(ctx); err != nil {
			return err
		}
		defer s.Close()
		if positions, err = s.Positions(ctx); err != nil {
			return err
		}
	}
	if c.Truncate {
		// What is emptied is projected from root 1 again: the logs must have it.
		positions = map[stream.LogName]map[int]uint64{}
		for _, l := range logs {
			positions[l] = map[int]uint64{}
			for p := range b.Partitions() {
				positions[l][p] = 0
			}
		}
	}
	done, err := b.Rebuild(ctx, stream.LogName(name), blobs, standing(positions))
	for _, r := range done {
		fmt.Printf("%s: %d messages thrown away, derived again from root %d through root %d\n", r.Stream, r.Messages, r.From+1, r.Through)
	}
	if err != nil {
		return err
	}
	if c.Truncate {
		if err := s.TruncateProjected(ctx, logs...); err != nil {
			return err
		}
		fmt.Printf("projected tables of %v emptied\n", logs)
	}
	fmt.Println("next: `edgepulse status` shows how far the stages are")
	return nil
}

// standing lets a rebuild know how far the projections are.
func standing(positions map[stream.LogName]map[int]uint64) stream.Standing {
	return func(log stream.LogName, partition int) (uint64, bool) {
		root, ok := positions[log][partition]
		return root, ok
	}
}

type deadletterCmd struct {
	Ls      deadletterLsCmd      `cmd:"" help:"List dead letters."`
	Show    deadletterShowCmd    `cmd:"" help:"Show one with its entry."`
	Requeue deadletterRequeueCmd `cmd:"" help:"Put the entry into INGEST again, after its cause was mended."`
}

type deadletterLsCmd struct {
	inside
	Limit int `help:"How many." default:"50"`
}

func (c *deadletterLsCmd) Run(ctx context.Context) error {
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	list, err := s.AllDeadLetters(ctx, c.Limit)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		fmt.Println("no dead letters")
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tREASON\tTENANT\tDETAIL")
	for _, d := range list {
		fmt.Fprintf(w, "%s/%d/%d/%d\t%s\t%s\t%s\n", d.Stage, d.Partition, d.Root, d.Index, d.Reason, d.TenantID, d.Detail)
	}
	return w.Flush()
}

// deadletterArg names a dead letter as ls prints it.
type deadletterArg struct {
	ID string `arg:"" help:"STAGE/PARTITION/ROOT/INDEX, as ls prints it." placeholder:"ID"`
}

func (a deadletterArg) parse() (d store.DeadLetterID, err error) {
	parts := strings.Split(a.ID, "/")
	if len(parts) == 4 {
		d.Stage = parts[0]
		_, err = fmt.Sscan(strings.Join(parts[1:], " "), &d.Partition, &d.Root, &d.Index)
		if err == nil {
			return d, nil
		}
	}
	return d, fmt.Errorf("%q is no dead letter id, expected STAGE/PARTITION/ROOT/INDEX as `edgepulse deadletter ls` prints it", a.ID)
}

type deadletterShowCmd struct {
	inside
	deadletterArg
}

func (c *deadletterShowCmd) Run(ctx context.Context) error {
	id, err := c.parse()
	if err != nil {
		return err
	}
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	d, raw, err := s.DeadLetterEntry(ctx, id)
	if err != nil {
		return fmt.Errorf("dead letter %s: %w", c.ID, err)
	}
	fmt.Printf("stage %s, partition %d, root %d, entry %d\nreason %s: %s\n", d.Stage, d.Partition, d.Root, d.Index, d.Reason, d.Detail)
	return printEntry(os.Stdout, raw)
}

type deadletterRequeueCmd struct {
	inside
	deadletterArg
}

func (c *deadletterRequeueCmd) Run(ctx context.Context) error {
	id, err := c.parse()
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
	root, err := app.Requeue(ctx, deps, id.Partition, id.Root, int(id.Index))
	if err != nil {
		return err
	}
	fmt.Printf("entry is at root %d of %s now; its receipt will tell what became of it\n", root, stream.StreamName(stream.Ingest, id.Partition))
	return nil
}
