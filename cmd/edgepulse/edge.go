package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgepulse/edgepulse/internal/app"
	"github.com/edgepulse/edgepulse/internal/edgesync"
	"github.com/edgepulse/edgepulse/internal/spill"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/schemas/edge"
)

type edgeCmd struct {
	Sync    edgeSyncCmd    `cmd:"" help:"Make the keys at the edge equal to those in Postgres."`
	Doctor  edgeDoctorCmd  `cmd:"" help:"Look at everything between sensors and gateway, and say how to mend it."`
	Secrets edgeSecretsCmd `cmd:"" help:"Print the Worker's secrets, for wrangler secret bulk."`
	Drain   edgeDrainCmd   `cmd:"" help:"Bring what the edge kept into the log, now; the archiver does it all the time."`
	Spills  edgeSpillsCmd  `cmd:"" help:"List what waits, and what was refused and why."`
}

// cloudflareAPI is how commands reach Workers KV.
type cloudflareAPI struct {
	Token     string `help:"API token with Workers KV Storage: Edit." env:"CLOUDFLARE_API_TOKEN" placeholder:"TOKEN" group:"Cloudflare"`
	Account   string `help:"Account id." env:"CLOUDFLARE_ACCOUNT_ID" placeholder:"ID" group:"Cloudflare"`
	Namespace string `help:"KV namespace bound to the Worker as KEYS." env:"EDGEPULSE_KV_NAMESPACE_ID" placeholder:"ID" group:"Cloudflare"`
	API       string `help:"Address of the API, where it is not Cloudflare's own." env:"EDGEPULSE_CLOUDFLARE_API" placeholder:"URL" group:"Cloudflare"`
}

func (c cloudflareAPI) syncer() (*edgesync.Syncer, error) {
	return edgesync.New(edgesync.Config{Token: c.Token, Account: c.Account, Namespace: c.Namespace, BaseURL: c.API})
}

// edgeKeys are the keys of Postgres as edgesync wants them.
type edgeKeys struct{ *store.Store }

func (s edgeKeys) Keys(ctx context.Context) ([]edgesync.Key, error) {
	list, err := s.EdgeKeys(ctx)
	out := make([]edgesync.Key, len(list))
	for i, k := range list {
		out[i] = edgesync.Key{ID: k.KeyID, Tenant: k.TenantID.String(), Hash: k.Hash, Scopes: k.Scopes, Expires: k.ExpiresAt}
	}
	return out, err
}

func (s edgeKeys) Watch(ctx context.Context, every time.Duration, changed func(context.Context) error) error {
	return s.WatchKeys(ctx, every, changed)
}

type edgeSyncCmd struct {
	inside
	cloudflareAPI
	DryRun bool `help:"Say what would change, and change nothing."`
	Watch  bool `help:"Stay, and follow every change within a second or two."`
}

func (edgeSyncCmd) Help() string {
	return `Writes a hash, the scopes and the expiry of every working key to Workers KV and deletes all others. The hash is made
for the edge alone: it verifies nothing in the database. Run one with --watch beside the gateways: a revoked key is gone
from KV a second or two later, from the edge's own memory within a minute; the gateway refuses it within 5 s in any case.

Example:
  edgepulse edge sync --dry-run`
}

func (c *edgeSyncCmd) Run(ctx context.Context) error {
	syncer, err := c.syncer()
	if err != nil {
		return err
	}
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if c.Watch {
		return syncer.Watch(ctx, edgeKeys{s}, c.Log.Logger())
	}
	keys, err := edgeKeys{s}.Keys(ctx)
	if err != nil {
		return err
	}
	verb := map[bool][2]string{true: {"to write", "to delete"}, false: {"written", "deleted"}}[c.DryRun]
	var plan edgesync.Plan
	if c.DryRun {
		plan, err = syncer.Plan(ctx, keys)
	} else {
		plan, err = syncer.Sync(ctx, keys)
	}
	if err != nil {
		return err
	}
	fmt.Printf("%d current, %d %s, %d %s\n", plan.Same, len(plan.Write), verb[0], len(plan.Delete), verb[1])
	if plan.Unknown > 0 {
		fmt.Printf("%d keys were made before the edge and work through the gateway only\n", plan.Unknown)
	}
	return nil
}

type edgeDoctorCmd struct {
	inside
	cloudflareAPI
	EdgeURL string `help:"Where the Worker answers." env:"EDGEPULSE_EDGE_URL" placeholder:"URL"`
}

