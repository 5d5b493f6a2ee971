package app

import "context"

func startArchiver(context.Context, *App) (func(context.Context) error, error) {
	return func(context.Context) error { return nil }, nil
}
