package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/edgepulse/edgepulse/gateway"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/scorer"
	"github.com/edgepulse/edgepulse/stream"
)

func (q queries) GetMetricModel(ctx context.Context, t, metric schemas.ID) (api.MetricModel, error) {
	return one(q.s.MetricModel(ctx, t, metric))
}

func (q queries) PinModel(ctx context.Context, t, metric schemas.ID, model []byte, ifVersion *uint64) (api.MetricModel, error) {
	return one(q.s.PinModel(ctx, t, metric, model, ifVersion, q.artefact))
}

func (q queries) UnpinModel(ctx context.Context, t, metric schemas.ID, ifVersion *uint64) error {
	return asGateway(q.s.UnpinModel(ctx, t, metric, ifVersion))
}

func (q queries) RollBackModel(ctx context.Context, t, metric schemas.ID, ifVersion *uint64, once api.RequestKey) (api.MetricModel, error) {
	return one(q.s.RollBackModel(ctx, t, metric, ifVersion, once, q.artefact))
}

// artefact returns a model's artefact from where it is, checked: what a fold would
// refuse goes into no log.
func (q queries) artefact(ctx context.Context, a store.Artefact) ([]byte, error) {
	data := a.Data
	if len(data) == 0 {
		if q.archive == nil {
			return nil, fmt.Errorf("%w: this gateway has no object store", gateway.ErrModelGone)
		}
		var err error
		data, err = q.archive.Get(ctx, ArtefactName(a.Version))
		if errors.Is(err, stream.ErrBlobNotFound) {
			return nil, gateway.ErrModelGone
		}
		if err != nil {
			return nil, fmt.Errorf("read artefact %x: %w", a.Version, err)
		}
	}
	err := scorer.CheckArtefact(a.Version, data)
	switch {
	case errors.Is(err, scorer.ErrFeatures):
		return nil, fmt.Errorf("%w: %w", gateway.ErrModelUnfit, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", gateway.ErrModelGone, err)
	}
	return data, nil
}

// DiffModels compares model with another of its metric.
func (q queries) DiffModels(ctx context.Context, t schemas.ID, model, against []byte, evaluations int) (api.ModelDiff, error) {
	var out api.ModelDiff
	found, err := q.s.Model(ctx, t, model)
	if err != nil {
		return out, asGateway(err)
	}
	metric, err := schemas.ParseID(found.MetricID)
	if err != nil {
		return out, fmt.Errorf("read metric: %w", err)
	}
	if against, err = q.against(ctx, t, metric, against); err != nil {
		return out, err
	}
	from, err := q.side(ctx, t, metric, against)
	if err != nil {
		return out, err
	}
	to, err := q.side(ctx, t, metric, model)
	if err != nil {
		return out, err
	}
	out = api.ModelDiff{MetricID: found.MetricID, DeviceExternalID: found.DeviceExternalID, MetricName: found.MetricName, From: from.shape, To: to.shape}
	if from.anchor == nil || to.anchor == nil || *from.anchor != *to.anchor {
		return out, nil // the samples can't be laid over the same evaluations
	}
	obs, err := q.observations(ctx, t, metric, evaluations+scorer.CompareWarmUp)
	if err != nil {
		return out, err
	}
	c, err := scorer.Compare(metric, from.artefact, to.artefact, *from.anchor, obs, evaluations)
	if err != nil {
		return out, fmt.Errorf("compare models: %w", err)
	}
	out.Changes = changes(c)
	return out, nil
}

// against is the version to compare with: the one in use where none is named.
func (q queries) against(ctx context.Context, t, metric schemas.ID, version []byte) ([]byte, error) {
	if version == nil {
		return one(q.s.ModelInUse(ctx, t, metric))
	}
	if _, _, _, err := q.s.ModelArtefact(ctx, t, metric, version); !errors.Is(err, store.ErrNotFound) {
		return version, asGateway(err)
	}
	if _, err := q.s.Model(ctx, t, version); err != nil {
		return nil, asGateway(err)
	}
	return nil, gateway.ErrOtherMetric
}

// side is one of two models that are compared.
type side struct {
	shape    api.ModelShape
	artefact []byte
	anchor   *float64
}

func (q queries) side(ctx context.Context, t, metric schemas.ID, version []byte) (side, error) {
	var out side
	m, a, anchor, err := q.s.ModelArtefact(ctx, t, metric, version)
	if err != nil {
		return out, asGateway(err)
	}
	out.anchor = anchor
	if out.artefact, err = q.artefact(ctx, a); err != nil {
		return out, err
	}
	d, err := scorer.Describe(out.artefact, anchor)
	if err != nil {
		return out, fmt.Errorf("describe model: %w", err)
	}
	out.shape = api.ModelShape{Model: m, SampleRows: d.Rows, Trees: d.Trees, Nodes: d.Nodes, MeanDepth: d.MeanDepth}
	for _, f := range d.Features {
		out.shape.Features = append(out.shape.Features, api.ModelFeature(f))
	}
	return out, nil
}

// observations are a metric's last evaluations by points as its model saw them, in
// the order of its log.
func (q queries) observations(ctx context.Context, t, metric schemas.ID, n int) ([]scorer.Observation, error) {
	page, err := q.s.Features(ctx, t, metric, api.Range{}, api.PageRequest{Limit: n}, store.Newest)
	if err != nil {
		return nil, asGateway(err)
	}
	list := slices.DeleteFunc(page.Data, func(f api.Features) bool { return f.Tick || f.Silent || f.Value == nil })
	slices.SortStableFunc(list, func(a, b api.Features) int {
		return cmp.Or(cmp.Compare(a.Root, b.Root), a.TS.Compare(b.TS))
	})
	out := make([]scorer.Observation, len(list))
	for i := range list {
		out[i] = observation(&list[i])
	}
	return out, nil
}

func observation(f *api.Features) scorer.Observation {
	v := func(p *float64) float64 {
		if p == nil {
			return 0
		}
		return *p
	}
	// In the order of scorer.FeatureNames; the residual is the model's own.
	return scorer.Observation{TS: f.TS.UnixMicro(), Value: v(f.Value), Extreme: v(f.Extreme), Features: []float64{v(f.Mean), v(f.Std), v(f.Median), v(f.MAD),
		v(f.Min), v(f.Max), v(f.Range), v(f.Slope), v(f.MissingRate), float64(f.StuckRun), v(f.Last), 0}}
}

func changes(c scorer.Comparison) *api.ModelChanges {
	out := &api.ModelChanges{Evaluations: c.Count, Forest: api.ModelDifference(c.Forest), Score: api.ModelDifference(c.Score),
		Warnings: api.ModelWarnings{From: c.WarnFrom, To: c.WarnTo, Changed: c.WarnChanged}, Largest: []api.ModelInstant{}}
	for _, at := range c.LargestChanges {
		out.Largest = append(out.Largest, api.ModelInstant{TS: time.UnixMicro(at.TS).UTC(), Value: at.Value, From: opinion(at.From), To: opinion(at.To)})
	}
	return out
}

func opinion(o scorer.Opinion) api.ModelOpinion {
	return api.ModelOpinion{Forest: o.Forest, Score: o.Score, Severity: o.Severity.String()}
}
