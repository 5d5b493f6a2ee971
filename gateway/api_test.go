package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

const someID = "0b5a1a5e-6a0c-4d0e-9e57-0d9a4c4bb3f1"

func mustID(s string) schemas.ID {
	id, ok := parseID(s)
	if !ok {
		panic(s)
	}
	return id
}

// TestParameters: what each route reads, and how it refuses.
func TestParameters(t *testing.T) {
	b := newBench(t, nil)
	from, to := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		target string
		want   any // the filter that arrives at the store, or the name of the refused parameter
	}{
		{"/v1/devices", DeviceFilter{Now: testStart}},
		{"/v1/devices?device_external_id=a%20b", DeviceFilter{ExternalID: "a_b", Now: testStart}},
		{"/v1/devices?device_external_id=%00", "device_external_id"},
		{"/v1/devices?limit=0", "limit"},
		{"/v1/devices?limit=1001", "limit"},
		{"/v1/devices?limit=ten", "limit"},
		{"/v1/devices?limit=1&limit=2", "limit"},
		{"/v1/devices?cursor=bad", "cursor"},
		{"/v1/devices?cursor=" + strings.Repeat("x", 1025), "cursor"},
		{"/v1/devices?name=a", "name"},
		{"/v1/metrics?device_id=" + someID + "&name=v", MetricFilter{DeviceID: mustID(someID), Name: "v"}},
		{"/v1/metrics?device_id=17", "device_id"},
		{"/v1/metrics?device_id=%7B" + someID + "%7D", "device_id"},
		{"/v1/datapoints", "metric_id"},
		{"/v1/datapoints?metric_id=" + someID + "&from=2026-11-01T00:00:00Z&to=2026-11-02T01:00:00%2B01:00", SeriesFilter{MetricID: mustID(someID), Range: api.Range{From: from, To: to}}},
		{"/v1/datapoints?order=oldest&metric_id=" + someID, SeriesFilter{MetricID: mustID(someID), OldestFirst: true}},
		{"/v1/datapoints?order=up&metric_id=" + someID, "order"},
		{"/v1/metrics?device_external_id=d", MetricFilter{DeviceExternalID: "d"}},
		{"/v1/datapoints?metric_id=" + someID + "&from=2026-11-01T00:00:00+01:00", "from"},
		{"/v1/datapoints?metric_id=" + someID + "&from=yesterday", "from"},
		{"/v1/datapoints?metric_id=" + someID + "&from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", "to"},
		{"/v1/datapoints?metric_id=" + someID + "&limit=10001", "limit"},
		{"/v1/scores?metric_id=" + someID, SeriesFilter{MetricID: mustID(someID)}},
		{"/v1/anomalies?min_severity=warning&label=spike", AnomalyFilter{MinSeverity: "warning", Label: "spike"}},
		{"/v1/anomalies?min_severity=bad", "min_severity"},
		{"/v1/anomalies?label=Spike", "label"},
		{"/v1/alert-events?state=opened&rule_id=" + someID, AlertEventFilter{State: "opened", RuleID: mustID(someID)}},
		{"/v1/alert-events?state=open", "state"},
		{"/v1/alert-rules?limit=-1", "limit"},
		{"/v1/webhooks?x=1", "x"},
		{"/v1/devices?q=%00", "q"},
		{"/v1/devices?q=" + strings.Repeat("x", 129), "q"},
		{"/v1/devices?q=%20Cold%25", DeviceFilter{Search: "Cold%", Now: testStart}},
		{"/v1/metrics?summary=yes", "summary"},
		{"/v1/metrics?summary=true&q=temp", MetricFilter{Search: "temp", Summary: true, Now: testStart}},
		{"/v1/alerts?state=opened", "state"},
		{"/v1/alerts?state=open&min_severity=warning&label=drop&device_id=" + someID, AlertFilter{State: "open", MinSeverity: "warning", Label: "drop", DeviceID: mustID(someID)}},
		{"/v1/batches?only=accepted", "only"},
		{"/v1/batches?only=rejected", true},
		{"/v1/batches", false},
	} {
		w := b.do(http.MethodGet, c.target, b.key, nil)
		if name, refused := c.want.(string); refused {
			if p := problemOf(t, w); w.Code != http.StatusBadRequest || p.Code != "bad_parameter" || p.Errors[0].Pointer != "?"+name {
				t.Errorf("%s: %d %s", c.target, w.Code, w.Body)
			}
			continue
		}
		if w.Code != http.StatusOK || !reflect.DeepEqual(b.store.last(), c.want) {
			t.Errorf("%s: %d %s, store was asked %+v", c.target, w.Code, w.Body, b.store.last())
		}
		if !strings.Contains(w.Body.String(), `"data":[]`) {
			t.Errorf("%s: %s", c.target, w.Body)
		}
	}
	if w := b.do(http.MethodGet, "/v1/devices?a=%zz", b.key, nil); w.Code != http.StatusBadRequest || problemOf(t, w).Code != "bad_query" {
		t.Error(w.Code, w.Body)
	}
	b.store.err = errors.New("connection refused to 10.0.0.7")
	if w := b.do(http.MethodGet, "/v1/devices", b.key, nil); w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "10.0.0.7") {
		t.Error(w.Code, w.Body)
	}
}

