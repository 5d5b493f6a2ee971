package app

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgepulse/edgepulse/gateway"
	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/normaliser"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/stream"
)

const ownerToken = "an owner's token, which has 256 random bits outside of tests"

// accountBench is a gateway with all that belongs to accounts, over a real broker
// and database.
func accountBench(t *testing.T) *liveBench {
	t.Helper()
	b := newLiveBench(t)
	b.stop()
	sum := sha256.Sum256([]byte(ownerToken))
	cfg := gateway.DefaultConfig()
	cfg.Addr, cfg.Partitions, cfg.Pepper, cfg.Ticks = b.addr, livePartitions, string(b.db.Config.Pepper), false
	cfg.RefusalPause = 0 // who counts refusals does not want to wait for them
	cfg.OwnerTokenHash = hex.EncodeToString(sum[:])
	srv, err := gateway.New(cfg, gateway.Deps{Log: ingestLog{b.broker}, Keys: keys{b.db.Store}, Queries: queries{s: b.db.Store}, Logger: b.quiet,
		Registry: prometheus.NewRegistry(), Usage: b.db.Store, Shares: b.broker.Shares(), KeyUses: b.db.Store, Accounts: accounts{b.db.Store}, Owner: owner{b.db.Store, b.broker}})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.srv = srv
	return b
}

// call sends JSON and decodes the answer into out; code is "" of a success.
func (b *liveBench) call(method, path, credential string, in, out any) (status int, problem api.Problem) {
	b.t.Helper()
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			b.t.Fatal(err)
		}
		body = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, "http://"+b.addr+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	if strings.HasPrefix(credential, "ep_") {
		r.Header.Set("X-API-Key", credential)
	} else if credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	switch {
	case resp.StatusCode >= 400:
		if err := json.Unmarshal(raw, &problem); err != nil || problem.Code == "" {
			b.t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, raw)
		}
	case out != nil:
		if s, ok := out.(*string); ok {
			*s = string(raw)
		} else if err := json.Unmarshal(raw, out); err != nil {
			b.t.Fatalf("%s %s: %v of %s", method, path, err, raw)
		}
	}
	return resp.StatusCode, problem
}

// must is call for what must succeed.
func (b *liveBench) must(method, path, credential string, in, out any) {
	b.t.Helper()
	if status, p := b.call(method, path, credential, in, out); status >= 300 {
		b.t.Fatalf("%s %s: %d %+v", method, path, status, p)
	}
}

func (b *liveBench) adminKey(w *world) string {
	b.t.Helper()
	key, _, err := b.db.CreateKey(b.t.Context(), w.tenant, []string{store.ScopeAdmin, store.ScopeIngest}, store.KeyOptions{Name: "admin"})
	if err != nil {
		b.t.Fatal(err)
	}
	return key
}

func reading(device string) map[string]any {
	return map[string]any{"device_external_id": device, "metrics": []map[string]any{{"name": "v", "value": 1}}}
}

