package gateway

import (
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/contract"
)

// Every route of the mux is in the contract with its scope, and the other way round.
func TestRoutesAreThoseOfTheContract(t *testing.T) {
	b := newBench(t, func(c *Config, d *Deps) {
		c.OwnerTokenHash = strings.Repeat("00", sha256.Size)
		d.Accounts, d.Owner = struct{ Accounts }{}, struct{ Owner }{} // for their routes
		for _, method := range []string{"GET", "POST"} {
			d.Routes = append(d.Routes, Route{Pattern: method + " /demo/inbox", Handler: http.NotFoundHandler()})
		}
	})
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]string{}
	for _, r := range b.server.Routes() {
		served[r.Pattern] = r.Scope
	}
	if b.server.live == nil { // without a log there is none
		served["GET /v1/live"] = ScopeRead
	}
	for _, why := range differences(served, c) {
		t.Error(why)
	}
	// The comparison sees what is missing on either side.
	served["GET /v1/undocumented"] = ""
	delete(served, "GET /v1/devices")
	served["GET /v1/metrics"] = ""
	if found := differences(served, c); len(found) != 3 {
		t.Errorf("three differences were made, found %q", found)
	}
}

func differences(served map[string]string, c *contract.Contract) []string {
	var out []string
	documented := map[string]bool{}
	for _, o := range c.Operations() {
		documented[o.Name()] = true
		scope, ok := served[o.Name()]
		switch {
		case !ok:
			out = append(out, o.Name()+" is documented, not served")
		case scope != o.Scope:
			out = append(out, o.Name()+" has scope "+scope+", documented is "+o.Scope)
		}
	}
	for pattern := range served {
		if !documented[pattern] {
			out = append(out, pattern+" is served, not documented")
		}
	}
	slices.Sort(out)
	return out
}

// Every code that the gateway can answer with is among those of the document.
func TestProblemCodesAreDocumented(t *testing.T) {
	doc, err := readDocument(schemas.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, code := range doc.at("components", "schemas", "Problem", "properties", "code", "enum").items() {
		documented[code.text()] = true
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	made := regexp.MustCompile(`(?:newProblem|limited)\([^"\n]*, "([a-z_]+)"`)
	found := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range made.FindAllStringSubmatch(string(text), -1) {
			if found++; !documented[m[1]] {
				t.Errorf("%s: the code %s is not documented", f, m[1])
			}
		}
	}
	if found < 40 {
		t.Errorf("only %d codes found", found)
	}
}

// The document is served as it is written, and as a page under a policy that runs nothing.
func TestContractIsServed(t *testing.T) {
	b := newBench(t, nil)
	w := b.do(http.MethodGet, "/v1/openapi.json", "", nil)
	var doc struct {
		OpenAPI string
		Paths   map[string]any
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc.OpenAPI != "3.1.0" || len(doc.Paths) < 30 || w.Header().Get("ETag") == "" {
		t.Fatal(w.Code, err, w.Header())
	}
	if _, err := contract.Parse(w.Body.Bytes()); err != nil {
		t.Error("what is served is not the document:", err)
	}
	if again := b.do(http.MethodGet, "/v1/openapi.json", "", nil, "If-None-Match", w.Header().Get("ETag")); again.Code != http.StatusNotModified {
		t.Error(again.Code)
	}
	w = b.do(http.MethodGet, "/v1/docs", "", nil)
	page := w.Body.String()
	if w.Code != http.StatusOK || w.Header().Get("Content-Security-Policy") != docsPolicy || strings.Contains(page, "<script") || strings.Contains(page, " style=") {
		t.Error(w.Code, w.Header())
	}
	c, _ := theContract()
	for _, o := range c.Operations() {
		if !strings.Contains(page, "<code>"+o.Path+"</code>") {
			t.Error("the page does not show", o.Name())
		}
	}
	for _, s := range []string{"AlertRule", "Problem", "DatapointPage", "Downsampled"} {
		if !strings.Contains(page, `id="schema-`+s+`"`) || !strings.Contains(page, `href="#schema-`+s+`"`) {
			t.Error("the page has no schema", s)
		}
	}
	if w = b.do(http.MethodGet, "/v1/docs.css", "", nil); w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Content-Type"), "text/css") {
		t.Error(w.Code, w.Header())
	}
}

// One field that is missing, unknown, of another type or of another word breaks the contract.
func TestContractSeesAMutatedField(t *testing.T) {
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	const device = `{"id":"0b5a1a5e-6a0c-4d0e-9e57-0d9a4c4bb3f1","device_external_id":"d","first_seen":"2026-11-01T00:00:00Z","metrics":1,"last_seen":null,"silent":false,"anomalies_24h":0}`
	for _, m := range []struct {
		name, old, new string
		breaks         bool
	}{
		{"as it is", "", "", false},
		{"a field renamed", `"silent"`, `"quiet"`, true},
		{"a field left out", `"metrics":1,`, ``, true},
		{"a field more", `"silent"`, `"secret":"x","silent"`, true},
		{"another type", `"metrics":1`, `"metrics":"1"`, true},
		{"null where none may be", `"first_seen":"2026-11-01T00:00:00Z"`, `"first_seen":null`, true},
		{"no instant", `2026-11-01T00:00:00Z`, `yesterday`, true},
		{"an unknown word", `"silent"`, `"worst_severity_24h":"bad","silent"`, true},
	} {
		var found []string
		h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("X-Request-Id", "r")
			_, _ = w.Write([]byte(strings.Replace(device, m.old, m.new, 1)))
		}), func(why string) { found = append(found, why) })
		serve(h, http.MethodGet, "/v1/devices/"+someID)
		if (len(found) > 0) != m.breaks {
			t.Errorf("%s: found %q", m.name, found)
		}
	}
	// Status, content type and parameters too.
	for _, m := range []struct {
		target, kind string
		status       int
	}{{"/v1/devices/" + someID, "application/json", 418}, {"/v1/devices/" + someID, "text/plain", 200}, {"/v1/nothing", "application/json", 200}} {
		var found []string
		h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", m.kind)
			w.WriteHeader(m.status)
			_, _ = w.Write([]byte(device))
		}), func(why string) { found = append(found, why) })
		serve(h, http.MethodGet, m.target)
		if len(found) == 0 {
			t.Errorf("%+v broke nothing", m)
		}
	}
}