// TestCharts: the range and the steps of a chart, and the hours of the overview.
func TestCharts(t *testing.T) {
	b := newBench(t, nil)
	day := func(n int) time.Time { return testStart.Add(time.Duration(n) * 24 * time.Hour) }
	for _, c := range []struct {
		target  string
		want    any
		buckets int
	}{
		{"/v1/series", "metric_id", 0},
		{"/v1/series?metric_id=" + someID, api.Range{From: day(-1), To: day(0)}, 600},
		{"/v1/series?metric_id=" + someID + "&from=2026-11-21T08:45:00Z&buckets=10", api.Range{From: day(-2), To: day(0)}, 10},
		{"/v1/series?metric_id=" + someID + "&to=2026-11-21T08:45:00Z&buckets=2000", api.Range{From: day(-3), To: day(-2)}, 2000},
		{"/v1/series?metric_id=" + someID + "&buckets=9", "buckets", 0},
		{"/v1/series?metric_id=" + someID + "&buckets=2001", "buckets", 0},
		{"/v1/series?metric_id=" + someID + "&from=2026-11-24T00:00:00Z", "from", 0},
		{"/v1/overview", 24, 0},
		{"/v1/overview?hours=168", 168, 0},
		{"/v1/overview?hours=169", "hours", 0},
	} {
		w := b.do(http.MethodGet, c.target, b.key, nil)
		if name, refused := c.want.(string); refused {
			if p := problemOf(t, w); w.Code != http.StatusBadRequest || p.Errors[0].Pointer != "?"+name {
				t.Errorf("%s: %d %s", c.target, w.Code, w.Body)
			}
			continue
		}
		if w.Code != http.StatusOK || !reflect.DeepEqual(b.store.last(), c.want) || b.store.page.Limit != c.buckets {
			t.Errorf("%s: %d %s, store was asked %+v %d", c.target, w.Code, w.Body, b.store.last(), b.store.page.Limit)
		}
	}
}

