package replay

import (
	"context"

	"github.com/edgepulse/edgepulse/internal/client"
)

type Served struct {
	Scores, Alerts, Differing int
	Listed                    []string
}

func (s *Shadow) CompareServed(ctx context.Context, api *client.Client) (Served, error) {
	return Served{}, nil
}