func TestKeysOfATenant(t *testing.T) {
	b := accountBench(t)
	a, other := newWorld(t, b.db, "a"), newWorld(t, b.db, "b")
	admin, foreign := b.adminKey(a), b.adminKey(other)

	var made api.Key
	b.must("POST", "/v1/keys", admin, map[string]any{"name": "hall 7", "scopes": []string{"ingest"}, "device_pattern": "hall7-*"}, &made)
	if made.Key == "" || made.State != "active" || made.ID == "" {
		t.Fatalf("%+v", made)
	}
	b.must("POST", "/v1/ingest", made.Key, reading("hall7-press"), nil)
	if status, p := b.call("POST", "/v1/ingest", made.Key, reading("hall8-press"), nil); status != 403 || p.Code != "device_not_allowed" {
		t.Fatal(status, p)
	}
	for _, bad := range []struct {
		body    map[string]any
		pointer string
	}{
		{map[string]any{"scopes": []string{}}, "/scopes"},
		{map[string]any{"scopes": []string{"root"}}, "/scopes/0"},
		{map[string]any{"scopes": []string{"read", "read"}}, "/scopes/1"},
		{map[string]any{"scopes": []string{"read"}, "device_pattern": "[a"}, "/device_pattern"},
		{map[string]any{"scopes": []string{"read"}, "expires_at": "2001-01-01T00:00:00Z"}, "/expires_at"},
		{map[string]any{"scopes": []string{"read"}, "env": "prod"}, "/env"},
	} {
		if status, p := b.call("POST", "/v1/keys", admin, bad.body, nil); status != 422 || len(p.Errors) == 0 || p.Errors[0].Pointer != bad.pointer {
			t.Errorf("%v: %d %+v", bad.body, status, p)
		}
	}
	// Another tenant's key is not there; an ingest key opens none of this.
	for _, c := range []struct {
		method, path, key string
		status            int
	}{
		{"GET", "/v1/keys/" + made.ID, foreign, 404}, {"DELETE", "/v1/keys/" + made.ID, foreign, 404}, {"POST", "/v1/keys/" + made.ID + "/rotate", foreign, 404},
		{"GET", "/v1/keys", made.Key, 403}, {"GET", "/v1/audit", made.Key, 403}, {"GET", "/v1/usage", made.Key, 403},
	} {
		if status, p := b.call(c.method, c.path, c.key, nil, nil); status != c.status {
			t.Errorf("%s %s: %d %+v", c.method, c.path, status, p)
		}
	}

	var rotated api.Rotated
	b.must("POST", "/v1/keys/"+made.ID+"/rotate", admin, map[string]string{"overlap": "2s"}, &rotated)
	if rotated.Key.DevicePattern != "hall7-*" || rotated.Replaced.ExpiresAt == nil {
		t.Fatalf("%+v", rotated)
	}
	b.must("POST", "/v1/ingest", made.Key, reading("hall7-press"), nil) // both work
	b.must("POST", "/v1/ingest", rotated.Key.Key, reading("hall7-press"), nil)
	took := b.untilRefused("POST", "/v1/ingest", made.Key, "unauthorized")
	t.Logf("a rotated key with an overlap of 2 s was refused after %s", took)

	// At its worst: the gateway has just looked the key up.
	b.must("POST", "/v1/keys", admin, map[string]any{"name": "to revoke", "scopes": []string{"ingest"}}, &made)
	b.must("POST", "/v1/ingest", made.Key, reading("hall7-press"), nil)
	b.must("DELETE", "/v1/keys/"+made.ID, admin, nil, nil)
	took = b.untilRefused("POST", "/v1/ingest", made.Key, "unauthorized")
	t.Logf("a revoked key was refused after %s", took)
	if took > 5*time.Second {
		t.Fatal("too late")
	}
	b.stop() // which writes the uses of keys
	k, err := b.db.FindKey(t.Context(), a.tenant, rotated.Key.ID)
	if err != nil || k.LastUsedAt == nil {
		t.Fatalf("last used %v, %v", k.LastUsedAt, err)
	}
}

