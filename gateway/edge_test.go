package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/schemas/apikey"
	"github.com/edgepulse/edgepulse/schemas/edge"
)

var (
	edgeSecret = bytes.Repeat([]byte{1}, 32)
	nextSecret = bytes.Repeat([]byte{2}, 32)
)

type fixedClock struct{ w *wallClock }

func (c fixedClock) Now() int64 { return c.w.Now().UnixMicro() }

// newEdgeBench is a gateway behind an edge, on a clock that the test moves.
func newEdgeBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	wall := &wallClock{now: testStart}
	b := newBench(t, func(c *Config, d *Deps) {
		c.Clock, c.Ticks = "system", false
		c.EdgeSecrets = hex.EncodeToString(nextSecret) + "," + hex.EncodeToString(edgeSecret)
		d.Clock, d.Wall = fixedClock{wall}, wall.Now
		if change != nil {
			change(c)
		}
	})
	b.wall = wall
	b.knownToEdge(b.key)
	return b
}

// knownToEdge gives a key the hash that the edge would know, and returns its proof.
func (b *bench) knownToEdge(key string) (id, proof string) {
	id, secret, err := apikey.Parse(key)
	if err != nil {
		b.tb.Fatal(err)
	}
	hash := edge.Hash([]byte(testPepper), secret)
	b.keys.change(key, func(r *KeyRecord) { r.EdgeHash = hash })
	return id, edge.Proof(hash)
}

// signed is a request as the Worker sends it; change may bend it after it was signed.
func (b *bench) signed(body string, secret []byte, before func(*edge.Claim), after func(*http.Request)) *httptest.ResponseRecorder {
	id, _, _ := apikey.Parse(b.key)
	sum := sha256.Sum256([]byte(body))
	c := edge.Claim{Kind: edge.KindRequest, AcceptedAt: b.wall.Now().UnixMicro(), RequestID: uuid.NewString(), Method: "POST", Target: "/v1/ingest", KeyID: id,
		IdempotencyKey: "edge:1", ContentType: "application/json", BodySHA256: hex.EncodeToString(sum[:])}
	c.IdempotencyKey = "edge:" + c.RequestID
	if before != nil {
		before(&c)
	}
	sig, err := c.Sign(secret)
	if err != nil {
		b.tb.Fatal(err)
	}
	r := httptest.NewRequest(c.Method, c.Target, strings.NewReader(body))
	for k, v := range map[string]string{"X-API-Key": b.key, "Content-Type": c.ContentType, "Idempotency-Key": c.IdempotencyKey, edge.HeaderSignature: sig,
		edge.HeaderRequestID: c.RequestID, edge.HeaderAcceptedAt: strconv.FormatInt(c.AcceptedAt, 10), edge.HeaderBodySHA256: c.BodySHA256} {
		r.Header.Set(k, v)
	}
	if after != nil {
		after(r)
	}
	w := httptest.NewRecorder()
	b.handler().ServeHTTP(w, r)
	return w
}

// batches are all batch entries of the log, in order of partition and root.
func (b *bench) batches() (out []*schemas.Batch) {
	for p := range 4 {
		for _, group := range b.broker.groups(b.tb, p) {
			for _, e := range group {
				if batch := e.GetBatch(); batch != nil {
					out = append(out, batch)
				}
			}
		}
	}
	return out
}

func wantProblem(t *testing.T, w *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	if p := problemOf(t, w); w.Code != status || p.Code != code {
		t.Errorf("%d %s, want %d %s: %s", w.Code, p.Code, status, code, p.Detail)
	}
}

