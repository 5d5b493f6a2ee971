package app

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/scorer"
	"github.com/edgepulse/edgepulse/stream"
)

// madeUp is evaluation i of a metric.
func madeUp(metric schemas.ID, w *world, i int) *schemas.Features {
	x := 20 + math.Sin(float64(i)/9) + float64(i*7919%101)/100
	return &schemas.Features{TenantId: w.tenant[:], DeviceId: w.device[:], MetricId: metric[:], Ts: us(i), WindowStart: us(i - 300), WindowEnd: us(i), LastTs: us(i), ReceivedAt: us(i),
		Value: x, Extreme: x, Last: x, Count: 300, Mean: 20.5 + x/100, Std: .7 + x/1000, Median: 20.4, Mad: x / 40, Min: 19, Max: 22 + x/50, Range: 3 + x/50, Slope: x / 1e4}
}

// grownModels folds made-up evaluations until the scorer has announced n models.
func grownModels(t *testing.T, metric schemas.ID, n int) []*schemas.ModelVersion {
	t.Helper()
	var list []*schemas.ModelVersion
	fold := scorer.New()
	var out stream.Outputs
	for i := 0; len(list) < n; i++ {
		in, err := (&schemas.Entry{Kind: &schemas.Entry_Features{Features: madeUp(metric, &world{}, i)}}).MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		out.Reset()
		if err := fold.Apply(stream.Input{Bytes: in}, &out); err != nil {
			t.Fatal(err)
		}
		for _, raw := range out.Entries() {
			e := &schemas.Entry{}
			if err := e.UnmarshalVT(bytes.Clone(raw)); err != nil {
				t.Fatal(err)
			}
			if m := e.GetModelVersion(); m != nil {
				list = append(list, m)
			}
		}
	}
	return list
}

func (w *world) announced(metric schemas.ID, m *schemas.ModelVersion) *schemas.Entry {
	m.TenantId, m.MetricId = w.tenant[:], metric[:]
	return &schemas.Entry{Kind: &schemas.Entry_ModelVersion{ModelVersion: m}}
}

// TestModelsOverTheAPI compares, pins and rolls back over a real database: what is
// answered, what is refused and how.
func TestModelsOverTheAPI(t *testing.T) {
	b := newAPIBench(t)
	metric := mustParse(b.ids["/v1/metrics"])
	newest := b.ids["/v1/models"]
	model := "/v1/metrics/" + metric.String() + "/model"

	var list api.Page[api.Model]
	b.read(http.MethodGet, "/v1/models?metric_id="+metric.String(), "", &list)
	if len(list.Data) != 2 || list.Data[0].Version != newest || !list.Data[0].InUse || list.Data[1].InUse {
		t.Fatalf("%+v", list.Data)
	}
	first := list.Data[1].Version

	// A diff over evaluations that are there.
	var evaluations []*schemas.Entry
	for i := range 1500 {
		evaluations = append(evaluations, &schemas.Entry{Kind: &schemas.Entry_Features{Features: madeUp(metric, b.w, 5000+i)}})
	}
	b.w.project(stream.Features, 2, evaluations...)
	var d api.ModelDiff
	b.read(http.MethodGet, "/v1/models/"+first+"/diff?evaluations=700", "", &d)
	if d.From.Model.Version != newest || d.To.Model.Version != first || len(d.From.Features) != scorer.FeatureCount || d.MetricName != "temperature" {
		t.Fatalf("%+v", d)
	}
	if c := d.Changes; c == nil || c.Evaluations != 700 || c.Forest.Max == 0 || len(c.Largest) != 10 || c.Largest[0].TS.Before(at(5000)) {
		t.Fatalf("%+v", c)
	}
	if f := d.To.Features[0]; f.Name != "mean" || f.Min < 20 || f.Max > 21 || f.SplitShare <= 0 {
		t.Errorf("the mean stands in the metric's unit: %+v", f)
	}
	b.read(http.MethodGet, "/v1/models/"+first+"/diff?against="+first, "", &d)
	if d.Changes.Evaluations != 500 || d.Changes.Score.Max != 0 {
		t.Errorf("against itself: %+v", d.Changes)
	}

	// Pin, roll back, unpin; each with the versions that it needs.
	var m api.MetricModel
	if tag := b.read(http.MethodGet, model, "", &m); tag != `"0"` || m.InUse != newest || m.Pinned != nil {
		t.Fatal(tag, m)
	}
	tag := b.read(http.MethodPut, model, `{"version":"`+first+`"}`, &m, "If-Match", `"0"`)
	if m.InUse != first || m.Newest != newest || m.Pinned == nil || !strings.HasPrefix(m.Pinned.By, "key:") || tag != fmt.Sprintf("%q", fmt.Sprint(m.Version)) {
		t.Fatal(tag, m)
	}
	b.refused(http.MethodPut, model, `{"version":"`+newest+`"}`, http.StatusPreconditionFailed, "version_mismatch", "", "If-Match", `"0"`)
	b.refused(http.MethodPost, model+"/rollback", "", http.StatusConflict, "no_earlier_model", "")
	b.refused(http.MethodPut, model, `{}`, http.StatusUnprocessableEntity, "invalid_request", "/version")
	b.refused(http.MethodPut, model, `{"version":"`+strings.ToUpper(first)+`"}`, http.StatusUnprocessableEntity, "invalid_request", "/version")
	b.refused(http.MethodPut, model, `{"version":"`+strings.Repeat("0", 64)+`"}`, http.StatusUnprocessableEntity, "invalid_request", "/version")
	b.refused(http.MethodPut, model, `{"version":7}`, http.StatusBadRequest, "wrong_type", "/version")
	b.refused(http.MethodGet, "/v1/models/"+first+"/diff?against=x", "", http.StatusBadRequest, "bad_parameter", "?against")
	b.refused(http.MethodGet, "/v1/models/"+first+"/diff?evaluations=5001", "", http.StatusBadRequest, "bad_parameter", "?evaluations")
	b.refused(http.MethodGet, "/v1/models/"+first+"/diff?against="+strings.Repeat("0", 64), "", http.StatusNotFound, "not_found", "")
	var shown api.Metric
	b.read(http.MethodGet, "/v1/metrics/"+metric.String(), "", &shown)
	if shown.Pinned == nil || shown.Pinned.Version != first {
		t.Errorf("the metric does not say that it is pinned: %+v", shown.Pinned)
	}
	b.want(http.StatusNoContent, http.MethodDelete, model, "")
	once := []string{"Idempotency-Key", "back"}
	b.read(http.MethodPost, model+"/rollback", "", &m, once...)
	before := m
	b.read(http.MethodPost, model+"/rollback", "", &m, once...)
	if m.InUse != first || m.Version != before.Version {
		t.Errorf("a repeat rolls back again: %+v", m)
	}

	// Another metric's models can be neither pinned nor compared; without their
	// artefact they are gone, over other features they do not fit.
	other, declared := b.w.declared("pressure")
	b.w.project(stream.Points, 5, declared)
	strange := grownModels(t, other, 1)[0]
	odd := &schemas.ModelVersion{Ts: us(1), Rows: 999, Artefact: bytes.Clone(strange.Artefact)}
	odd.Artefact[8], odd.Artefact[12] = byte(scorer.FeatureCount/2), odd.Artefact[12]*2 // half the features, twice the rows
	sum := sha256.Sum256(odd.Artefact)
	odd.Version = sum[:]
	b.w.project(stream.Scores, 5, b.w.announced(other, strange), b.w.announced(other, odd))
	theirs := fmt.Sprintf("%x", strange.Version)
	b.refused(http.MethodPut, model, `{"version":"`+theirs+`"}`, http.StatusUnprocessableEntity, "invalid_request", "/version")
	b.refused(http.MethodGet, "/v1/models/"+first+"/diff?against="+theirs, "", http.StatusUnprocessableEntity, "invalid_request", "?against")
	b.refused(http.MethodPut, "/v1/metrics/"+other.String()+"/model", fmt.Sprintf(`{"version":"%x"}`, odd.Version), http.StatusUnprocessableEntity, "model_unfit", "")
	if err := b.db.ArtefactsStored(t.Context(), [][]byte{strange.Version}); err != nil {
		t.Fatal(err)
	}
	b.refused(http.MethodPut, "/v1/metrics/"+other.String()+"/model", `{"version":"`+theirs+`"}`, http.StatusGone, "model_gone", "")
	b.refused(http.MethodPost, "/v1/metrics/"+other.String()+"/model/rollback", "", http.StatusGone, "model_gone", "")
}

