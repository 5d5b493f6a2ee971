package gateway

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/schemas/apikey"
)

// vectorFile is one file of schemas/testdata/ingest; the Worker reads the same.
type vectorFile struct {
	About string
	Now   time.Time
	Cases []vector
}

type vector struct {
	Name    string
	Method  string
	Path    string
	Key     string // "" = all scopes; see keysFor
	Headers map[string]string
	Body    *string
	Base64  string
	Repeat  *struct {
		Prefix, Unit, Suffix string
		Count                int
	}
	Encoding string // gzip, zstd: how the harness encodes the body
	Corrupt  string // cut, flip: what it does to the encoded body
	Want     struct {
		Status             int
		Code               string
		Pointer            *string
		ItemCode           string `json:"item_code"`
		Accepted, Rejected int
	}
}

func (v vector) bytes(t *testing.T) []byte {
	var raw []byte
	switch {
	case v.Body != nil:
		raw = []byte(*v.Body)
	case v.Base64 != "":
		b, err := base64.StdEncoding.DecodeString(v.Base64)
		if err != nil {
			t.Fatal(err)
		}
		raw = b
	case v.Repeat != nil:
		raw = []byte(v.Repeat.Prefix + strings.Repeat(v.Repeat.Unit, v.Repeat.Count) + v.Repeat.Suffix)
	}
	var out bytes.Buffer
	switch v.Encoding {
	case "":
		return raw
	case "gzip":
		z := gzip.NewWriter(&out)
		_, _ = z.Write(raw)
		_ = z.Close()
	case "zstd":
		z, _ := zstd.NewWriter(&out)
		_, _ = z.Write(raw)
		_ = z.Close()
	}
	b := out.Bytes()
	switch v.Corrupt {
	case "cut":
		b = b[:len(b)-6]
	case "flip":
		b[len(b)-6] ^= 0xff
	}
	return b
}

func keysFor(b *bench) map[string]string {
	other := schemas.NewID()
	unknown, _, _ := apikey.New("test", []byte(testPepper))
	forged, id, _ := apikey.New("test", []byte(testPepper))
	_, _, hash := apikey.New("test", []byte(testPepper))
	b.keys.records[id] = KeyRecord{KeyID: id, TenantID: b.tenant, Hash: hash, Scopes: []string{ScopeIngest}}
	return map[string]string{
		"": b.key, "none": "", "garbage": "ep_live_hello", "unknown": unknown, "forged": forged,
		"revoked":  b.keys.add(b.tenant, func(r *KeyRecord) { r.Revoked = true }, ScopeIngest),
		"expired":  b.keys.add(b.tenant, func(r *KeyRecord) { r.ExpiresAt = testStart }, ScopeIngest),
		"disabled": b.keys.add(other, func(r *KeyRecord) { r.TenantDisabled = true }, ScopeIngest),
		"read":     b.keys.add(b.tenant, nil, ScopeRead),
		"ingest":   b.keys.add(b.tenant, nil, ScopeIngest),
	}
}

func TestIngestVectors(t *testing.T) {
	files, err := filepath.Glob("../schemas/testdata/ingest/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no vectors", err)
	}
	b := newBench(t, nil)
	keys := keysFor(b)
	n := 0
	for _, name := range files {
		var file vectorFile
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&file); err != nil {
			t.Fatal(name, err)
		}
		if !file.Now.Equal(testStart) {
			t.Fatalf("%s is written for %s", name, file.Now)
		}
		for _, v := range file.Cases {
			n++
			t.Run(filepath.Base(name)+"/"+v.Name, func(t *testing.T) { runVector(t, b, keys, v) })
		}
	}
	if w := b.ingest(oneMetric("after")); w.Code != http.StatusAccepted {
		t.Fatalf("after %d vectors a good request gets %d %s", n, w.Code, w.Body)
	}
	if b.server.budget.total != 0 || len(b.server.budget.byTenant) != 0 {
		t.Errorf("budget leaks: %d bytes", b.server.budget.total)
	}
	if strings.Contains(b.logs.String(), "ep_test_") || strings.Contains(b.logs.String(), "DROP TABLE") {
		t.Error("the log holds keys or payloads")
	}
	t.Logf("%d vectors", n)
}

func runVector(t *testing.T, b *bench, keys map[string]string, v vector) {
	method, path := v.Method, v.Path
	if method == "" {
		method = http.MethodPost
	}
	if path == "" {
		path = "/v1/ingest"
	}
	headers := []string{}
	if v.Encoding != "" {
		headers = append(headers, "Content-Encoding", v.Encoding)
	}
	for k, h := range v.Headers {
		headers = append(headers, k, h)
	}
	w := b.do(method, path, keys[v.Key], bytes.NewReader(v.bytes(t)), headers...)
	if w.Code != v.Want.Status {
		t.Fatalf("status %d, want %d: %s", w.Code, v.Want.Status, w.Body)
	}
	if w.Header().Get("X-Request-Id") == "" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", w.Header())
	}
	if w.Code == http.StatusAccepted {
		var a api.IngestAnswer
		decode(t, w, &a)
		if a.Accepted != v.Want.Accepted || a.Rejected != v.Want.Rejected || a.BatchID != w.Header().Get("X-Request-Id") || a.Receipt != "/v1/batches/"+a.BatchID {
			t.Errorf("answer %+v, want %d accepted, %d rejected", a, v.Want.Accepted, v.Want.Rejected)
		}
		checkItem(t, a.Errors, v)
		return
	}
	p := problemOf(t, w)
	if p.Code != v.Want.Code {
		t.Errorf("code %q, want %q: %s", p.Code, v.Want.Code, w.Body)
	}
	checkItem(t, p.Errors, v)
}

func checkItem(t *testing.T, errs []api.ItemError, v vector) {
	t.Helper()
	if v.Want.Pointer == nil {
		return
	}
	if len(errs) == 0 || errs[0].Pointer != *v.Want.Pointer || errs[0].Detail == "" || v.Want.ItemCode != "" && errs[0].Code != v.Want.ItemCode {
		t.Errorf("errors %+v, want %q %q", errs, *v.Want.Pointer, v.Want.ItemCode)
	}
}

func decode(t *testing.T, w *httptest.ResponseRecorder, v any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
}

// problemOf checks that an answer is a whole problem (RFC 9457).
func problemOf(t *testing.T, w *httptest.ResponseRecorder) api.Problem {
	t.Helper()
	var p api.Problem
	decode(t, w, &p)
	if ct := w.Header().Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("Content-Type %q", ct)
	}
	if p.Status != w.Code || p.RequestID != w.Header().Get("X-Request-Id") || p.Title == "" || p.Detail == "" || !strings.HasSuffix(p.Type, p.Code) {
		t.Errorf("incomplete problem %+v", p)
	}
	return p
}