func (c *edgeDoctorCmd) Run(ctx context.Context) error {
	syncer, err := c.syncer()
	if err != nil {
		return err
	}
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	keys, err := edgeKeys{s}.Keys(ctx)
	if err != nil {
		return err
	}
	findings := append(syncer.Doctor(ctx, keys, c.EdgeURL), c.spillFinding(ctx))
	bad := 0
	for _, f := range findings {
		mark := "ok  "
		if !f.OK {
			mark, bad = "FAIL", bad+1
		}
		fmt.Printf("%s  %s: %s\n", mark, f.What, f.Seen)
		if f.Mend != "" {
			fmt.Printf("      %s\n", f.Mend)
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d checks failed", bad, len(findings))
	}
	return nil
}

func (c *edgeDoctorCmd) spillFinding(ctx context.Context) edgesync.Finding {
	f := edgesync.Finding{What: "spill"}
	blobs, err := app.OpenSpill(ctx, &c.Config)
	var waiting, refused []string
	if err == nil {
		waiting, err = blobs.List(ctx, edge.SpillPrefix)
	}
	if err == nil {
		refused, err = blobs.List(ctx, edge.RefusedPrefix)
	}
	switch {
	case err != nil:
		f.Seen, f.Mend = err.Error(), "EDGEPULSE_SPILL_URL must name the bucket bound to the Worker as SPILL, its credentials in EDGEPULSE_SPILL_ACCESS_KEY and _SECRET_KEY"
	case len(refused) > 0:
		f.Seen, f.Mend = fmt.Sprintf("%d waiting, %d refused", len(waiting), len(refused)), "edgepulse edge spills says why; --retry puts them back once that is mended"
	default:
		f.OK, f.Seen = true, fmt.Sprintf("%d waiting, none refused", len(waiting))
	}
	return f
}

type edgeSecretsCmd struct{ inside }

func (edgeSecretsCmd) Help() string {
	return "Example:\n  edgepulse edge secrets | npx wrangler secret bulk"
}

func (c *edgeSecretsCmd) Run() error {
	c.fill()
	pepper, err := hex.DecodeString(c.Gateway.Pepper)
	if err != nil || len(pepper) != 32 {
		return errors.New("setting gateway-pepper: expected 64 hexadecimal digits (32 bytes)")
	}
	secrets, err := edge.ParseSecrets(c.Gateway.EdgeSecrets)
	if err != nil {
		return fmt.Errorf("setting gateway-edge-secrets: %w", err)
	}
	if len(secrets) == 0 {
		return errors.New("no secret: set EDGEPULSE_EDGE_SECRETS for gateway and this command (`openssl rand -hex 32` makes one)")
	}
	out := json.NewEncoder(os.Stdout)
	return out.Encode(map[string]string{"EDGE_SECRET": hex.EncodeToString(secrets[0]), "EDGE_PEPPER": hex.EncodeToString(edge.Pepper(pepper))})
}

type edgeDrainCmd struct {
	inside
	Once bool `help:"Go through the spill once and stop."`
}

func (edgeDrainCmd) Help() string {
	return "Needs the spill's address and that of a gateway, and no secret: every object carries its own signature."
}

func (c *edgeDrainCmd) Run(ctx context.Context) error {
	c.fill()
	gateway := cmp.Or(c.Drain.Gateway, os.Getenv("EDGEPULSE_URL"), readEnv(c.Data)["EDGEPULSE_URL"])
	if err := spill.CheckAddress(gateway); err != nil {
		return fmt.Errorf("setting drain-gateway: %w", err)
	}
	blobs, err := app.OpenSpill(ctx, &c.Config)
	if err != nil {
		return err
	}
	d := spill.New(blobs, spill.NewGateway(func() string { return gateway }), spill.NewMetrics(prometheus.NewRegistry()), c.Log.Logger())
	if !c.Once {
		return d.Run(ctx, c.Drain.Every)
	}
	r, err := d.Pass(ctx)
	fmt.Printf("%d taken, %d taken before, %d refused, %d left\n", r.Taken, r.Repeats, r.Refused, r.Left)
	return err
}

type edgeSpillsCmd struct {
	inside
	Retry bool `help:"Put what was refused back, to be judged again."`
}

func (c *edgeSpillsCmd) Run(ctx context.Context) error {
	c.fill()
	blobs, err := app.OpenSpill(ctx, &c.Config)
	if err != nil {
		return err
	}
	if c.Retry {
		n, err := spill.Retry(ctx, blobs)
		fmt.Printf("%d put back\n", n)
		return err
	}
	waiting, err := blobs.List(ctx, edge.SpillPrefix)
	if err != nil {
		return err
	}
	refused, err := spill.Refused(ctx, blobs)
	if err != nil {
		return err
	}
	fmt.Printf("%d waiting, %d refused\n", len(waiting), len(refused))
	if len(refused) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "REQUEST\tKEY\tREFUSED\tCODE\tDETAIL")
	for _, r := range refused {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.RequestID, r.KeyID, r.RefusedAt.Format(time.DateTime), r.Code, strings.ReplaceAll(r.Detail, "\t", " "))
	}
	return w.Flush()
}