func TestEdgeRequestIsTakenAsOfItsAcceptance(t *testing.T) {
	b := newEdgeBench(t, nil)
	at := testStart.Add(-90 * time.Second).UnixMicro()
	body := `{"device_external_id":"d","metrics":[{"name":"v","value":1}]}`
	id := uuid.NewString()
	w := b.signed(body, edgeSecret, func(c *edge.Claim) { c.AcceptedAt, c.RequestID = at, id }, nil)
	if w.Code != http.StatusAccepted || w.Header().Get("X-Request-Id") != id || w.Header().Get(edge.HeaderVerified) != strconv.FormatInt(testStart.UnixMicro(), 10) {
		t.Fatalf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	got := b.batches()
	if len(got) != 1 || got[0].AcceptedAt != at || got[0].ReceivedAt != testStart.UnixMicro() || got[0].Source != "edge" || got[0].RequestId != id ||
		string(got[0].Slices[0].Json) != body {
		t.Fatalf("log holds %+v", got)
	}
	var a api.IngestAnswer
	if decode(t, w, &a); a.BatchID != id || a.Accepted != 1 {
		t.Errorf("answer %+v", a)
	}
}

func TestEdgeSignatureRules(t *testing.T) {
	b := newEdgeBench(t, nil)
	good := oneMetric("d")
	for name, c := range map[string]struct {
		secret []byte
		before func(*edge.Claim)
		after  func(*http.Request)
		status int
		code   string
	}{
		"current secret":              {nextSecret, nil, nil, 202, ""},
		"secret being retired":        {edgeSecret, nil, nil, 202, ""},
		"another secret":              {bytes.Repeat([]byte{3}, 32), nil, nil, 401, "edge_signature"},
		"other body":                  {edgeSecret, nil, func(r *http.Request) { r.Body = http.NoBody }, 400, "bad_body"},
		"body not covered":            {edgeSecret, func(c *edge.Claim) { c.BodySHA256 = edge.Unsigned }, nil, 401, "edge_signature"},
		"other path":                  {edgeSecret, func(c *edge.Claim) { c.Target = "/v1/ingest?x" }, func(r *http.Request) { r.RequestURI = "/v1/ingest" }, 401, "edge_signature"},
		"other idempotency key":       {edgeSecret, nil, func(r *http.Request) { r.Header.Set("Idempotency-Key", "another") }, 401, "edge_signature"},
		"other key":                   {edgeSecret, nil, func(r *http.Request) { r.Header.Set("X-API-Key", b.keys.add(b.tenant, nil, ScopeIngest)) }, 401, "edge_signature"},
		"other instant":               {edgeSecret, nil, func(r *http.Request) { r.Header.Set(edge.HeaderAcceptedAt, "1") }, 401, "edge_signature"},
		"spill passed off as request": {edgeSecret, func(c *edge.Claim) { c.Kind = edge.KindSpill }, nil, 401, "edge_signature"},
		"no request id":               {edgeSecret, nil, func(r *http.Request) { r.Header.Del(edge.HeaderRequestID) }, 401, "edge_signature"},
		"request id that is no UUID":  {edgeSecret, func(c *edge.Claim) { c.RequestID = "x'; DROP TABLE y" }, nil, 401, "edge_signature"},
		"clock behind":                {edgeSecret, func(c *edge.Claim) { c.AcceptedAt -= 121e6 }, nil, 401, "edge_clock"},
		"clock ahead":                 {edgeSecret, func(c *edge.Claim) { c.AcceptedAt += 121e6 }, nil, 401, "edge_clock"},
		"clock within tolerance":      {edgeSecret, func(c *edge.Claim) { c.AcceptedAt += 119e6 }, nil, 202, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := b.signed(good, c.secret, c.before, c.after)
			if c.status == http.StatusAccepted {
				if w.Code != c.status {
					t.Fatalf("%d %s", w.Code, w.Body)
				}
				return
			}
			wantProblem(t, w, c.status, c.code)
		})
	}
	if n := len(b.batches()); n != 3 {
		t.Errorf("%d requests in the log, want the 3 good ones", n)
	}
}

func TestEdgeRequestIsTakenOnce(t *testing.T) {
	b := newEdgeBench(t, nil)
	id := uuid.NewString()
	same := func(c *edge.Claim) { c.RequestID, c.AcceptedAt, c.IdempotencyKey = id, testStart.UnixMicro(), "" }
	if w := b.signed(oneMetric("d"), edgeSecret, same, func(r *http.Request) { r.Header.Del("Idempotency-Key") }); w.Code != http.StatusAccepted {
		t.Fatal(w.Code, w.Body)
	}
	for range 2 { // also when a generation of the memory has passed
		wantProblem(t, b.signed(oneMetric("d"), edgeSecret, same, func(r *http.Request) { r.Header.Del("Idempotency-Key") }), 409, "edge_replayed")
		b.wall.advance(119 * time.Second)
	}
}

func TestEdgeReplacesNoCheckOfTheKey(t *testing.T) {
	b := newEdgeBench(t, nil)
	b.keys.change(b.key, func(r *KeyRecord) { r.Revoked, r.RevokedAt = true, testStart })
	wantProblem(t, b.signed(oneMetric("d"), edgeSecret, nil, nil), 401, "unauthorized")
}