// So does one in a line of JSON, a row of CSV, or a server-sent event.
func TestContractSeesAMutatedPart(t *testing.T) {
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	const (
		point = `{"metric_id":"` + someID + `","device_external_id":"d","metric_name":"m","ts":"2026-11-01T00:00:00Z","value":1,"flags":["late"],"root":7}` + "\n"
		table = "metric_id,device_external_id,metric_name,ts,value,flags,root\n" + someID + ",d,m,2026-11-01T00:00:00Z,1.5,late behind,7\n" + someID + ",d,m,2026-11-01T00:00:01Z,-2e-07,,8\n"
		usage = "day,requests,points,bytes,evaluations,webhook_attempts,webhooks_delivered\n2026-11-01,1,2,3,4,5,6\n"
		live  = "retry: 1000\n\n: keep-alive\nid: 1-2\n\nevent: points\ndata: {\"metric_id\":\"" + someID + "\",\"points\":[[1,2.5]]}\n\nid: 1-3\nevent: ingest\ndata: {\"points_per_second\":1,\"requests_per_second\":2}\n\nevent: dropped\ndata: {\"count\":3}\n\n"
	)
	export := "/v1/export?metric_id=" + someID + "&from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z"
	for _, m := range []struct{ target, kind, body, old, new string }{
		{export, "application/x-ndjson", point, "", ""},
		{export, "application/x-ndjson", point, `"root"`, `"place"`},
		{export, "application/x-ndjson", point, `"late"`, `"early"`},
		{export, "application/x-ndjson", point, `"value":1`, `"value":"1"`},
		{export, "application/x-ndjson", point, `,"root":7`, ``},
		{export, "application/x-ndjson", point, "}\n", "}"},
		{export, "text/csv", table, "", ""},
		{export, "text/csv", table, "root\n", "place\n"},
		{export, "text/csv", table, "ts,value", "value,ts"},
		{export, "text/csv", table, ",1.5,", ",one,"},
		{export, "text/csv", table, "late behind", "early"},
		{export, "text/csv", table, ",,8", ",,,8"},
		{export, "text/csv", table, "-2e-07,", ",,"},
		{export, "text/csv", table, "2026-11-01T00:00:01Z", "1793491201"},
		{"/v1/usage", "text/csv", usage, "", ""},
		{"/v1/usage", "text/csv", usage, ",6\n", ",-6\n"},
		{"/v1/usage", "text/csv", usage, "2026-11-01", "1 Nov"},
		{"/v1/live", "text/event-stream", live, "", ""},
		{"/v1/live", "text/event-stream", live, "event: ingest", "event: rates"},
		{"/v1/live", "text/event-stream", live, `[[1,2.5]]`, `[[1]]`},
		{"/v1/live", "text/event-stream", live, `"count":3`, `"count":"3"`},
		{"/v1/live", "text/event-stream", live, `"points_per_second"`, `"rate"`},
		{"/v1/live", "text/event-stream", live, "event: dropped\ndata", "event: dropped\nbody"},
	} {
		var found []string
		h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", m.kind)
			w.Header().Set("X-Request-Id", "r")
			_, _ = w.Write([]byte(strings.Replace(m.body, m.old, m.new, 1)))
		}), func(why string) { found = append(found, why) })
		serve(h, http.MethodGet, m.target)
		if breaks := m.old != ""; (len(found) > 0) != breaks {
			t.Errorf("%s %s with %q for %q: found %q", m.kind, m.target, m.new, m.old, found)
		}
	}
	if seen := c.Events(); seen["points"] == 0 || seen["dropped"] == 0 {
		t.Errorf("events seen: %v", seen)
	}
}
