package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/edgepulse/edgepulse/internal/app"
	"github.com/edgepulse/edgepulse/internal/store"
)

type tenantDeleteCmd struct {
	inside
	tenantArg
	DryRun bool          `help:"Only say what would be deleted."`
	Yes    bool          `help:"Confirm."`
	Wait   time.Duration `help:"How long the stages may take to pass the deletion." default:"5m"`
}

func (tenantDeleteCmd) Help() string {
	return `Deletes all that the service has of a tenant: refuses its keys, destroys the key that its archived payloads are
sealed with, lets every stage drop its state, deletes its rows, models and webhook secrets, and prints a report (JSON)
of what was deleted and what follows by when: snapshots are pruned and logs truncated a little later. The audit log
keeps who did it. This can't be undone. Interrupted, it goes on when it is run again.

Examples:
  edgepulse tenant delete acme --dry-run
  edgepulse tenant delete acme --yes`
}

func (c *tenantDeleteCmd) Run(ctx context.Context) error {
	if !c.DryRun && !c.Yes {
		return errors.New("nothing was changed: this deletes all that the tenant has and can't be undone; look with --dry-run, confirm with --yes")
	}
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	tenant, err := c.tenant(ctx, s)
	if err != nil {
		return err
	}
	b, err := c.broker(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	e, err := app.NewEraser(ctx, &c.Config, b, s)
	if err != nil {
		return err
	}
	e.Wait = c.Wait
	e.Say = func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	report, err := e.Erase(ctx, tenant, c.DryRun)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(report)
}

// tenant is find with all that is known.
func (t tenantArg) tenant(ctx context.Context, s *store.Store) (store.Tenant, error) {
	id, err := t.find(ctx, s)
	if err != nil {
		return store.Tenant{}, err
	}
	list, err := s.ListTenants(ctx)
	for _, x := range list {
		if x.ID == id {
			return x, nil
		}
	}
	return store.Tenant{}, errors.Join(err, store.ErrNotFound)
}
