package alerter

import "github.com/edgepulse/edgepulse/stream"

// Name is the stage's one word: folder, subcommand, metric label.
const Name = "alerter"

// Stage hands the core to the runner.
func Stage() stream.Stage {
	return stream.Stage{Name: Name, From: stream.Scores, To: stream.Alerts,
		Folds: map[uint32]func() stream.Fold{Version: func() stream.Fold { return New() }}, Version: Version}
}
