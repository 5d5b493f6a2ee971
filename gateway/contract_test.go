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
