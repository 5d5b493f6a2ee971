// Command edgepulse is EdgePulse: the whole service on one machine (`up`), each
// stage alone against a cluster, and the tools around them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // an image without an operating system has no time zones

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
)

type cli struct {
	Up upCmd `cmd:"" help:"Run everything on this machine: broker, database, all stages." group:"Run"`

	NATS       natsCmd       `cmd:"" name:"nats" help:"Run the broker alone." group:"Run"`
	Gateway    gatewayCmd    `cmd:"" help:"Run the gateway alone: HTTP in, INGEST out." group:"Run"`
	Normaliser normaliserCmd `cmd:"" help:"Run the normaliser alone: INGEST to POINTS." group:"Run"`
	Featurizer featurizerCmd `cmd:"" help:"Run the featurizer alone: POINTS to FEATURES." group:"Run"`
	Scorer     scorerCmd     `cmd:"" help:"Run the scorer alone: FEATURES to SCORES." group:"Run"`
	Alerter    alerterCmd    `cmd:"" help:"Run the alerter alone: SCORES to ALERTS." group:"Run"`
	Deliverer  delivererCmd  `cmd:"" help:"Run the deliverer alone: ALERTS to webhooks and DELIVERIES." group:"Run"`
	Projector  projectorCmd  `cmd:"" help:"Run the projectors alone: every log to Postgres." group:"Run"`
	Archiver   archiverCmd   `cmd:"" help:"Run the archiver alone: INGEST and DELIVERIES to the object store." group:"Run"`

	Import   importCmd   `cmd:"" help:"Import a CSV file through the API, as backfill." group:"Data"`
	Simulate simulateCmd `cmd:"" help:"Send a simulated fleet with known anomalies to a service, or write it to files." group:"Data"`
	Score    scoreCmd    `cmd:"" help:"Score CSV files without a server, through the folds of the service." group:"Data"`
	Trace    traceCmd    `cmd:"" help:"Walk an alert back to the bytes it came from." group:"Data"`

	Alerts     alertsCmd     `cmd:"" help:"Follow the alerts of a running service." group:"Operate"`
	Model      modelCmd      `cmd:"" help:"List, compare, pin and roll back the models of a metric." group:"Operate"`
	Tenant     tenantCmd     `cmd:"" help:"Create and list tenants." group:"Operate"`
	Key        keyCmd        `cmd:"" help:"Create, list, rotate and revoke API keys." group:"Operate"`
	Plan       planCmd       `cmd:"" help:"Say what tenants may use." group:"Operate"`
	Usage      usageCmd      `cmd:"" help:"Export what tenants have used, for billing." group:"Operate"`
	Audit      auditCmd      `cmd:"" help:"Show who changed what." group:"Operate"`
	Owner      ownerCmd      `cmd:"" help:"Open the view over all tenants in the API." group:"Operate"`
	Migrate    migrateCmd    `cmd:"" help:"Bring the database schema up to date." group:"Operate"`
	Status     statusCmd     `cmd:"" help:"Show every log, its owner and how far each reader is." group:"Operate"`
	Replay     replayCmd     `cmd:"" help:"Fold what was received once more, into a shadow." group:"Operate"`
	Verify     verifyCmd     `cmd:"" help:"Compare a recomputation with what the service said." group:"Operate"`
	Retention  retentionCmd  `cmd:"" help:"Say, or delete now, what is older than its tenant's retention." group:"Operate"`
	Recover    recoverCmd    `cmd:"" help:"Put back from the archive what the logs have lost." group:"Operate"`
	Rebuild    rebuildCmd    `cmd:"" help:"Throw a derived log away and derive it again." group:"Operate"`
	Deadletter deadletterCmd `cmd:"" help:"Look at entries that a stage refused." group:"Operate"`

	Edge edgeCmd `cmd:"" help:"Keep the edge in step with the service, and look after what it kept." group:"Operate"`

	Topology   topologyCmd               `cmd:"" help:"Print the map of the logs." group:"About"`
	Config     configCmd                 `cmd:"" help:"Print the effective settings and where each comes from." group:"About"`
	Version    versionCmd                `cmd:"" help:"Print the version." group:"About"`
	Bench      benchCmd                  `cmd:"" help:"Measure the whole service on this machine." group:"Operate"`
	Completion kongcompletion.Completion `cmd:"" help:"Print shell completion." group:"About"`
}

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c cli
	parser := kong.Must(&c,
		kong.Name("edgepulse"),
		kong.Description("Continuous anomaly detection for time series.\n\nStart here:  edgepulse up"),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Vars{"version": versionText()},
	)
	kongcompletion.Register(parser)
	k, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "edgepulse: %v\n", err)
		var pe *kong.ParseError
		if errors.As(err, &pe) && pe.Context != nil && pe.Context.Selected() != nil {
			fmt.Fprintf(os.Stderr, "try: edgepulse %s --help\n", pe.Context.Selected().Path())
		} else {
			fmt.Fprintln(os.Stderr, "try: edgepulse --help")
		}
		return 2
	}
	if err := k.Run(); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(os.Stderr, "edgepulse: %v\n", err)
		return 1
	}
	return 0
}
