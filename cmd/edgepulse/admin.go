package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/schemas"
)

type tenantCmd struct {
	Create    tenantCreateCmd    `cmd:"" help:"Create a tenant."`
	Ls        tenantLsCmd        `cmd:"" aliases:"list" help:"List tenants."`
	SetPlan   tenantSetPlanCmd   `cmd:"" help:"Move a tenant to a plan."`
	Disable   tenantDisableCmd   `cmd:"" help:"Refuse a tenant's keys within 5 s; its data stays."`
	Enable    tenantEnableCmd    `cmd:"" help:"Let a tenant's keys work again."`
	Delete    tenantDeleteCmd    `cmd:"" help:"Delete a tenant and all that the service has of it."`
	Retention tenantRetentionCmd `cmd:"" help:"Set how many days a tenant's rows are kept."`
	Analyst   tenantAnalystCmd   `cmd:"" help:"Create a database login that may read one tenant's rows with SQL."`
}

type tenantCreateCmd struct {
	inside
	Name string `arg:"" help:"Unique name."`
	Plan string `help:"Plan it begins with; plan ls lists them." default:"default"`
}

func (c *tenantCreateCmd) Run(ctx context.Context) error {
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	t, err := s.CreateTenantOn(ctx, c.Name, c.Plan)
	if err != nil {
		return err
	}
	fmt.Printf("%s\nnext: edgepulse key create %s --scope ingest,read\n", t.ID, t.Name)
	return nil
}

type tenantAnalystCmd struct {
	inside
	tenantArg
	Login string `arg:"" help:"Name of the database role to create."`
}

func (tenantAnalystCmd) Help() string {
	return `Makes a login of Postgres that row-level security binds to the tenant: it reads devices, points, features, scores,
anomalies, alert events, deliveries and usage of this tenant, and changes nothing. Made for people with SQL and for
Grafana. The password is shown once.

Example:
  edgepulse tenant analyst acme acme_grafana`
}

func (c *tenantAnalystCmd) Run(ctx context.Context) error {
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	id, err := c.find(ctx, s)
	if err != nil {
		return err
	}
	password := rand.Text()
	if err := s.CreateAnalyst(ctx, id, c.Login, password); err != nil {
		return err
	}
	fmt.Printf("login %s, password %s\n", c.Login, password)
	return nil
}

type tenantLsCmd struct {
	inside
	Usage bool `help:"Also what each has, and has used since the first of this month."`
}

