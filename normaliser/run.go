package normaliser

import "github.com/edgepulse/edgepulse/stream"

// Name is the stage's one word: folder, subcommand, metric label.
const Name = "normaliser"

// Stage hands the core to the runner.
func Stage() stream.Stage {
	return stream.Stage{Name: Name, From: stream.Ingest, To: stream.Points,
		Folds: map[uint32]func() stream.Fold{1: New}, Version: 1}
}
