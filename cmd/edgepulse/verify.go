package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/edgepulse/edgepulse/internal/app"
	"github.com/edgepulse/edgepulse/internal/client"
	"github.com/edgepulse/edgepulse/internal/replay"
	"github.com/edgepulse/edgepulse/stream"
)

type verifyCmd struct {
	shadowing
	Shadow string `help:"Compare this shadow instead of making one." placeholder:"NAME"`
	Keep   bool   `help:"Keep the shadow that was made."`
	URL    string `help:"Also compare what the API at this address serves." placeholder:"URL"`
	Key    string `help:"API key (scope read) for --url; its tenant is compared." env:"EDGEPULSE_API_KEY" placeholder:"KEY"`
}

func (verifyCmd) Help() string {
	return `Folds a range once more into a temporary shadow and compares POINTS, FEATURES, SCORES and ALERTS with the live logs:
SHA-256 over the outputs of every root. Prints, per log, how many roots were compared and how many differ, and the
first that differs field by field. The exit code is 0 only if nothing differs.

With --url and --key also the scores and alert events that the API answers for the key's tenant are compared with the
recomputation, value by value: that covers projection, database and API.

A range folded by a version that this binary does not have is refused. With --tenant or --device only their entries
are compared.

Examples:
  edgepulse verify --from 1h
  edgepulse verify --shadow incident
  edgepulse verify --from 1h --url https://edgepulse.example.com --key ep_live_…`
}

// errDiffers makes the exit code.
var errDiffers = errors.New("the recomputation differs from what the service said")

func (c *verifyCmd) Run(ctx context.Context) (err error) {
	r, err := c.request(time.Now())
	if err != nil {
		return err
	}
	if c.Shadow != "" && (c.From != "" || c.To != "" || c.Tenant != "" || c.Device != "") {
		return errors.New("--shadow has a range and filters of its own: leave --from, --to, --tenant and --device out")
	}
	var api *client.Client
	if c.URL != "" {
		if api, err = client.New(c.URL, c.Key); err != nil {
			return err
		}
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
	var s *replay.Shadow
	if c.Shadow != "" {
		if s, err = deps.Find(ctx, c.Shadow); err != nil {
			return err
		}
	} else {
		name := "verify-" + strings.ToLower(rand.Text()[:8])
		if !c.Keep {
			defer func() {
				if dropErr := deps.Drop(context.WithoutCancel(ctx), name); dropErr != nil {
					err = errors.Join(err, dropErr)
				}
			}()
		}
		if s, err = c.shadow(ctx, deps, name, r, 0); err != nil {
			return err
		}
	}
	return c.compare(ctx, s, api)
}

func (c *verifyCmd) compare(ctx context.Context, s *replay.Shadow, api *client.Client) error {
	at, err := s.Progress(ctx)
	if err != nil {
		return err
	}
	if !at.Done() {
		return fmt.Errorf("shadow %s has folded %d of %d messages: let `edgepulse replay --into shadow:%s` end first", s.Name, at.Folded, at.Total, s.Name)
	}
	list, err := s.Compare(ctx)
	if err != nil {
		return err
	}
	differing := printComparisons(list)
	if api != nil {
		served, err := s.CompareServed(ctx, api)
		if err != nil {
			return err
		}
		fmt.Printf("API: %d scores and %d alert events compared, %d differ\n", served.Scores, served.Alerts, served.Differing)
		for _, d := range served.Listed {
			fmt.Println("  " + d)
		}
		differing += served.Differing
	}
	if differing > 0 {
		return errDiffers
	}
	return nil
}

func printComparisons(list []replay.Comparison) (differing int) {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "LOG\tROOTS\tOUTPUTS\tDIFFERING")
	roots, gone := 0, 0
	for _, c := range list {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", stream.StreamName(c.Log, c.Partition), c.Roots, c.Outputs, c.Differing)
		differing, roots, gone = differing+c.Differing, roots+c.Roots, gone+c.Gone
	}
	_ = w.Flush() // standard output is gone: nobody to tell
	if gone > 0 {
		fmt.Printf("%d roots were folded and not compared: the live logs have been truncated behind them\n", gone)
	}
	fmt.Printf("%d hashes compared, %d differ\n", roots, differing)
	for _, c := range list {
		if c.First != nil {
			printDifference(c)
			break // what follows in the logs behind it is a consequence
		}
	}
	return differing
}

func printDifference(c replay.Comparison) {
	d := c.First
	fmt.Printf("first difference: %s, root %d: live %d outputs, SHA-256 %x; shadow %d outputs, SHA-256 %x\n",
		stream.StreamName(c.Log, c.Partition), d.Root, len(d.Live), d.LiveSum[:8], len(d.Shadow), d.Sum[:8])
	const most = 20
	for i, f := range d.Fields() {
		if i == most {
			fmt.Println("  …")
			break
		}
		fmt.Println("  " + f.String())
	}
}