// untilRefused sends until a key does not work any more.
func (b *liveBench) untilRefused(method, path, key, code string) time.Duration {
	b.t.Helper()
	var body any
	if method == "POST" {
		body = reading("hall7-press")
	}
	begun := time.Now()
	for time.Since(begun) < 15*time.Second {
		if status, p := b.call(method, path, key, body, nil); status >= 400 {
			if p.Code != code {
				b.t.Fatalf("%d %+v", status, p)
			}
			return time.Since(begun).Round(10 * time.Millisecond)
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.t.Fatal("the key still works")
	return 0
}

func TestTheOwnerRunsTenants(t *testing.T) {
	b := accountBench(t)
	// No tenant's key opens the owner's door, and nothing else than the token.
	w := newWorld(t, b.db, "w")
	for _, credential := range []string{"", "wrong", b.adminKey(w)} {
		for _, path := range []string{"tenants", "plans", "usage", "status", "audit"} {
			if status, _ := b.call("GET", "/v1/owner/"+path, credential, nil, nil); status != 401 {
				t.Errorf("%s with %.8q: %d", path, credential, status)
			}
		}
	}
	var plan api.Plan
	b.must("PUT", "/v1/owner/plans/small", ownerToken, map[string]any{"points_per_month": 3, "max_rules": 1, "requests_per_second": 50}, &plan)
	if *plan.PointsPerMonth != 3 || plan.RetentionDays != 90 {
		t.Fatalf("%+v", plan)
	}
	if status, p := b.call("PUT", "/v1/owner/plans/small", ownerToken, map[string]any{"points_per_month": 0}, nil); status != 422 || p.Errors[0].Pointer != "/points_per_month" {
		t.Fatal(status, p)
	}
	var acme api.OwnerTenant
	b.must("POST", "/v1/owner/tenants", ownerToken, map[string]any{"name": "acme", "plan": "small"}, &acme)
	for body, want := range map[string]int{`{"name":"acme"}`: 409, `{"name":"x","plan":"none"}`: 422, `{"name":""}`: 422, `{"name":"x","id":"1"}`: 422} {
		if status, p := b.call("POST", "/v1/owner/tenants", ownerToken, json.RawMessage(body), nil); status != want {
			t.Errorf("%s: %d %+v", body, status, p)
		}
	}
	var key api.Key
	b.must("POST", "/v1/owner/tenants/"+acme.ID+"/keys", ownerToken, map[string]any{"name": "first", "scopes": []string{"ingest", "read", "admin"}}, &key)

	// The plan holds: rules by number, points by month.
	b.must("POST", "/v1/alert-rules", key.Key, map[string]any{"name": "one"}, nil)
	if status, p := b.call("POST", "/v1/alert-rules", key.Key, map[string]any{"name": "two"}, nil); status != 422 || p.Code != "limit_reached" || p.Detail != "the plan small allows 1 alert rules" {
		t.Fatal(status, p)
	}
	stop := b.normalise()
	for i := range 3 {
		b.must("POST", "/v1/ingest", key.Key, reading(fmt.Sprint("d", i)), nil)
	}
	if status, p := b.call("POST", "/v1/ingest", key.Key, reading("d"), nil); status != 429 || p.Code != "plan_exhausted" {
		t.Fatal(status, p)
	}
	var usage api.Usage
	deadline := time.Now().Add(patience)
	for usage.Total.Points < 3 && time.Now().Before(deadline) {
		b.must("GET", "/v1/usage", key.Key, nil, &usage)
	}
	if usage.Total.Points != 3 || usage.Total.Requests != 3 || usage.Plan.Name != "small" || len(usage.Data) != 1 || usage.Total.Bytes == 0 {
		t.Fatalf("%+v", usage)
	}
	stop()
	var csv string
	b.must("GET", "/v1/usage?format=csv", key.Key, nil, &csv)
	if want := fmt.Sprintf("day,requests,points,bytes,evaluations,webhook_attempts,webhooks_delivered\n%s,3,3,%d,0,0,0\n", usage.Data[0].Day, usage.Total.Bytes); csv != want {
		t.Fatalf("%s\nwant\n%s", csv, want)
	}
	for _, q := range []string{"from=yesterday", "from=2026-01-02&to=2026-01-01", "from=2001-01-01", "day=1", "format=xml"} {
		if status, p := b.call("GET", "/v1/usage?"+q, key.Key, nil, nil); status != 400 || p.Code != "bad_parameter" {
			t.Errorf("%s: %d %+v", q, status, p)
		}
	}
	var list api.Page[api.OwnerTenant]
	b.must("GET", "/v1/owner/tenants", ownerToken, nil, &list)
	if len(list.Data) != 2 || list.Data[1].Name != "acme" || list.Data[1].Month.Points != 3 || list.Data[1].Devices != 3 {
		t.Fatalf("%+v", list)
	}
	var status api.OwnerStatus
	b.must("GET", "/v1/owner/status", ownerToken, nil, &status)
	if len(status.Logs) != livePartitions*len(stream.Topology) || status.Outbox != 1 {
		t.Fatalf("%+v", status)
	}

	// Disabled, its keys are refused and its data stays.
	b.must("GET", "/v1/devices", key.Key, nil, nil)
	b.must("PATCH", "/v1/owner/tenants/"+acme.ID, ownerToken, map[string]any{"disabled": true, "plan": "default"}, &acme)
	took := b.untilRefused("GET", "/v1/devices", key.Key, "tenant_disabled")
	t.Logf("the keys of a disabled tenant were refused after %s", took)
	if took > 5*time.Second || acme.DisabledAt == nil || acme.Plan != "default" {
		t.Fatalf("%s, %+v", took, acme)
	}
	b.must("PATCH", "/v1/owner/tenants/"+acme.ID, ownerToken, map[string]any{"disabled": false}, &acme)
	begun := time.Now()
	for time.Since(begun) < 6*time.Second {
		if status, _ := b.call("GET", "/v1/devices", key.Key, nil, nil); status == 200 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	var devices api.Page[api.Device]
	b.must("GET", "/v1/devices", key.Key, nil, &devices)
	if len(devices.Data) != 3 {
		t.Fatalf("%d devices after enabling", len(devices.Data))
	}

	var log api.Page[api.AuditEntry]
	b.must("GET", "/v1/audit", key.Key, nil, &log)
	var actions []string
	for _, e := range log.Data {
		actions = append(actions, e.Actor[:3]+" "+e.Action)
		if e.RequestID == "" {
			t.Errorf("%+v", e)
		}
	}
	want := "own tenant.enable, own tenant.disable, own tenant.set_plan, key alert_rule.create, own key.create, own tenant.create"
	if got := strings.Join(actions, ", "); got != want {
		t.Fatalf("audit: %s", got)
	}
	b.must("GET", "/v1/owner/audit?tenant_id="+acme.ID, ownerToken, nil, &log)
	if len(log.Data) != 6 {
		t.Fatalf("%d lines", len(log.Data))
	}
}

// normalise runs normaliser and projector of POINTS until the returned function ends them.
func (b *liveBench) normalise() (stop func()) {
	b.t.Helper()
	blobs, err := archive.NewFolder(b.t.TempDir())
	if err != nil {
		b.t.Fatal(err)
	}
	metrics, owned := stream.NewMetrics(prometheus.NewRegistry()), []int{0, 1}
	r := stream.NewRunner(normaliser.Stage(), stream.RunnerConfig{}, b.broker, blobs, metrics, b.quiet, owned)
	p := stream.NewProjector(stream.Points, normaliser.Projection{}, b.db.Store, b.broker, metrics, b.quiet, owned)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = r.Run(ctx) })
	running.Go(func() { _ = p.Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	b.t.Cleanup(stop)
	return stop
}
