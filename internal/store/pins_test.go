package store_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

var modelSpec = &stream.TableSpec{Name: "models", Key: []string{"tenant_id", "metric_id", "version"},
	Columns: []string{"tenant_id", "metric_id", "version", "ts", "rows", "root", "partition", "artefact", "anchor"}}

// models gives the metric n models; that of ordinal i is {i, i} with the artefact "model i".
func (w *world) models(n int) {
	w.t.Helper()
	w.declare()
	w.apply(stream.Scores, func(rows *stream.RowSet) {
		for i := range n { // the later a model, the earlier its ts: what counts is the order of growth
			rows.Add(modelSpec, w.tenant, w.metric, []byte{byte(i), byte(i)}, us(100-i), int64(100*(i+1)), uint64(i+1), 0, fmt.Appendf(nil, "model %d", i), 7.5)
		}
	})
}

func version(i int) string { return hex.EncodeToString([]byte{byte(i), byte(i)}) }

// shelf answers artefacts of the database, and those that were moved out of it.
func shelf(_ context.Context, a store.Artefact) ([]byte, error) {
	if len(a.Data) == 0 {
		return fmt.Appendf(nil, "shelved %d", a.Version[0]), nil
	}
	return a.Data, nil
}

func TestPinsOfModels(t *testing.T) {
	db := storetest.New(t)
	w, other := newWorld(t, db, "acme"), newWorld(t, db, "other")
	w.models(3)
	other.models(3)
	ctx := schemas.WithActor(t.Context(), schemas.KeyActor("abcdefghijkl", "req-1"))

	m, err := db.MetricModel(ctx, w.tenant, w.metric)
	if err != nil || m.InUse != version(2) || m.Newest != version(2) || m.Pinned != nil || m.Version != 0 {
		t.Fatalf("before any pin: %+v, %v", m, err)
	}
	first, err := db.PinModel(ctx, w.tenant, w.metric, []byte{0, 0}, new(uint64(0)), shelf)
	if err != nil || first.InUse != version(0) || first.Newest != version(2) || first.Pinned == nil || first.Pinned.By != "key:abcdefghijkl" || first.Pinned.At.IsZero() || first.Version == 0 {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := db.PinModel(ctx, w.tenant, w.metric, []byte{0, 0}, nil, shelf)
	if err != nil || again.Version != first.Version {
		t.Fatalf("pinned twice: %+v, %v", again, err)
	}
	list, err := db.ListModels(ctx, w.tenant, w.metric, api.PageRequest{})
	if err != nil || len(list.Data) != 3 {
		t.Fatal(list, err)
	}
	for _, v := range list.Data {
		if want := v.Version == version(0); v.InUse != want || v.Pinned != want {
			t.Errorf("in the list: %+v", v)
		}
	}
	if v, err := db.Metric(ctx, w.tenant, w.metric.String(), at(0)); err != nil || v.Pinned == nil || *v.Pinned != *first.Pinned {
		t.Errorf("the metric: %+v, %v", v.Pinned, err)
	}
	pending, err := db.PendingControls(ctx, 10)
	if err != nil || len(pending) != 1 {
		t.Fatal(pending, err)
	}
	carriesPin(t, decode(t, pending[0].Payload), w.metric, []byte{0, 0}, "model 0")

	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"an old version":          {second(db.PinModel(ctx, w.tenant, w.metric, []byte{1, 1}, new(uint64(0)), shelf)), store.ErrConflict},
		"an unknown model":        {second(db.PinModel(ctx, w.tenant, w.metric, []byte{9, 9}, nil, shelf)), store.ErrUnknownModel},
		"a foreign metric":        {second(db.PinModel(ctx, other.tenant, w.metric, []byte{1, 1}, nil, shelf)), store.ErrNotFound},
		"a foreign metric's":      {second(db.MetricModel(ctx, other.tenant, w.metric)), store.ErrNotFound},
		"unpin a foreign metric":  {db.UnpinModel(ctx, other.tenant, w.metric, nil), store.ErrNotFound},
		"unpin an old version":    {db.UnpinModel(ctx, w.tenant, w.metric, new(uint64(0))), store.ErrConflict},
		"roll a foreign one back": {second(db.RollBackModel(ctx, other.tenant, w.metric, nil, api.RequestKey{}, shelf)), store.ErrNotFound},
		"nothing before it":       {second(db.RollBackModel(ctx, w.tenant, w.metric, nil, api.RequestKey{}, shelf)), store.ErrNoEarlierModel},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v", name, c.err)
		}
	}

	if err := db.UnpinModel(ctx, w.tenant, w.metric, &first.Version); err != nil {
		t.Fatal(err)
	}
	if err := db.UnpinModel(ctx, w.tenant, w.metric, nil); err != nil { // nothing is pinned: nothing happens
		t.Fatal(err)
	}
	all, err := db.AllControls(ctx)
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	carriesPin(t, all[0], w.metric, nil, "")

	once := api.RequestKey{Key: "k", Sum: [32]byte{1}}
	back, err := db.RollBackModel(ctx, w.tenant, w.metric, nil, once, shelf)
	if err != nil || back.InUse != version(1) {
		t.Fatalf("%+v, %v", back, err)
	}
	if again, err = db.RollBackModel(ctx, w.tenant, w.metric, nil, once, shelf); err != nil || again.Version != back.Version {
		t.Fatalf("repeated: %+v, %v", again, err)
	}
	if _, err := db.RollBackModel(ctx, w.tenant, w.metric, nil, api.RequestKey{Key: "k", Sum: [32]byte{2}}, shelf); !errors.Is(err, store.ErrOtherBody) {
		t.Fatalf("the key with another body: %v", err)
	}
	// The next one back is in the object store only; a fetch that fails changes nothing.
	if err := db.ArtefactsStored(ctx, [][]byte{{0, 0}}); err != nil {
		t.Fatal(err)
	}
	gone := errors.New("gone")
	if _, err := db.RollBackModel(ctx, w.tenant, w.metric, nil, api.RequestKey{Key: "l"}, func(context.Context, store.Artefact) ([]byte, error) { return nil, gone }); !errors.Is(err, gone) {
		t.Fatal(err)
	}
	if now, err := db.MetricModel(ctx, w.tenant, w.metric); err != nil || now.Version != back.Version {
		t.Fatalf("%+v, %v", now, err)
	}
	last, err := db.RollBackModel(ctx, w.tenant, w.metric, &back.Version, api.RequestKey{Key: "l"}, shelf)
	if err != nil || last.InUse != version(0) {
		t.Fatalf("%+v, %v", last, err)
	}
	if all, err = db.AllControls(ctx); err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	carriesPin(t, all[0], w.metric, []byte{0, 0}, "shelved 0")

	// The pin needs neither the row of its model nor its object.
	if err := db.TruncateProjected(ctx, stream.Scores); err != nil {
		t.Fatal(err)
	}
	if all, err = db.AllControls(ctx); err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	carriesPin(t, all[0], w.metric, []byte{0, 0}, "shelved 0")

	log, err := db.Audit(ctx, w.tenant, api.PageRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for i, e := range log.Data {
		if e.Actor == "key:abcdefghijkl" {
			actions = append(actions, e.Action)
			if e.RequestID != "req-1" || e.Target != w.metric.String() || e.Before == e.After || (e.After == "") != (e.Action == "model.unpinned") {
				t.Errorf("%d: %+v", i, e)
			}
		}
	}
	if want := []string{"model.rolled_back", "model.rolled_back", "model.unpinned", "model.pinned"}; !slices.Equal(actions, want) {
		t.Errorf("audit log %q, want %q", actions, want)
	}

	if _, err := db.BeginErasure(ctx, w.tenant); err != nil {
		t.Fatal(err)
	}
	if n, err := db.Erase(ctx, w.tenant, []schemas.ID{w.metric}); err != nil || n["model_pins"] != 1 {
		t.Errorf("the deletion of its tenant takes %v, %v", n, err)
	}
	if all, err = db.AllControls(ctx); err != nil || len(all) != 0 {
		t.Errorf("a pin outlives its tenant: %v, %v", all, err)
	}
}