// read wants a success and answers with its ETag.
func (b *apiBench) read(method, target, body string, into any, headers ...string) string {
	b.t.Helper()
	r := b.do(method, target, b.key, body, headers...)
	if r.Code != http.StatusOK {
		b.t.Fatalf("%s %s: %d %s", method, target, r.Code, r.Body)
	}
	clean := bytes.TrimSpace(r.Body.Bytes())
	switch v := into.(type) { // nothing stays of an answer before
	case *api.MetricModel:
		*v = api.MetricModel{}
	case *api.ModelDiff:
		*v = api.ModelDiff{}
	}
	if err := json.Unmarshal(clean, into); err != nil {
		b.t.Fatal(err)
	}
	return r.Header().Get("ETag")
}

func (b *apiBench) refused(method, target, body string, status int, code, pointer string, headers ...string) {
	b.t.Helper()
	r := b.do(method, target, b.key, body, headers...)
	var p api.Problem
	if err := json.Unmarshal(r.Body.Bytes(), &p); err != nil || r.Code != status || p.Code != code || p.Detail == "" {
		b.t.Errorf("%s %s %s: %d %s, want %d %s", method, target, body, r.Code, r.Body, status, code)
		return
	}
	if pointer != "" && (len(p.Errors) != 1 || p.Errors[0].Pointer != pointer) {
		b.t.Errorf("%s %s: %s does not point at %s", method, target, r.Body, pointer)
	}
}

// An artefact is taken from the object store once the database has let go of it, and
// never when it is not the one of its version.
func TestArtefactsFromTheObjectStore(t *testing.T) {
	b := newAPIBench(t)
	metric := mustParse(b.ids["/v1/metrics"])
	blobs, err := archive.Open(t.Context(), "file://"+t.TempDir(), archive.Credentials{})
	if err != nil {
		t.Fatal(err)
	}
	q := queries{s: b.db.Store, archive: blobs}
	m := grownModels(t, metric, 1)[0]
	if err := b.db.ArtefactsStored(t.Context(), [][]byte{m.Version}); err != nil {
		t.Fatal(err)
	}
	pin := func() error {
		_, err := q.PinModel(context.Background(), b.w.tenant, metric, m.Version, nil)
		return err
	}
	if err := pin(); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Fatalf("without an object: %v", err)
	}
	if err := blobs.Create(t.Context(), ArtefactName(m.Version), m.Artefact[:len(m.Artefact)-1]); err != nil {
		t.Fatal(err)
	}
	if err := pin(); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatalf("a damaged object: %v", err)
	}
	if err := blobs.Delete(t.Context(), ArtefactName(m.Version)); err != nil {
		t.Fatal(err)
	}
	if err := blobs.Create(t.Context(), ArtefactName(m.Version), m.Artefact); err != nil {
		t.Fatal(err)
	}
	if err := pin(); err != nil {
		t.Fatal(err)
	}
}
