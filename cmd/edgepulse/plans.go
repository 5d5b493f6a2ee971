package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

type planCmd struct {
	Ls  planLsCmd  `cmd:"" aliases:"list" help:"List plans."`
	Set planSetCmd `cmd:"" help:"Make a plan, or change limits of one."`
}

type planLsCmd struct{ inside }

func (c *planLsCmd) Run(ctx context.Context) error {
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	list, err := s.ListPlans(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "PLAN\tPOINTS/MONTH\tPOINTS/S\tREQUESTS/S\tMETRICS\tWEBHOOKS\tRULES\tRETENTION DAYS")
	for _, p := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", p.Name, bound(p.PointsPerMonth), bound(p.PointsPerSecond), bound(p.RequestsPerSecond),
			bound(p.MaxMetrics), bound(p.MaxWebhooks), bound(p.MaxRules), p.RetentionDays)
	}
	return w.Flush()
}

func bound(n *int64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatInt(*n, 10)
}

type planSetCmd struct {
	inside
	Name              string `arg:"" help:"Name of the plan."`
	PointsPerMonth    *int64 `help:"Points a month (of receipt, UTC); -1 = unbounded."`
	PointsPerSecond   *int64 `help:"Points a second, ten seconds of it at once; -1 = unbounded."`
	RequestsPerSecond *int64 `help:"Requests a second, ten seconds of it at once; -1 = unbounded."`
	MaxMetrics        *int64 `help:"Metrics with a point within 30 days; -1 = unbounded."`
	MaxWebhooks       *int64 `help:"Webhooks; -1 = unbounded."`
	MaxRules          *int64 `help:"Alert rules; -1 = unbounded."`
	RetentionDays     *int64 `help:"Days that data is kept."`
}

func (planSetCmd) Help() string {
	return `Limits that are not named stay as they are; of a new plan they are unbounded, and its retention is 90 days.

Example:
  edgepulse plan set small --points-per-month 10000000 --requests-per-second 20 --max-rules 10
  edgepulse tenant set-plan acme small`
}

func (c *planSetCmd) Run(ctx context.Context) error {
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	list, err := s.ListPlans(ctx)
	if err != nil {
		return err
	}
	plan := api.Plan{Name: c.Name, RetentionDays: 90}
	if i := slices.IndexFunc(list, func(p api.Plan) bool { return p.Name == c.Name }); i >= 0 {
		plan = list[i]
	}
	for _, f := range []struct{ to, from **int64 }{
		{&plan.PointsPerMonth, &c.PointsPerMonth}, {&plan.PointsPerSecond, &c.PointsPerSecond}, {&plan.RequestsPerSecond, &c.RequestsPerSecond},
		{&plan.MaxMetrics, &c.MaxMetrics}, {&plan.MaxWebhooks, &c.MaxWebhooks}, {&plan.MaxRules, &c.MaxRules},
	} {
		switch {
		case *f.from == nil:
		case **f.from < 0:
			*f.to = nil
		default:
			*f.to = *f.from
		}
	}
	if c.RetentionDays != nil {
		plan.RetentionDays = *c.RetentionDays
	}
	if err := s.PutPlan(ctx, plan); err != nil {
		return err
	}
	fmt.Printf("plan %s is set; every gateway knows within 5 s\n", c.Name)
	return nil
}

type usageCmd struct {
	inside
	From   string `help:"First day; default the first of this month." placeholder:"2026-11-01"`
	To     string `help:"Last day; default today." placeholder:"2026-11-30"`
	Format string `help:"csv or json." default:"csv" enum:"csv,json"`
}

func (usageCmd) Help() string {
	return `One line per tenant and day: requests, points (accepted, each once), bytes of payloads, evaluations, attempts to deliver webhooks, and those that
succeeded. Days are those of receipt, in UTC. The counts come from the logs: a crash or a replay changes none of them.

Example:
  edgepulse usage --from 2026-11-01 --to 2026-11-30 > november.csv`
}

func (c *usageCmd) Run(ctx context.Context) error {
	now := time.Now().UTC()
	first, last := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC), now.Truncate(24*time.Hour)
	for _, d := range []struct {
		name, text string
		to         *time.Time
	}{{"from", c.From, &first}, {"to", c.To, &last}} {
		if d.text == "" {
			continue
		}
		t, err := time.Parse(time.DateOnly, d.text)
		if err != nil {
			return fmt.Errorf("--%s %q: expected a day such as 2026-11-27", d.name, d.text)
		}
		*d.to = t
	}
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	days, err := s.UsageOfAll(ctx, first, last)
	if err != nil {
		return err
	}
	if c.Format == "json" {
		return json.NewEncoder(os.Stdout).Encode(days)
	}
	return csv.NewWriter(os.Stdout).WriteAll(api.UsageRecords(days))
}

type auditCmd struct {
	inside
	Tenant string `help:"Name or id of a tenant; default all." placeholder:"TENANT"`
	Limit  int    `help:"How many lines, the newest first." default:"50"`
	JSON   bool   `help:"Print JSON, one line each."`
}

func (c *auditCmd) Run(ctx context.Context) error {
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	tenant := schemas.Nil
	if c.Tenant != "" {
		if tenant, err = (tenantArg{c.Tenant}).find(ctx, s); err != nil {
			return err
		}
	}
	log, err := s.AuditOfAll(ctx, tenant, api.PageRequest{Limit: c.Limit})
	if err != nil {
		return err
	}
	if c.JSON {
		out := json.NewEncoder(os.Stdout)
		for _, e := range log.Data {
			if err := out.Encode(e); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "AT\tTENANT\tACTOR\tACTION\tTARGET\tREQUEST\tBEFORE\tAFTER")
	for _, e := range log.Data {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%.12s\t%.12s\n", e.At.Format(time.DateTime), cmp.Or(e.TenantID, "-"), e.Actor, e.Action, e.Target,
			cmp.Or(e.RequestID, "-"), cmp.Or(e.Before, "-"), cmp.Or(e.After, "-"))
	}
	return w.Flush()
}

type ownerCmd struct {
	Token ownerTokenCmd `cmd:"" help:"Make a token for /v1/owner, and the hash that the gateway is told."`
}

type ownerTokenCmd struct{}

func (ownerTokenCmd) Help() string {
	return "The token is shown once and stored nowhere. The gateway is given its hash (EDGEPULSE_OWNER_TOKEN_HASH) and the address of\nthe owner's database role. Send it as Authorization: Bearer."
}

func (ownerTokenCmd) Run() error {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	token := "ep_owner_" + base64.RawURLEncoding.EncodeToString(secret)
	sum := sha256.Sum256([]byte(token))
	fmt.Printf("token %s\nEDGEPULSE_OWNER_TOKEN_HASH=%s\n", token, hex.EncodeToString(sum[:]))
	return nil
}
