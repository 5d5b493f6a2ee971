package app

import (
	"fmt"

	"github.com/edgepulse/edgepulse/alerter"
	"github.com/edgepulse/edgepulse/featurizer"
	"github.com/edgepulse/edgepulse/normaliser"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/scorer"
	"github.com/edgepulse/edgepulse/stream"
)

// Pipeline is the chain of folds without logs, runner or server: what
// `edgepulse score` uses, and the yardstick of the crash test. One Pipeline is
// one partition.
type Pipeline struct {
	stages []pipelineStage
	// Each, when set, sees every output of every stage, in order.
	Each func(log stream.LogName, root uint64, entry []byte) error

	rename map[schemas.ID]schemas.ID // of metrics, behind the normaliser
}

type pipelineStage struct {
	log  stream.LogName
	fold stream.Fold
	out  stream.Outputs
}

// NewPipeline makes an empty chain.
func NewPipeline(cfg featurizer.Config) *Pipeline {
	return &Pipeline{stages: []pipelineStage{
		{log: stream.Points, fold: normaliser.New()},
		{log: stream.Features, fold: featurizer.NewFold(cfg)},
		{log: stream.Scores, fold: scorer.New()},
		{log: stream.Alerts, fold: alerter.New()},
	}}
}

// Root folds the entries of one INGEST message through all stages.
func (p *Pipeline) Root(partition int, root uint64, entries [][]byte) error {
	for i := range p.stages {
		s := &p.stages[i]
		s.out.Reset()
		for j, e := range entries {
			if err := s.fold.Apply(stream.Input{Partition: partition, Root: root, Index: j, Bytes: e}, &s.out); err != nil {
				return fmt.Errorf("fold root %d into %s: %w", root, s.log, err)
			}
		}
		entries = s.out.Entries()
		if s.log == stream.Points && len(p.rename) > 0 {
			if err := p.renamed(entries); err != nil {
				return err
			}
		}
		if p.Each == nil {
			continue
		}
		for _, e := range entries {
			if err := p.Each(s.log, root, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// renamed gives series the metric id they have in a service, so that a file
// scores as its import did there.
func (p *Pipeline) renamed(entries [][]byte) error {
	for i, raw := range entries {
		if schemas.KindOf(raw) != schemas.KindPoints {
			continue
		}
		e := &schemas.Entry{}
		if err := e.UnmarshalVT(raw); err != nil {
			return fmt.Errorf("decode points: %w", err)
		}
		for _, s := range e.GetPoints().Series {
			if id, ok := p.rename[schemas.ID(s.MetricId)]; ok {
				s.MetricId = id[:]
			}
		}
		b, err := e.MarshalVT()
		if err != nil {
			return fmt.Errorf("encode points: %w", err)
		}
		entries[i] = b
	}
	return nil
}
