package scorer

import "github.com/edgepulse/edgepulse/stream"

// Name is the stage's one word: folder, subcommand, metric label.
const Name = "scorer"

// Stage hands the core to the runner.
func Stage() stream.Stage {
	return stream.Stage{Name: Name, From: stream.Features, To: stream.Scores,
		Folds: map[uint32]func() stream.Fold{1: New}, Version: 1}
}