func carriesPin(t *testing.T, c *schemas.Control, metric schemas.ID, model []byte, artefact string) {
	t.Helper()
	p := c.GetModelPin()
	if p == nil || schemas.ID(p.MetricId) != metric || !bytes.Equal(p.Version, model) || string(p.Artefact) != artefact || c.Version == 0 {
		t.Errorf("control %v, want model %x with %q", c, model, artefact)
	}
}

func TestArtefactOfAModel(t *testing.T) {
	db := storetest.New(t)
	w := newWorld(t, db, "acme")
	w.models(2)
	m, a, anchor, err := db.ModelArtefact(t.Context(), w.tenant, w.metric, []byte{1, 1})
	if err != nil || m.Version != version(1) || !m.InUse || string(a.Data) != "model 1" || anchor == nil || *anchor != 7.5 {
		t.Fatalf("%+v, %s, %v, %v", m, a.Data, anchor, err)
	}
	if err := db.ArtefactsStored(t.Context(), [][]byte{{1, 1}}); err != nil {
		t.Fatal(err)
	}
	if m, a, _, err = db.ModelArtefact(t.Context(), w.tenant, w.metric, []byte{1, 1}); err != nil || !m.Archived || len(a.Data) > 0 {
		t.Fatalf("%+v, %s, %v", m, a.Data, err)
	}
	for _, err := range []error{third(db.ModelArtefact(t.Context(), schemas.NewID(), w.metric, []byte{1, 1})), third(db.ModelArtefact(t.Context(), w.tenant, w.metric, []byte{8, 8}))} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("foreign or unknown: %v", err)
		}
	}
}

func third[A, B, C any](_ A, _ B, _ C, err error) error { return err }
