package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/edgepulse/edgepulse/internal/app"
	"github.com/edgepulse/edgepulse/internal/archive"
)

type retentionCmd struct {
	inside
	DryRun bool `help:"Only say what would be deleted now."`
	Now    bool `help:"Delete it now, instead of waiting for the archiver's next steps."`
}

func (retentionCmd) Help() string {
	return `What is older than its tenant's retention (of the plan, or of its own: edgepulse tenant retention) is deleted in the
background by the archiver, in bounded steps. This says what that would be, or does it at once. Rows go by tenant.
A segment of the archive holds entries of many tenants: it goes when the longest retention of all has passed.

Examples:
  edgepulse retention --dry-run
  edgepulse retention --now`
}

func (c *retentionCmd) Run(ctx context.Context) error {
	if c.DryRun == c.Now {
		return errors.New("say either --dry-run or --now")
	}
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	b, err := c.broker(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	sweeper := app.Sweeper{Store: s, Broker: b, Now: time.Now}
	if c.Objects.Archive != "" {
		if sweeper.Archive, err = archive.Open(ctx, c.Objects.Archive, app.ObjectCredentials()); err != nil {
			return err
		}
	}
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	for {
		done, err := sweeper.Step(ctx, c.DryRun)
		if err != nil {
			return err
		}
		if err := enc.Encode(done); err != nil {
			return err
		}
		if c.DryRun || done.Done {
			return nil
		}
	}
}

type tenantRetentionCmd struct {
	inside
	tenantArg
	Days int `arg:"" help:"Days that rows are kept; 0 = as the plan says."`
}

func (c *tenantRetentionCmd) Run(ctx context.Context) error {
	if c.Days < 0 || c.Days > 36500 {
		return fmt.Errorf("%d days: expected 0 to 36500", c.Days)
	}
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	id, err := c.find(ctx, s)
	if err != nil {
		return err
	}
	return s.SetRetention(ctx, id, c.Days)
}
