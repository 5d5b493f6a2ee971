package featurizer

import "github.com/edgepulse/edgepulse/stream"

// Name is the stage's one word: folder, subcommand, metric label.
const Name = "featurizer"

// Stage hands the core to the runner.
func Stage(cfg Config) stream.Stage {
	return stream.Stage{Name: Name, From: stream.Points, To: stream.Features,
		Folds: map[uint32]func() stream.Fold{1: func() stream.Fold { return NewFold(cfg) }}, Version: 1}
}
