package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/edgepulse/edgepulse/alerter/deliverer"
	"github.com/edgepulse/edgepulse/gateway"
	"github.com/edgepulse/edgepulse/internal/demo"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/schemas/apikey"
	"github.com/edgepulse/edgepulse/schemas/contract"
	"github.com/edgepulse/edgepulse/schemas/edge"
	"github.com/edgepulse/edgepulse/stream"
)

// apiBench is the whole API over a real broker and database, with a tenant that has
// one of everything. Every answer is held against the contract.
type apiBench struct {
	t       *testing.T
	db      *storetest.DB
	c       *contract.Contract
	handler http.Handler
	inbox   *demo.Inbox
	w       *world
	key     string // of w, all scopes
	ids     map[string]string
	cookie  string
}

const (
	edgeSecretHex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	inboxSecret   = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
)

var theContract = sync.OnceValues(contract.Load)

func newAPIBench(t *testing.T) *apiBench {
	t.Helper()
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	l := newLiveBench(t)
	b := &apiBench{t: t, db: l.db, c: c}
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	t.Cleanup(target.Close)
	if b.inbox, err = demo.OpenInbox(filepath.Join(t.TempDir(), "inbox")); err != nil {
		t.Fatal(err)
	}
	if err := b.inbox.Trust(inboxSecret); err != nil {
		t.Fatal(err)
	}
	allow := []string{"127.0.0.1/32"}
	probe, err := deliverer.NewProbe(deliverer.Config{Allow: allow})
	if err != nil {
		t.Fatal(err)
	}
	cfg := gateway.DefaultConfig()
	sum := sha256.Sum256([]byte(ownerToken))
	cfg.OwnerTokenHash = hex.EncodeToString(sum[:])
	cfg.Addr, cfg.Partitions, cfg.Pepper, cfg.Clock, cfg.WebhookAllow, cfg.EdgeSecrets = "", livePartitions, string(b.db.Config.Pepper), "sim", allow, edgeSecretHex
	srv, err := gateway.New(cfg, gateway.Deps{Log: ingestLog{l.broker}, Keys: keys{b.db.Store}, Live: l.broker, Clock: gateway.NewSimClock(us(3600)),
		Queries: queries{s: b.db.Store, tracer: &Tracer{Store: b.db.Store, Broker: l.broker}, probe: probe}, Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
		Usage: b.db.Store, Accounts: accounts{b.db.Store}, Owner: owner{b.db.Store, l.broker},
		Ready:  map[string]gateway.Check{"database": b.db.Ping},
		Routes: []gateway.Route{{Pattern: "POST /demo/inbox", Handler: http.HandlerFunc(b.inbox.Receive)}, {Pattern: "GET /demo/inbox", Handler: http.HandlerFunc(b.inbox.List)}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Stop(context.Background()) })
	b.handler = c.Handler(srv.Handler(), func(why string) { b.t.Error(why) })
	b.w = newWorld(t, b.db, "tenant-of-the-secret")
	b.key = b.newKey(b.w.tenant, time.Time{}, store.ScopeIngest, store.ScopeRead, store.ScopeAdmin)
	b.fill(target.URL)
	return b
}

func (b *apiBench) newKey(tenant schemas.ID, expires time.Time, scopes ...string) string {
	b.t.Helper()
	key, _, err := b.db.CreateKey(b.t.Context(), tenant, scopes, store.KeyOptions{ExpiresAt: expires})
	if err != nil {
		b.t.Fatal(err)
	}
	return key
}

// fill gives the tenant one of everything.
func (b *apiBench) fill(target string) {
	b.t.Helper()
	w := b.w
	metric, declared := w.declared("temperature")
	batch := "00000000-0000-7000-8000-00000000000a"
	var ts []int64
	for i := range 50 {
		ts = append(ts, us(i))
	}
	w.project(stream.Points, 1, declared, w.samples(metric, ts, func(i int) float64 { return float64(i % 7) }),
		&schemas.Entry{Kind: &schemas.Entry_Receipt{Receipt: &schemas.Receipt{TenantId: w.tenant[:], RequestId: batch, Parts: 1, ReceivedAt: us(49), Points: 51, Accepted: 50,
			Rejected: 1, Rejections: []*schemas.Rejection{{Index: 50, Code: "wrong_type"}}, KeyId: "k", Source: "http", BodySha256: make([]byte, 32)}}})
	w.project(stream.Features, 1, &schemas.Entry{Kind: &schemas.Entry_Features{Features: &schemas.Features{TenantId: w.tenant[:], DeviceId: w.device[:], MetricId: metric[:],
		Ts: us(49), WindowStart: us(-250), WindowEnd: us(49), LastTs: us(49), ReceivedAt: us(49), Count: 50, Mean: 3}}})
	models := grownModels(b.t, metric, 2)
	version := sha256.Sum256(models[1].Artefact)
	w.project(stream.Scores, 1, w.scored(metric, 48, nil), w.scored(metric, 49, func(s *schemas.Score) {
		s.Severity, s.Label, s.Explanation, s.ModelVersion = schemas.Severity_SEVERITY_CRITICAL, schemas.Label_LABEL_SPIKE, "far above", version[:]
		s.Contributors = []*schemas.Contribution{{Name: "fast", Share: 1}}
	}), w.announced(metric, models[0]), w.announced(metric, models[1]))
	alert := schemas.ID{1, 2, 3}
	w.project(stream.Alerts, 1, w.alerted(alert, 0, schemas.AlertState_ALERT_STATE_OPENED, 49))
	b.ids = map[string]string{"/v1/devices": w.device.String(), "/v1/metrics": metric.String(), "/v1/batches": batch, "/v1/alerts": alert.String(),
		"/v1/alert-events": schemas.EventID(alert, 0).String(), "/v1/models": fmt.Sprintf("%x", version)}
	for path, body := range map[string]string{
		"/v1/alert-rules": `{"name":"the secret rule","metric_pattern":"temp*","tags":{"hall":"A"},"labels":["spike"],"for":"30s"}`,
		"/v1/silences":    `{"device_pattern":"press-*","starts_at":"2026-11-01T00:00:00Z","ends_at":"2026-11-02T00:00:00Z","comment":"the secret silence"}`,
		"/v1/webhooks":    `{"url":"` + target + `","description":"the secret hook"}`,
	} {
		var made struct{ ID string }
		r := b.do(http.MethodPost, path, b.key, body, "Idempotency-Key", "fill")
		if err := json.Unmarshal(r.Body.Bytes(), &made); err != nil || r.Code != http.StatusCreated || r.Header().Get("Location") != path+"/"+made.ID || r.Header().Get("ETag") == "" {
			b.t.Fatal(path, r.Code, r.Body, r.Header())
		}
		if again := b.do(http.MethodPost, path, b.key, body, "Idempotency-Key", "fill"); again.Body.String() != r.Body.String() {
			b.t.Errorf("a repeat is answered with %s, at first %s", again.Body, r.Body)
		}
		if other := b.do(http.MethodPost, path, b.key, body+" ", "Idempotency-Key", "fill"); other.Code != http.StatusUnprocessableEntity || !strings.Contains(other.Body.String(), "idempotency_key_reused") {
			b.t.Error("the key with another body:", other.Code, other.Body)
		}
		b.ids[path] = made.ID
	}
	var made api.Key
	if r := b.do(http.MethodPost, "/v1/keys", b.key, `{"name":"the secret key","scopes":["ingest"],"device_pattern":"press-*"}`); r.Code != http.StatusCreated ||
		json.Unmarshal(r.Body.Bytes(), &made) != nil || r.Header().Get("Location") != "/v1/keys/"+made.ID {
		b.t.Fatal(r.Code, r.Body, r.Header())
	}
	b.ids["/v1/keys"], b.ids["/v1/owner/tenants"], b.ids["/v1/owner/plans"] = made.ID, w.tenant.String(), "the-secret-plan"
	if r := b.own(http.MethodPut, "/v1/owner/plans/the-secret-plan", `{"points_per_month":1000000,"requests_per_second":100000}`); r.Code != http.StatusOK {
		b.t.Fatal(r.Code, r.Body)
	}
	if r := b.own(http.MethodPatch, "/v1/owner/tenants/"+w.tenant.String(), `{"plan":"the-secret-plan"}`); r.Code != http.StatusOK {
		b.t.Fatal(r.Code, r.Body)
	}
	endpoint := mustParse(b.ids["/v1/webhooks"])
	event := schemas.EventID(alert, 0)
	id := schemas.WebhookID(event, endpoint)
	w.project(stream.Deliveries, 1, &schemas.Entry{Kind: &schemas.Entry_Delivery{Delivery: &schemas.Delivery{Kind: schemas.DeliveryKind_DELIVERY_KIND_ATTEMPTED, TenantId: w.tenant[:],
		EndpointId: endpoint[:], WebhookId: id[:], EventId: event[:], Attempt: 1, At: us(50), Outcome: schemas.DeliveryOutcome_DELIVERY_OUTCOME_DELIVERED, Status: 204}}})
}

// own is do by the owner.
func (b *apiBench) own(method, target, body string) *httptest.ResponseRecorder {
	return b.do(method, target, "", body, "Authorization", "Bearer "+ownerToken)
}

func mustParse(s string) schemas.ID {
	id, err := schemas.ParseID(s)
	if err != nil {
		panic(err)
	}
	return id
}

// do sends a request with a key ("" = none). Headers are name, value pairs.
func (b *apiBench) do(method, target, key, body string, headers ...string) *httptest.ResponseRecorder {
	ctx, cancel := context.WithCancel(b.t.Context())
	defer cancel()
	if strings.HasPrefix(target, "/v1/live") {
		time.AfterFunc(200*time.Millisecond, cancel) // a stream has no end of its own
	}
	body = strings.ReplaceAll(body, "$MODEL", b.ids["/v1/models"])
	r := httptest.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if body == "" {
		r.Body = http.NoBody
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header.Set("X-API-Key", key)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	return w
}

// target is an operation's path with the tenant's ids and what its query requires.
func (b *apiBench) target(o contract.Operation) string {
	path := o.Path
	if i := strings.Index(path, "/{"); i >= 0 {
		id := b.ids[path[:i]]
		if id == "" {
			b.t.Fatalf("%s: the bench has no id of %s", o.Name(), path[:i])
		}
		rest := path[i+1:]
		path = path[:i] + "/" + id + rest[strings.Index(rest, "}")+1:]
	}
	sep := "?"
	for _, p := range o.Query {
		if p.Required {
			path, sep = path+sep+p.Name+"="+map[string]string{"metric_id": b.ids["/v1/metrics"], "from": "2026-11-01T12:00:00Z", "to": "2026-11-01T13:00:00Z"}[p.Name], "&"
		}
	}
	return path
}

// bodies of the operations that take one.
var bodies = map[string]string{
	"POST /v1/ingest":                  `{"device_external_id":"press-1","metrics":[{"name":"temperature","ts":"2026-11-01T12:30:00Z","value":1}]}`,
	"POST /v1/alert-rules":             `{"name":"another"}`,
	"PATCH /v1/alert-rules/{id}":       `{"min_score":0.5,"for":null}`,
	"POST /v1/silences":                `{"starts_at":"2026-11-01T00:00:00Z","ends_at":"2026-11-02T00:00:00Z"}`,
	"PATCH /v1/silences/{id}":          `{"comment":"changed"}`,
	"POST /v1/webhooks":                `{"url":"https://example.com/hook"}`,
	"PATCH /v1/webhooks/{id}":          `{"min_severity":"warning"}`,
	"PATCH /v1/metrics/{id}":           `{"settings":{"display_unit":"K","expected_interval_seconds":10,"direction":"up","min_abs_deviation":0.5,"enabled":null,"timezone":"Europe/Berlin","window_seconds":600,"hop_seconds":10,"sensitivity":2},"tags":{"hall":"A","line":null}}`,
	"PATCH /v1/devices/{id}":           `{"tags":{"site":"berlin"}}`,
	"PUT /v1/metrics/{id}/model":       `{"version":"$MODEL"}`,
	"POST /v1/clock":                   `{"now":"2026-11-01T13:00:01Z"}`,
	"POST /v1/webhooks/{id}/test":      "",
	"POST /v1/webhooks/{id}/rotate":    "",
	"POST /v1/keys":                    `{"name":"another","scopes":["ingest","read"],"device_pattern":"hall7-*","env":"dev","expires_at":"2100-01-01T00:00:00Z"}`,
	"POST /v1/keys/{id}/rotate":        `{"overlap":"1h"}`,
	"POST /v1/owner/tenants":           `{"name":"acme","plan":"default"}`,
	"PATCH /v1/owner/tenants/{id}":     `{"disabled":false}`,
	"POST /v1/owner/tenants/{id}/keys": `{"name":"first","scopes":["ingest","read","admin"]}`,
	"PUT /v1/owner/plans/{name}":       `{"points_per_month":1000000,"requests_per_second":100000,"max_rules":null,"retention_days":30}`,
}

// Every operation of the contract answers with each success that it documents.
func TestEveryOperationKeepsTheContract(t *testing.T) {
	b := newAPIBench(t)
	var last []contract.Operation
	for _, o := range b.c.Operations() {
		if o.Method == http.MethodDelete {
			last = append(last, o)
			continue
		}
		b.succeed(o)
	}
	metric := "?metric_id=" + b.ids["/v1/metrics"]
	for _, query := range []string{"downsample=lttb&buckets=10", "downsample=minmax", "downsample=avg"} {
		b.want(http.StatusOK, http.MethodGet, "/v1/datapoints"+metric+"&from=2026-11-01T12:00:00Z&to=2026-11-01T13:00:00Z&"+query, "")
		b.want(http.StatusBadRequest, http.MethodGet, "/v1/datapoints"+metric+"&"+query, "")
	}
	for _, path := range []string{"/v1/datapoints", "/v1/features", "/v1/scores"} {
		for _, query := range []string{"&order=oldest&limit=7", "&from=2026-11-01T12:00:10Z", "&to=2026-11-01T12:00:10Z"} {
			b.want(http.StatusOK, http.MethodGet, path+metric+query, "")
		}
	}
	for _, target := range []string{"/v1/export?kind=scores&format=csv", "/v1/export?kind=scores&format=ndjson", "/v1/export?format=ndjson"} {
		b.want(http.StatusOK, http.MethodGet, target+"&metric_id="+b.ids["/v1/metrics"]+"&from=2026-11-01T12:00:00Z&to=2026-11-01T13:00:00Z", "")
	}
	for _, target := range []string{"/v1/metrics?summary=true", "/v1/alerts?state=open", "/v1/silences?active=true", "/v1/batches?only=rejected", "/v1/anomalies?min_severity=info&label=spike", "/v1/overview?hours=1"} {
		b.want(http.StatusOK, http.MethodGet, target, "")
	}
	for _, query := range []string{"", "?format=csv", "?from=2026-10-01&to=2026-11-30", "?from=2026-10-01&to=2026-11-30&format=csv"} {
		b.want(http.StatusOK, http.MethodGet, "/v1/usage"+query, "")
		if r := b.own(http.MethodGet, "/v1/owner/usage"+query, ""); r.Code != http.StatusOK {
			t.Error(query, r.Code, r.Body)
		}
	}
	if r := b.own(http.MethodGet, "/v1/owner/audit?limit=1&tenant_id="+b.w.tenant.String(), ""); r.Code != http.StatusOK || !strings.Contains(r.Body.String(), "next_cursor") {
		t.Error(r.Code, r.Body)
	}
	b.want(http.StatusCreated, http.MethodPost, "/v1/keys/"+b.ids["/v1/keys"]+"/rotate", "")
	for _, o := range last {
		b.succeed(o)
	}
	if left := b.c.Unseen(); len(left) > 0 {
		t.Errorf("never answered so: %q", left)
	}
	answers, pairs := b.c.Seen()
	t.Logf("%d operations, all with every success they document; %d answers checked, %d pairs of operation and status", len(b.c.Operations()), answers, pairs)
}

// succeed asks for the success of an operation.
func (b *apiBench) succeed(o contract.Operation) {
	b.t.Helper()
	begun := time.Now()
	defer func() {
		if took := time.Since(begun); took > time.Second {
			b.t.Logf("%s took %s", o.Name(), took)
		}
	}()
	var r *httptest.ResponseRecorder
	switch o.Name() {
	case "POST /v1/session":
		r = b.do(o.Method, o.Path, "", `{"api_key":"`+b.key+`"}`)
		b.cookie = strings.Split(r.Header().Get("Set-Cookie"), ";")[0]
	case "POST /v1/edge/spills":
		r = b.do(o.Method, o.Path, "", b.spill())
	case "POST /demo/inbox":
		r = b.signed(o.Path)
	case "DELETE /v1/session":
		r = b.do(o.Method, o.Path, "", "", "Cookie", b.cookie, "X-EdgePulse-Request", "1")
	case "GET /v1/session":
		r = b.do(o.Method, o.Path, "", "", "Cookie", b.cookie)
		if b.cookie == "" {
			r = b.do(o.Method, o.Path, b.newKey(b.w.tenant, time.Now().Add(time.Hour), store.ScopeRead), "")
		}
	default:
		if o.Scope == gateway.ScopeOwner {
			r = b.own(o.Method, b.target(o), bodies[o.Name()])
			break
		}
		key := b.key
		if o.Scope == "" {
			key = ""
		}
		r = b.do(o.Method, b.target(o), key, bodies[o.Name()])
	}
	if r.Code != o.Success[0] {
		b.t.Errorf("%s: %d %s, want %d", o.Name(), r.Code, r.Body, o.Success[0])
	}
}

func (b *apiBench) want(status int, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	b.t.Helper()
	r := b.do(method, target, b.key, body, headers...)
	if r.Code != status {
		b.t.Errorf("%s %s: %d %s, want %d", method, target, r.Code, r.Body, status)
	}
	return r
}

// spill is a request that the edge kept.
func (b *apiBench) spill() string {
	id, _, _ := apikey.Parse(b.key)
	record, err := keys{b.db.Store}.LookupKey(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	secrets, _ := edge.ParseSecrets(edgeSecretHex)
	c := edge.Claim{AcceptedAt: time.Now().UnixMicro(), RequestID: uuid.NewString(), KeyID: id, KeyProof: edge.Proof(record.EdgeHash), ContentType: "application/json"}
	c.IdempotencyKey = "edge:" + c.RequestID
	s, err := edge.NewSpill(c, []byte(bodies["POST /v1/ingest"]), secrets[0])
	if err != nil {
		b.t.Fatal(err)
	}
	object, err := s.Encode()
	if err != nil {
		b.t.Fatal(err)
	}
	return string(object)
}

// signed sends a webhook to the demo's inbox.
func (b *apiBench) signed(path string) *httptest.ResponseRecorder {
	signer, err := standardwebhooks.NewWebhook(inboxSecret)
	if err != nil {
		b.t.Fatal(err)
	}
	at, body := time.Now(), `{"type":"alert.opened","data":{}}`
	signature, err := signer.Sign("w", at, []byte(body))
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(http.MethodPost, path, "", body, standardwebhooks.HeaderWebhookID, "w", standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10),
		standardwebhooks.HeaderWebhookSignature, signature)
}

// What can be changed is changed in the version that was read, or not at all.
func TestIfMatch(t *testing.T) {
	b := newAPIBench(t)
	for path, body := range map[string]string{"/v1/alert-rules": `{"min_score":0.5}`, "/v1/silences": `{"comment":"c"}`, "/v1/webhooks": `{"description":"d"}`, "/v1/metrics": `{"settings":{"enabled":false}}`,
		"/v1/devices": `{"tags":{"a":"b"}}`} {
		target := path + "/" + b.ids[path]
		first := b.want(http.StatusOK, http.MethodGet, target, "").Header().Get("ETag")
		second := b.want(http.StatusOK, http.MethodPatch, target, body, "If-Match", first).Header().Get("ETag")
		if first == "" || second == "" || first == second {
			t.Errorf("%s: ETag %s, after the change %s", path, first, second)
		}
		if got := b.want(http.StatusOK, http.MethodGet, target, "").Header().Get("ETag"); got != second {
			t.Errorf("%s: read ETag %s, want %s", path, got, second)
		}
		b.want(http.StatusPreconditionFailed, http.MethodPatch, target, body, "If-Match", first)
		b.want(http.StatusBadRequest, http.MethodPatch, target, body, "If-Match", "17")
		if path != "/v1/metrics" && path != "/v1/devices" {
			b.want(http.StatusPreconditionFailed, http.MethodDelete, target, "", "If-Match", first)
			b.want(http.StatusNoContent, http.MethodDelete, target, "", "If-Match", second)
			b.want(http.StatusNotFound, http.MethodGet, target, "")
		}
	}
	for body, pointer := range map[string]string{`{"settings":{"direction":"left"}}`: "/settings/direction", `{"settings":{"min_abs_deviation":-1}}`: "/settings/min_abs_deviation",
		`{"settings":{"display_unit":"` + strings.Repeat("x", 33) + `"}}`: "/settings/display_unit"} {
		r := b.want(http.StatusUnprocessableEntity, http.MethodPatch, "/v1/metrics/"+b.ids["/v1/metrics"], body)
		if !strings.Contains(r.Body.String(), `"pointer":"`+pointer+`"`) {
			t.Error(body, r.Body)
		}
	}
	b.want(http.StatusBadRequest, http.MethodPatch, "/v1/metrics/"+b.ids["/v1/metrics"], `{"settings":{"colour":"red"}}`)
	for body, pointer := range map[string]string{`{"starts_at":"2026-11-01T00:00:00Z","ends_at":"2026-11-01T00:00:00Z"}`: "/ends_at", `{"ends_at":"2026-11-01T00:00:00Z"}`: "/starts_at",
		`{"starts_at":"2026-11-01T00:00:00Z","ends_at":"2026-11-02T00:00:00Z","rule_id":"x"}`: "/rule_id"} {
		r := b.want(http.StatusUnprocessableEntity, http.MethodPost, "/v1/silences", body)
		if !strings.Contains(r.Body.String(), `"pointer":"`+pointer+`"`) {
			t.Error(body, r.Body)
		}
	}
}

// An export holds every point of its range, once, in order, whatever the pages.
func TestExportHoldsEveryPoint(t *testing.T) {
	b := newAPIBench(t)
	metric, declared := b.w.declared("long")
	var ts []int64
	for i := range 25_000 {
		ts = append(ts, us(i))
	}
	b.w.project(stream.Points, 2, declared, b.w.samples(metric, ts, func(i int) float64 { return float64(i) }))
	query := "metric_id=" + metric.String() + "&metric_id=" + b.ids["/v1/metrics"] + "&from=2026-11-01T12:00:00Z&to=2026-11-02T12:00:00Z"
	lines := strings.Split(strings.TrimSuffix(b.want(http.StatusOK, http.MethodGet, "/v1/export?"+query, "").Body.String(), "\n"), "\n")
	if len(lines) != 1+25_000+50 || lines[0] != "metric_id,device_external_id,metric_name,ts,value,flags,root" {
		t.Fatalf("%d lines, the first %s", len(lines), lines[0])
	}
	for i, line := range lines[1:25_001] {
		if want := fmt.Sprintf("%s,press-1,long,%s,%d,,2", metric, at(i).Format(time.RFC3339Nano), i); line != want {
			t.Fatalf("line %d is %s, want %s", i, line, want)
		}
	}
	dec := json.NewDecoder(b.want(http.StatusOK, http.MethodGet, "/v1/export?format=ndjson&"+query, "").Body)
	n := 0
	for ; dec.More(); n++ {
		var p struct {
			MetricID string `json:"metric_id"`
			api.Datapoint
		}
		if err := dec.Decode(&p); err != nil || n < 25_000 && (p.Value != float64(n) || p.MetricID != metric.String()) {
			t.Fatalf("line %d: %+v, %v", n, p, err)
		}
	}
	if n != 25_050 {
		t.Fatalf("%d objects", n)
	}
	for _, target := range []string{"metric_id=" + metric.String(), "from=2026-11-01T12:00:00Z&to=2026-11-02T12:00:00Z", query + "&format=xml"} {
		b.want(http.StatusBadRequest, http.MethodGet, "/v1/export?"+target, "")
	}
	if r := b.want(http.StatusOK, http.MethodHead, "/v1/export?"+query, ""); r.Body.Len() > 0 {
		t.Error("HEAD has a body")
	}
}