func (c *tenantLsCmd) Run(ctx context.Context) error {
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	now := time.Now().UTC()
	list, err := s.TenantsForOwner(ctx, time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC), now)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprint(w, "TENANT\tNAME\tPLAN\tCREATED\tSTATE")
	if c.Usage {
		fmt.Fprint(w, "\tDEVICES\tMETRICS\tREQUESTS\tPOINTS\tMB\tEVALUATIONS\tWEBHOOKS\tREJECTED 24H\tDEAD\tLAST DAY")
	}
	fmt.Fprintln(w)
	for _, t := range list {
		state := "active"
		if t.DisabledAt != nil {
			state = "disabled"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s", t.ID, t.Name, t.Plan, t.CreatedAt.Format(time.DateTime), state)
		if c.Usage {
			fmt.Fprintf(w, "\t%d\t%d\t%d\t%d\t%.1f\t%d\t%d\t%d\t%d\t%s", t.Devices, t.Metrics, t.Month.Requests, t.Month.Points, float64(t.Month.Bytes)/1e6,
				t.Month.Evaluations, t.Month.WebhooksDelivered, t.Rejected, t.Errors, t.LastDay)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

type tenantSetPlanCmd struct {
	inside
	tenantArg
	Plan string `arg:"" help:"Name of the plan; plan ls lists them."`
}

func (c *tenantSetPlanCmd) Run(ctx context.Context) error {
	return c.change(ctx, &c.inside, func(s *store.Store, id schemas.ID) error {
		if err := s.SetTenantPlan(ctx, id, c.Plan); err != nil {
			return fmt.Errorf("%w; `edgepulse plan ls` lists them", err)
		}
		fmt.Printf("%s is on plan %s; every gateway knows within 5 s\n", c.Tenant, c.Plan)
		return nil
	})
}

type tenantDisableCmd struct {
	inside
	tenantArg
}

func (c *tenantDisableCmd) Run(ctx context.Context) error {
	return c.change(ctx, &c.inside, func(s *store.Store, id schemas.ID) error {
		if err := s.DisableTenant(ctx, id, true); err != nil {
			return err
		}
		fmt.Println("disabled; every gateway refuses its keys within 5 s, its data stays")
		return nil
	})
}

type tenantEnableCmd struct {
	inside
	tenantArg
}

func (c *tenantEnableCmd) Run(ctx context.Context) error {
	return c.change(ctx, &c.inside, func(s *store.Store, id schemas.ID) error {
		if err := s.DisableTenant(ctx, id, false); err != nil {
			return err
		}
		fmt.Println("enabled; its keys work again within 5 s")
		return nil
	})
}

type keyCmd struct {
	Create keyCreateCmd `cmd:"" help:"Create a key; it is shown once."`
	Ls     keyLsCmd     `cmd:"" aliases:"list" help:"List the keys of a tenant."`
	Rotate keyRotateCmd `cmd:"" help:"Replace a key by a new one; both work for a while."`
	Revoke keyRevokeCmd `cmd:"" help:"Revoke a key; it stops working within 5 s."`
}

// tenantArg finds a tenant by name or id.
type tenantArg struct {
	Tenant string `arg:"" help:"Name or id of the tenant."`
}

func (t tenantArg) find(ctx context.Context, s *store.Store) (schemas.ID, error) {
	list, err := s.ListTenants(ctx)
	if err != nil {
		return schemas.Nil, err
	}
	for _, x := range list {
		if x.Name == t.Tenant || x.ID.String() == t.Tenant {
			return x.ID, nil
		}
	}
	return schemas.Nil, fmt.Errorf("no tenant %q; `edgepulse tenant ls` lists them", t.Tenant)
}

// change runs fn on the tenant.
func (t tenantArg) change(ctx context.Context, in *inside, fn func(*store.Store, schemas.ID) error) error {
	s, err := in.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	id, err := t.find(ctx, s)
	if err != nil {
		return err
	}
	return fn(s, id)
}

type keyCreateCmd struct {
	inside
	tenantArg
	Scope   []string      `help:"What the key may do: ingest, backfill, read, admin." default:"ingest,read"`
	Name    string        `help:"What the key is for."`
	Dev     bool          `help:"Mark it as a development key (ep_dev_…)."`
	Expires time.Duration `help:"How long it works; 0 = for ever." default:"0"`
	Devices string        `help:"Glob over the devices that it may write, for example 'hall7-*'; default any." placeholder:"PATTERN"`
}

func (keyCreateCmd) Help() string {
	return "Example:\n  edgepulse key create acme --scope ingest --name 'plant 7' --expires 8760h"
}

func (c *keyCreateCmd) Run(ctx context.Context) error {
	for _, sc := range c.Scope {
		if !slices.Contains([]string{"ingest", "backfill", "read", "admin"}, sc) {
			return fmt.Errorf("--scope %q: expected ingest, backfill, read or admin", sc)
		}
	}
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	tenant, err := c.find(ctx, s)
	if err != nil {
		return err
	}
	o := store.KeyOptions{Env: "live", Name: c.Name, DevicePattern: c.Devices}
	if c.Dev {
		o.Env = "dev"
	}
	if c.Expires > 0 {
		o.ExpiresAt = time.Now().Add(c.Expires)
	}
	plaintext, _, err := s.CreateKey(ctx, tenant, c.Scope, o)
	if err != nil {
		return err
	}
	fmt.Println(plaintext)
	fmt.Fprintln(os.Stderr, "This is the only time it is shown: only a hash is stored.")
	return nil
}

type keyLsCmd struct {
	inside
	tenantArg
}

func (c *keyLsCmd) Run(ctx context.Context) error {
	return c.change(ctx, &c.inside, func(s *store.Store, tenant schemas.ID) error {
		list, err := s.ListKeys(ctx, tenant)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "KEY\tNAME\tSCOPES\tDEVICES\tCREATED\tEXPIRES\tLAST USED\tSTATE")
		for _, k := range list {
			expires, used, state := "never", "never", "active"
			if k.ExpiresAt != nil {
				expires = k.ExpiresAt.Format(time.DateTime)
				if k.ExpiresAt.Before(time.Now()) {
					state = "expired"
				}
			}
			if k.LastUsedAt != nil {
				used = k.LastUsedAt.Format(time.DateTime)
			}
			if k.RevokedAt != nil {
				state = "revoked"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.KeyID, k.Name, strings.Join(k.Scopes, ","), cmp.Or(k.DevicePattern, "any"),
				k.CreatedAt.Format(time.DateTime), expires, used, state)
		}
		return w.Flush()
	})
}

type keyRotateCmd struct {
	inside
	tenantArg
	Key     string        `arg:"" help:"Key id, as key ls shows it."`
	Overlap time.Duration `help:"How long the old key still works." default:"24h"`
}

func (c *keyRotateCmd) Run(ctx context.Context) error {
	return c.change(ctx, &c.inside, func(s *store.Store, tenant schemas.ID) error {
		plaintext, _, old, err := s.RotateKey(ctx, tenant, c.Key, c.Overlap)
		if err != nil {
			return fmt.Errorf("rotate key %s: %w; `edgepulse key ls %s` lists those that work", c.Key, err, c.Tenant)
		}
		fmt.Println(plaintext)
		fmt.Fprintf(os.Stderr, "This is the only time it is shown: only a hash is stored. The old key works until %s.\n", old.ExpiresAt.Format(time.DateTime))
		return nil
	})
}

type keyRevokeCmd struct {
	inside
	tenantArg
	Key string `arg:"" help:"Key id, as key ls shows it."`
}

func (c *keyRevokeCmd) Run(ctx context.Context) error {
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	tenant, err := c.find(ctx, s)
	if err != nil {
		return err
	}
	if err := s.RevokeKey(ctx, tenant, c.Key); err != nil {
		return fmt.Errorf("revoke key %s: %w; `edgepulse key ls %s` lists them", c.Key, err, c.Tenant)
	}
	fmt.Println("revoked; every gateway refuses it within 5 s")
	return nil
}