func TestWebhookIsChangedAndTested(t *testing.T) {
	b := newBench(t, nil)
	var hook api.Webhook
	w := b.do(http.MethodPost, "/v1/webhooks", b.key, strings.NewReader(`{"url":"https://example.com/hook","description":"d"}`))
	if err := json.Unmarshal(w.Body.Bytes(), &hook); err != nil || w.Code != http.StatusCreated {
		t.Fatal(w.Code, w.Body)
	}
	target := "/v1/webhooks/" + hook.ID
	w = b.do(http.MethodPatch, target, b.key, strings.NewReader(`{"enabled":false,"min_severity":"warning"}`))
	if err := json.Unmarshal(w.Body.Bytes(), &hook); err != nil || w.Code != http.StatusOK || *hook.Enabled || hook.MinSeverity != "warning" ||
		hook.URL != "https://example.com/hook" || hook.Description != "d" || hook.Secret != "" && strings.Contains(w.Body.String(), "secret") {
		t.Fatal(w.Code, w.Body)
	}
	for body, pointer := range map[string]string{`{"url":"http://10.0.0.1/"}`: "/url", `{"secret":"x"}`: "", `{"min_severity":"all"}`: "/min_severity"} {
		if w := b.do(http.MethodPatch, target, b.key, strings.NewReader(body)); w.Code != http.StatusUnprocessableEntity || problemOf(t, w).Errors[0].Pointer != pointer {
			t.Error(body, w.Code, w.Body)
		}
	}
	if w := b.do(http.MethodPost, target+"/test", b.key, nil); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"outcome":"delivered"`) {
		t.Error(w.Code, w.Body)
	}
	other := b.keys.add(schemas.NewID(), nil, ScopeAdmin)
	for _, c := range [][2]string{{http.MethodPatch, target}, {http.MethodPost, target + "/test"}} {
		if w := b.do(c[0], c[1], other, strings.NewReader("{}")); w.Code != http.StatusNotFound {
			t.Error("of another tenant:", c, w.Code, w.Body)
		}
	}
	for range 12 {
		w = b.do(http.MethodPost, target+"/test", b.key, nil)
	}
	if w.Code != http.StatusTooManyRequests {
		t.Error("tests are not bounded:", w.Code)
	}
}

func TestPathsMethodsAndForeignIDs(t *testing.T) {
	b := newBench(t, nil)
	for _, target := range []string{"/v1/batches/" + someID, "/v1/batches/x", "/v1/alert-events/" + someID, "/v1/alert-rules/" + someID, "/v1/webhooks/" + someID, "/v1/webhooks/..%2f", "/v1/webhooks/" + someID + "/deliveries",
		"/v1/devices/" + someID, "/v1/metrics/" + someID, "/v1/alerts/" + someID, "/v1/alerts/x", "/v1/alert-events/" + someID + "/trace"} {
		if w := b.do(http.MethodGet, target, b.key, nil); w.Code != http.StatusNotFound || problemOf(t, w).Code != "not_found" {
			t.Error(target, w.Code, w.Body)
		}
	}
	for _, target := range []string{"/", "/v1", "/v1/devices/", "/admin", "/v1/alert-rules/a/b"} {
		if w := b.do(http.MethodGet, target, b.key, nil); w.Code != http.StatusNotFound || problemOf(t, w).Code != "unknown_path" {
			t.Error(target, w.Code, w.Body)
		}
	}
	if w := b.do(http.MethodPut, "/v1/alert-rules/"+someID, b.key, nil); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "DELETE, GET, HEAD, PATCH" {
		t.Error(w.Code, w.Header())
	}
	reader := b.keys.add(b.tenant, nil, ScopeRead)
	for _, c := range [][2]string{{"POST", "/v1/alert-rules"}, {"DELETE", "/v1/alert-rules/" + someID}, {"PATCH", "/v1/alert-rules/" + someID}, {"POST", "/v1/webhooks"}, {"DELETE", "/v1/webhooks/" + someID}, {"PATCH", "/v1/webhooks/" + someID}, {"POST", "/v1/webhooks/" + someID + "/test"}, {"POST", "/v1/clock"}, {"POST", "/v1/ingest"}} {
		if w := b.do(c[0], c[1], reader, strings.NewReader("{}")); w.Code != http.StatusForbidden || problemOf(t, w).Code != "missing_scope" {
			t.Error(c, w.Code, w.Body)
		}
		if w := b.do(c[0], c[1], "", strings.NewReader("{}")); w.Code != http.StatusUnauthorized {
			t.Error(c, w.Code, w.Body)
		}
	}
}

func TestAlertRules(t *testing.T) {
	b := newBench(t, nil)
	for _, c := range []struct{ body, code, pointer string }{
		{`{`, "malformed_json", ""},
		{`[]`, "wrong_type", ""},
		{`{"name":"a","name":"b"}`, "duplicate_key", "/name"},
		{`{"name":"a","nam":"b"}`, "unknown_field", "/nam"},
		{`{"name":7}`, "wrong_type", "/name"},
		{`{"name":"a","tags":{"a":1}}`, "wrong_type", "/tags/a"},
		{`{}`, "missing_field", "/name"},
		{`{"name":"a\u0007"}`, "bad_text", "/name"},
		{`{"name":"a","id":"` + someID + `"}`, "read_only", "/id"},
		{`{"name":"a","version":3}`, "read_only", "/version"},
		{`{"name":"a","min_score":1.5}`, "out_of_range", "/min_score"},
		{`{"name":"a","min_score":0.5,"resolve_score":0.6}`, "out_of_range", "/resolve_score"},
		{`{"name":"a","min_severity":"fatal"}`, "out_of_range", "/min_severity"},
		{`{"name":"a","direction":"sideways"}`, "out_of_range", "/direction"},
		{`{"name":"a","labels":["spike","boom"]}`, "out_of_range", "/labels/1"},
		{`{"name":"a","metric_ids":["x"]}`, "bad_id", "/metric_ids/0"},
		{`{"name":"a","device_pattern":"[a"}`, "bad_pattern", "/device_pattern"},
		{`{"name":"a","for":"5"}`, "bad_duration", "/for"},
		{`{"name":"a","for":"-5s"}`, "bad_duration", "/for"},
		{`{"name":"a","cooldown":"10000h"}`, "bad_duration", "/cooldown"},
		{`{"name":"a","min_abs_deviation":-1}`, "out_of_range", "/min_abs_deviation"},
	} {
		w := b.do(http.MethodPost, "/v1/alert-rules", b.key, strings.NewReader(c.body))
		if p := problemOf(t, w); w.Code/100 != 4 || len(p.Errors) != 1 || p.Errors[0].Code != c.code || p.Errors[0].Pointer != c.pointer {
			t.Errorf("%s: %d %s", c.body, w.Code, w.Body)
		}
	}
	w := b.do(http.MethodPost, "/v1/alert-rules", b.key, strings.NewReader(`{"name":"hot","metric_pattern":"temp*","min_score":0.8,"for":"90s","tags":{"a":"1"},"labels":["spike"]}`))
	var rule api.AlertRule
	decode(t, w, &rule)
	if w.Code != http.StatusCreated || w.Header().Get("ETag") != `"1"` || w.Header().Get("Location") != "/v1/alert-rules/"+rule.ID {
		t.Fatal(w.Code, w.Header(), w.Body)
	}
	path := "/v1/alert-rules/" + rule.ID
	w = b.do(http.MethodPatch, path, b.key, strings.NewReader(`{"for":"2m","labels":null,"tags":{"b":"2"},"enabled":false}`), "If-Match", `"1"`)
	rule = api.AlertRule{}
	decode(t, w, &rule)
	if w.Code != http.StatusOK || rule.For != "2m" || rule.Name != "hot" || len(rule.Labels) != 0 || len(rule.Tags) != 1 || rule.Tags["b"] != "2" || *rule.Enabled || rule.Version != 2 {
		t.Fatal(w.Code, w.Body)
	}
	for _, c := range []struct {
		method, body, match string
		status              int
	}{
		{http.MethodPatch, `{"for":"3m"}`, `"1"`, http.StatusPreconditionFailed},
		{http.MethodPatch, `{"for":"3m"}`, `1`, http.StatusBadRequest},
		{http.MethodPatch, `{"min_score":7}`, ``, http.StatusUnprocessableEntity},
		{http.MethodPatch, `{"id":"` + someID + `"}`, ``, http.StatusUnprocessableEntity},
		{http.MethodPatch, `{"name":null}`, ``, http.StatusUnprocessableEntity},
		{http.MethodDelete, ``, `"1"`, http.StatusPreconditionFailed},
		{http.MethodDelete, ``, `"2"`, http.StatusNoContent},
		{http.MethodDelete, ``, ``, http.StatusNotFound},
	} {
		if w := b.do(c.method, path, b.key, strings.NewReader(c.body), "If-Match", c.match); w.Code != c.status {
			t.Errorf("%+v: %d %s", c, w.Code, w.Body)
		}
	}
	// Another tenant's rule does not exist here.
	w = b.do(http.MethodPost, "/v1/alert-rules", b.key, strings.NewReader(`{"name":"mine"}`))
	decode(t, w, &rule)
	foreign := b.keys.add(schemas.NewID(), nil, ScopeRead, ScopeAdmin)
	for _, method := range []string{http.MethodGet, http.MethodPatch, http.MethodDelete} {
		if w := b.do(method, "/v1/alert-rules/"+rule.ID, foreign, strings.NewReader(`{"name":"x"}`)); w.Code != http.StatusNotFound {
			t.Error(method, w.Code, w.Body)
		}
	}
}

func TestWebhooks(t *testing.T) {
	b := newBench(t, func(c *Config, _ *Deps) { c.WebhookAllow = []string{"127.0.0.0/8", "inbox:9000"} })
	for url, ok := range map[string]bool{
		"https://example.com/hook": true, "https://example.com:443/": true, "http://127.0.0.1:9000/x": true, "http://inbox:9000/": true, "https://93.184.216.34/": true,
		"": false, "/hook": false, "ftp://example.com": false, "http://example.com": false, "https://example.com:8443/": false, "https://user:pw@example.com/": false,
		"https://localhost/": false, "https://10.0.0.1/": false, "https://[::1]/": false, "https://169.254.169.254/latest": false, "https://[::ffff:10.0.0.1]/": false,
		"https://metadata.google.internal/": false, "https://router/": false, "http://inbox:9001/": false, "https://example.com/#x": false, "ftp://127.0.0.1/": false, "https://0.0.0.0/": false,
	} {
		w := b.do(http.MethodPost, "/v1/webhooks", b.key, strings.NewReader(fmt.Sprintf(`{"url":%q}`, url)))
		if ok != (w.Code == http.StatusCreated) || !ok && (w.Code != http.StatusUnprocessableEntity || problemOf(t, w).Errors[0].Pointer != "/url") {
			t.Errorf("%q: %d %s", url, w.Code, w.Body)
		}
	}
	w := b.do(http.MethodPost, "/v1/webhooks", b.key, strings.NewReader(`{"url":"https://example.com/hook","min_severity":"warning"}`))
	var hook api.Webhook
	decode(t, w, &hook)
	if hook.Secret == "" || w.Header().Get("Location") != "/v1/webhooks/"+hook.ID {
		t.Fatal(w.Body)
	}
	for _, target := range []string{"/v1/webhooks", "/v1/webhooks/" + hook.ID} {
		if w := b.do(http.MethodGet, target, b.key, nil); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "whsec") {
			t.Errorf("%s shows the secret: %s", target, w.Body)
		}
	}
	for _, status := range []int{http.StatusNoContent, http.StatusNotFound} {
		if w := b.do(http.MethodDelete, "/v1/webhooks/"+hook.ID, b.key, nil); w.Code != status {
			t.Error(w.Code, w.Body)
		}
	}
}

// TestClockAndTicks: setting the clock writes every second passed, in order, to
// every partition, before it answers.
func TestClockAndTicks(t *testing.T) {
	b := newBench(t, nil)
	if w := b.ingest(oneMetric("before")); w.Code != http.StatusAccepted {
		t.Fatal(w.Body)
	}
	to := testStart.Add(2 * time.Hour)
	if w := b.do(http.MethodPost, "/v1/clock", b.key, strings.NewReader(fmt.Sprintf(`{"now":%q}`, to.Format(time.RFC3339)))); w.Code != http.StatusOK {
		t.Fatal(w.Code, w.Body)
	}
	if err := b.server.AppendControl(t.Context(), []int{0, 3}, &schemas.Control{Version: 7}); err != nil {
		t.Fatal(err)
	}
	if w := b.ingest(`{"device_external_id":"before","metrics":[{"name":"v","value":1}]}`); w.Code != http.StatusAccepted {
		t.Fatal(w.Body)
	}
	for p := range 4 {
		next, controls := testStart.Unix()+1, 0
		for _, group := range b.broker.groups(t, p) {
			if len(group) > 300 {
				t.Fatalf("%d entries in one message", len(group))
			}
			for _, e := range group {
				switch k := e.Kind.(type) {
				case *schemas.Entry_Tick:
					if k.Tick.Second != next {
						t.Fatalf("partition %d: second %d, want %d", p, k.Tick.Second, next)
					}
					next++
				case *schemas.Entry_Control:
					controls++
					if k.Control.Version != 7 || next != to.Unix()+1 {
						t.Fatal("control out of order")
					}
				case *schemas.Entry_Batch:
					if at := k.Batch.ReceivedAt; at != testStart.UnixMicro() && at != to.UnixMicro() {
						t.Fatal(at)
					}
				}
			}
		}
		if next != to.Unix()+1 || controls != map[int]int{0: 1, 3: 1}[p] {
			t.Fatalf("partition %d: ticked to %d, want %d; %d controls", p, next-1, to.Unix(), controls)
		}
	}
	for body, status := range map[string]int{`{"now":"2026-11-23T08:45:00Z"}`: 422, `{"now":"2036-11-23T08:45:00Z"}`: 422, `{"now":1}`: 400, `{}`: 422, `{"time":1}`: 400} {
		if w := b.do(http.MethodPost, "/v1/clock", b.key, strings.NewReader(body)); w.Code != status {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	if err := b.server.AppendControl(t.Context(), []int{4}, &schemas.Control{}); err == nil {
		t.Error("a partition that does not exist")
	}
}

// TestSystemTicks: the real clock ticks by itself.
func TestSystemTicks(t *testing.T) {
	b := newBench(t, func(c *Config, d *Deps) { c.Clock, d.Clock, c.Partitions = "system", nil, 1 })
	until(t, "two ticks", func() bool { return len(b.broker.groups(t, 0)) >= 2 })
	if w := b.do(http.MethodPost, "/v1/clock", b.key, strings.NewReader(`{}`)); w.Code != http.StatusNotFound {
		t.Error("the system clock can be set", w.Code)
	}
	groups := b.broker.groups(t, 0)
	if one, two := groups[0][0].GetTick().Second, groups[1][0].GetTick().Second; two != one+1 {
		t.Fatal(one, two)
	}
}

// TestOverTheWire: the listener, its limits, health, metrics, a panic.
func TestOverTheWire(t *testing.T) {
	ready := errors.New("not yet")
	b := newBench(t, func(c *Config, d *Deps) {
		c.Addr = "127.0.0.1:0"
		d.Ready = map[string]Check{"log": func(context.Context) error { return ready }}
		d.Routes = []Route{
			{Pattern: "GET /boom", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret of the stack") })},
			{Pattern: "GET /mine", Scope: ScopeRead, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				id, _ := TenantFrom(r.Context())
				fmt.Fprint(w, id)
			})},
		}
	})
	base := "http://" + b.server.Addr()
	get := func(path string, header ...string) (int, string) {
		r, _ := http.NewRequest(http.MethodGet, base+path, nil)
		r.Header.Set("X-API-Key", b.key)
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var sb strings.Builder
		buf := make([]byte, 1<<20)
		for {
			n, err := resp.Body.Read(buf)
			sb.Write(buf[:n])
			if err != nil {
				return resp.StatusCode, sb.String()
			}
		}
	}
	if code, body := get("/v1/health"); code != 200 || !strings.Contains(body, "ok") {
		t.Error(code, body)
	}
	if code, body := get("/v1/ready"); code != 503 || !strings.Contains(body, `"log":"failed"`) || strings.Contains(body, "not yet") {
		t.Error(code, body)
	}
	ready = nil
	if code, body := get("/v1/ready"); code != 200 {
		t.Error(code, body)
	}
	if code, body := get("/boom"); code != 500 || strings.Contains(body, "secret") || !strings.Contains(body, `"code":"internal"`) {
		t.Error(code, body)
	}
	if code, body := get("/mine"); code != 200 || body != b.tenant.String() {
		t.Error(code, body)
	}
	if code, _ := get("/v1/health", "X-Long", strings.Repeat("x", 40<<10)); code != http.StatusRequestHeaderFieldsTooLarge {
		t.Error(code)
	}
	if code, body := get("/metrics"); code != 200 || !strings.Contains(body, `edgepulse_gateway_requests_total{class="5xx",route="/boom"} 1`) || strings.Contains(body, b.tenant.String()) {
		t.Error(code, body)
	}
	r, _ := http.NewRequest(http.MethodPost, base+"/v1/ingest", strings.NewReader(oneMetric("d")))
	r.Header.Set("X-API-Key", b.key)
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil || resp.StatusCode != http.StatusAccepted {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	if err := b.server.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", b.server.Addr()); err == nil {
		c.Close()
		t.Error("still listening")
	}
	if logs := b.logs.String(); strings.Contains(logs, b.key) || !strings.Contains(logs, "secret of the stack") {
		t.Error("access log")
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := DefaultConfig()
	good.Pepper = "x"
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"pepper": func(c *Config) { c.Pepper = "" }, "partitions": func(c *Config) { c.Partitions = 0 }, "clock": func(c *Config) { c.Clock = "sun" },
		"key-ttl": func(c *Config) { c.KeyTTL = 6 * time.Second }, "max-inflated": func(c *Config) { c.MaxInflated = 7 << 20 }, "inflight": func(c *Config) { c.TenantShare = 1 },
		"webhook-allow": func(c *Config) { c.WebhookAllow = []string{"10.0.0.0/99"} }, "tick-chunk": func(c *Config) { c.TickChunk = 0 }, "max-ratio": func(c *Config) { c.MaxRatio = 0 },
	} {
		c := good
		change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
