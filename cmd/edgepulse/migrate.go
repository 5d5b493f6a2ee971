package main

import (
	"context"
	"fmt"

	"github.com/edgepulse/edgepulse/internal/app"
)

type migrateCmd struct {
	inside
	WriterPassword string `help:"Password to set for the writer role." env:"EDGEPULSE_DATABASE_WRITER_PASSWORD" placeholder:"SECRET"`
	AppPassword    string `help:"Password to set for the app role." env:"EDGEPULSE_DATABASE_APP_PASSWORD" placeholder:"SECRET"`
}

func (migrateCmd) Help() string {
	return "Makes the roles edgepulse_writer and edgepulse_app and applies what is missing. Safe to run at every deployment.\n\nExample:\n  EDGEPULSE_DATABASE_OWNER_URL=postgres://owner@db/edgepulse edgepulse migrate"
}

func (c *migrateCmd) Run(ctx context.Context) error {
	c.fill()
	if err := app.Migrate(ctx, &c.Config, c.WriterPassword, c.AppPassword); err != nil {
		return err
	}
	fmt.Println("schema is up to date; next: `edgepulse tenant create NAME`")
	return nil
}
