package main

import (
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
	Create  tenantCreateCmd  `cmd:"" help:"Create a tenant."`
	Ls      tenantLsCmd      `cmd:"" help:"List tenants."`
	Analyst tenantAnalystCmd `cmd:"" help:"Create a database login that may read one tenant's rows with SQL."`
}

type tenantCreateCmd struct {
	inside
	Name string `arg:"" help:"Unique name."`
}

func (c *tenantCreateCmd) Run(ctx context.Context) error {
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	t, err := s.CreateTenant(ctx, c.Name)
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

type tenantLsCmd struct{ inside }

func (c *tenantLsCmd) Run(ctx context.Context) error {
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	list, err := s.ListTenants(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "TENANT\tNAME\tPLAN\tCREATED\tSTATE")
	for _, t := range list {
		state := "active"
		if t.DisabledAt != nil {
			state = "disabled"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", t.ID, t.Name, t.Plan, t.CreatedAt.Format(time.DateTime), state)
	}
	return w.Flush()
}

type keyCmd struct {
	Create keyCreateCmd `cmd:"" help:"Create a key; it is shown once."`
	Ls     keyLsCmd     `cmd:"" help:"List the keys of a tenant."`
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

type keyCreateCmd struct {
	inside
	tenantArg
	Scope   []string      `help:"What the key may do: ingest, backfill, read, admin." default:"ingest,read"`
	Name    string        `help:"What the key is for."`
	Dev     bool          `help:"Mark it as a development key (ep_dev_…)."`
	Expires time.Duration `help:"How long it works; 0 = for ever." default:"0"`
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
	o := store.KeyOptions{Env: "live", Name: c.Name}
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
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	tenant, err := c.find(ctx, s)
	if err != nil {
		return err
	}
	list, err := s.ListKeys(ctx, tenant)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "KEY\tNAME\tSCOPES\tCREATED\tEXPIRES\tSTATE")
	for _, k := range list {
		expires, state := "never", "active"
		if k.ExpiresAt != nil {
			expires = k.ExpiresAt.Format(time.DateTime)
			if k.ExpiresAt.Before(time.Now()) {
				state = "expired"
			}
		}
		if k.RevokedAt != nil {
			state = "revoked"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", k.KeyID, k.Name, strings.Join(k.Scopes, ","), k.CreatedAt.Format(time.DateTime), expires, state)
	}
	return w.Flush()
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
