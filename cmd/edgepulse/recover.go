package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/edgepulse/edgepulse/internal/app"
	"github.com/edgepulse/edgepulse/internal/replay"
	"github.com/edgepulse/edgepulse/stream"
)

type recoverCmd struct {
	inside
	PGBin string `name:"pg-bin" help:"Folder of PostgreSQL's binaries, for a local service." env:"EDGEPULSE_PG_BIN" type:"path" placeholder:"DIR"`
	Young bool   `help:"Let empty logs begin where the archive does: older segments went with their retention."`
	Yes   bool   `help:"Confirm."`
}

func (recoverCmd) Help() string {
	return `Puts back what INGEST and DELIVERIES have lost and the archive still holds, under the original roots, and lets the
stages derive everything else again. For a broker whose storage is gone, or came back from an older copy.

Stop every other process first; only broker and database may run (--nats-url). For the service of a data folder, stop
` + "`up`" + ` and name the folder: broker and database are started for it. What was received in the last half minute before the
loss may not have been archived: those roots stay empty, what Postgres has of them stays.

Examples:
  edgepulse recover --data ./data --yes
  edgepulse recover --nats-url nats://… --archive r2://… --yes`
}

func (c *recoverCmd) Run(ctx context.Context) error {
	if !c.Yes {
		return errors.New("nothing was changed: recover writes to INGEST and DELIVERIES and rebuilds what derives from them; confirm with --yes")
	}
	log := c.Log.Logger()
	var m *app.Machine
	if c.NATS.URL == "" {
		if env := readEnv(c.Data); env["EDGEPULSE_PARTITIONS"] != "" {
			fmt.Sscan(env["EDGEPULSE_PARTITIONS"], &c.NATS.Partitions)
		}
		var err error
		if m, err = app.StartMachine(ctx, c.Data, &c.Config, c.PGBin, log); err != nil {
			return err
		}
	}
	a, err := app.New(ctx, &c.Config, app.Options{Name: "recover", Logger: log})
	if err != nil {
		return stopAll(err, nil, m)
	}
	if err := a.Provision(ctx); err != nil {
		return stopAll(err, a, m)
	}
	return stopAll(c.recover(ctx, a), a, m)
}

func (c *recoverCmd) recover(ctx context.Context, a *app.App) error {
	b := a.Broker()
	deps, err := app.OpenReplay(ctx, &c.Config, b)
	if err != nil {
		return err
	}
	deps.Young = c.Young
	positions := map[stream.LogName]map[int]uint64{}
	if s := a.Store(); s != nil {
		if positions, err = s.Positions(ctx); err != nil {
			return err
		}
	}
	known := func(p int) (root uint64) {
		for log, byPartition := range positions {
			if spec, _ := stream.Spec(log); !spec.Truth {
				root = max(root, byPartition[p])
			}
		}
		return root
	}
	list, err := deps.Recover(ctx, known)
	printErased(deps)
	back := 0
	for _, r := range list {
		n := 0
		if r.Archived > r.Before {
			n = int(r.Archived - r.Before)
		}
		back += n + r.Empty
		fmt.Printf("%s: ended at %d, %d messages put back, %d roots are lost\n", stream.StreamName(r.Log, r.Partition), r.Before, n, r.Empty)
	}
	if err != nil {
		return err
	}
	if s := a.Store(); s != nil {
		for p := range b.Partitions() {
			end, err := b.End(ctx, stream.Deliveries, p)
			if err == nil {
				err = s.RewindPosition(ctx, stream.Deliveries, p, end)
			}
			if err != nil {
				return err
			}
		}
	}
	if back == 0 {
		fmt.Println("nothing was missing")
		return nil
	}
	if _, err := b.Rebuild(ctx, stream.Points, deps.Snapshots, standing(positions)); err != nil {
		return err
	}
	fmt.Println("next: start the service; its stages derive the rest again, `edgepulse status` shows how far they are")
	return nil
}

// printErased says what a reader of the archive found empty.
func printErased(d replay.Deps) {
	if n := d.Erased.Load(); n > 0 {
		fmt.Printf("%d entries are empty: their tenants were deleted, and their data keys destroyed\n", n)
	}
}