func TestRequireEdge(t *testing.T) {
	b := newEdgeBench(t, func(c *Config) { c.RequireEdge = true })
	wantProblem(t, b.ingest(oneMetric("d")), 403, "edge_required")
	wantProblem(t, b.do("GET", "/v1/devices", b.key, nil), 403, "edge_required")
	for _, path := range []string{"/v1/health", "/v1/ready", "/metrics"} {
		if w := b.do("GET", path, "", nil); w.Code != http.StatusOK {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := b.signed(oneMetric("d"), edgeSecret, nil, nil); w.Code != http.StatusAccepted {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := b.spill(oneMetric("e"), nil); w.Code != http.StatusAccepted {
		t.Errorf("spill: %d %s", w.Code, w.Body)
	}
}

// spill sends a spilled request as the drain does.
func (b *bench) spill(body string, change func(*edge.Claim), bend ...func([]byte) []byte) *httptest.ResponseRecorder {
	id, proof := b.knownToEdge(b.key)
	c := edge.Claim{AcceptedAt: b.wall.Now().UnixMicro(), RequestID: uuid.NewString(), KeyID: id, KeyProof: proof, ContentType: "application/json"}
	c.IdempotencyKey = "edge:" + c.RequestID
	if change != nil {
		change(&c)
	}
	s, err := edge.NewSpill(c, []byte(body), edgeSecret)
	if err != nil {
		b.tb.Fatal(err)
	}
	object, err := s.Encode()
	if err != nil {
		b.tb.Fatal(err)
	}
	for _, f := range bend {
		object = f(object)
	}
	r := httptest.NewRequest("POST", spillRoute, bytes.NewReader(object))
	w := httptest.NewRecorder()
	b.handler().ServeHTTP(w, r)
	return w
}

func TestSpillIsJudgedAsOfItsAcceptance(t *testing.T) {
	b := newEdgeBench(t, nil)
	accepted := testStart
	b.wall.advance(10 * 24 * time.Hour) // an outage longer than a ts may be old
	body := `{"device_external_id":"d","metrics":[{"name":"old","ts":"` + accepted.Add(-time.Minute).Format(time.RFC3339) + `","value":1},{"name":"none","value":2}]}`
	id := uuid.NewString()
	take := func() api.IngestAnswer {
		w := b.spill(body, func(c *edge.Claim) {
			c.AcceptedAt, c.RequestID, c.IdempotencyKey = accepted.UnixMicro(), id, "edge:"+id
		})
		if w.Code != http.StatusAccepted {
			t.Fatal(w.Code, w.Body)
		}
		var a api.IngestAnswer
		decode(t, w, &a)
		return a
	}
	if a := take(); a.Accepted != 2 || a.BatchID != id || a.Repeat {
		t.Errorf("answer %+v", a)
	}
	if a := take(); !a.Repeat || a.BatchID != id { // the drain died before it deleted the object
		t.Errorf("second answer %+v", a)
	}
	got := b.batches()
	if len(got) != 1 || got[0].AcceptedAt != accepted.UnixMicro() || got[0].ReceivedAt != b.wall.Now().UnixMicro() || got[0].Source != "edge" || string(got[0].Slices[0].Json) != body {
		t.Fatalf("log holds %+v", got)
	}
}

func TestSpillKeyIsJudgedAsOfItsAcceptance(t *testing.T) {
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		record func(*KeyRecord, time.Time)
		claim  func(*edge.Claim)
		status int
		code   string
	}{
		"valid":            {nil, nil, 202, ""},
		"revoked later":    {func(r *KeyRecord, at time.Time) { r.Revoked, r.RevokedAt = true, at.Add(time.Microsecond) }, nil, 202, ""},
		"revoked before":   {func(r *KeyRecord, at time.Time) { r.Revoked, r.RevokedAt = true, at }, nil, 401, "unauthorized"},
		"revoked, unknown": {func(r *KeyRecord, _ time.Time) { r.Revoked = true }, nil, 401, "unauthorized"},
		"expired later":    {func(r *KeyRecord, at time.Time) { r.ExpiresAt = at.Add(time.Microsecond) }, nil, 202, ""},
		"expired before":   {func(r *KeyRecord, at time.Time) { r.ExpiresAt = at }, nil, 401, "unauthorized"},
		"disabled later":   {func(r *KeyRecord, at time.Time) { r.TenantDisabled, r.DisabledAt = true, at.Add(time.Microsecond) }, nil, 202, ""},
		"disabled before":  {func(r *KeyRecord, at time.Time) { r.TenantDisabled, r.DisabledAt = true, at }, nil, 403, "tenant_disabled"},
		"may only read":    {func(r *KeyRecord, _ time.Time) { r.Scopes = []string{ScopeRead} }, nil, 403, "missing_scope"},
		"unknown key":      {nil, func(c *edge.Claim) { c.KeyID = "aaaaaaaaaaaa" }, 401, "unauthorized"},
		"other proof":      {nil, func(c *edge.Claim) { c.KeyProof = edge.Proof(make([]byte, 32)) }, 401, "unauthorized"},
		"no proof":         {nil, func(c *edge.Claim) { c.KeyProof = "" }, 401, "unauthorized"},
		"from the future":  {nil, func(c *edge.Claim) { c.AcceptedAt += 2 * day.Microseconds() }, 401, "edge_clock"},
		"wrong type":       {nil, func(c *edge.Claim) { c.ContentType = "text/plain" }, 415, "unsupported_media_type"},
		"bad key":          {nil, func(c *edge.Claim) { c.IdempotencyKey = "a b" }, 400, "bad_idempotency_key"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newEdgeBench(t, nil)
			at := b.wall.Now()
			b.wall.advance(day)
			if c.record != nil {
				b.keys.change(b.key, func(r *KeyRecord) { c.record(r, at) })
			}
			w := b.spill(`{"device_external_id":"d","metrics":[{"name":"v","value":1}]}`, func(cl *edge.Claim) {
				cl.AcceptedAt = at.UnixMicro()
				if c.claim != nil {
					c.claim(cl)
				}
			})
			if c.status == http.StatusAccepted {
				if w.Code != c.status {
					t.Errorf("%d %s", w.Code, w.Body)
				}
				return
			}
			wantProblem(t, w, c.status, c.code)
			if len(b.batches()) != 0 {
				t.Error("it is in the log")
			}
		})
	}
}

func TestSpillThatWasBent(t *testing.T) {
	b := newEdgeBench(t, nil)
	for name, c := range map[string]struct {
		bend   func([]byte) []byte
		status int
		code   string
	}{
		"last byte":     {func(o []byte) []byte { o[len(o)-1] ^= 1; return o }, 400, "bad_body"},
		"cut off":       {func(o []byte) []byte { return o[:len(o)-1] }, 400, "bad_body"},
		"longer":        {func(o []byte) []byte { return append(o, ' ') }, 400, "bad_body"},
		"head only":     {func(o []byte) []byte { return o[:bytes.IndexByte(o, '\n')] }, 400, "bad_spill"},
		"no head":       {func(o []byte) []byte { return o[bytes.IndexByte(o, '\n')+1:] }, 400, "bad_spill"},
		"unknown field": {func(o []byte) []byte { return append([]byte(`{"x":1,`), o[1:]...) }, 400, "bad_spill"},
		"other signature": {func(o []byte) []byte {
			return bytes.Replace(o, []byte(`"signature":"v1=`), []byte(`"signature":"v2=`), 1)
		}, 401, "edge_signature"},
		"other version": {func(o []byte) []byte { return bytes.Replace(o, []byte(`"v":1`), []byte(`"v":2`), 1) }, 400, "bad_spill"},
	} {
		t.Run(name, func(t *testing.T) { wantProblem(t, b.spill(oneMetric("d"), nil, c.bend), c.status, c.code) })
	}
	if len(b.batches()) != 0 {
		t.Error("it is in the log")
	}
}

func TestSpillNeedsASecret(t *testing.T) {
	b := newEdgeBench(t, func(c *Config) { c.EdgeSecrets = "" })
	wantProblem(t, b.spill(oneMetric("d"), nil), 503, "edge_unknown")
	var p api.Problem
	if err := json.Unmarshal(b.signed(oneMetric("d"), edgeSecret, nil, nil).Body.Bytes(), &p); err != nil || p.Code != "edge_signature" {
		t.Errorf("a signed request gets %q", p.Code)
	}
}
