package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/gateway"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/apikey"
	"github.com/edgepulse/edgepulse/schemas/contract"
)

// TestTenantsAreIsolated is generated from the contract: every operation is asked
// for by every kind of caller that must not have it. Ids of another tenant answer
// as ids that nobody has, nothing of that tenant is in any answer, and nothing of
// it has changed afterwards. An operation that is added to the contract is probed.
func TestTenantsAreIsolated(t *testing.T) {
	b := newAPIBench(t)
	before := b.everything()
	marks := b.marks(before)
	if len(marks) < 15 {
		t.Fatalf("only %d marks to look for: %q", len(marks), marks)
	}
	stranger := newWorld(t, b.db, "stranger")
	p := &prober{apiBench: b, marks: marks}
	all := b.newKey(stranger.tenant, time.Time{}, store.ScopeIngest, store.ScopeBackfill, store.ScopeRead, store.ScopeAdmin)
	callers := []caller{
		{"no key", "", 401}, {"garbage", "ep_live_hello", 401}, {"a forged secret", forged(b.key, all), 401},
		{"an expired key", b.newKey(b.w.tenant, time.Now().Add(-time.Minute), store.ScopeIngest, store.ScopeRead, store.ScopeAdmin), 401},
		{"a revoked key", b.revoked(), 401},
		{"a key of a disabled tenant", b.ofDisabled(), 403},
	}
	cookie := b.do(http.MethodPost, "/v1/session", "", `{"api_key":"`+all+`"}`).Header().Get("Set-Cookie")
	for _, o := range b.c.Operations() {
		if o.Scope == "" {
			if o.Method == http.MethodGet {
				p.probe(o, "a public answer", b.target(o), "", "", 0)
			}
			continue
		}
		target := b.target(o)
		if o.Scope == gateway.ScopeOwner {
			p.notTheOwner(o, append(callers, caller{"the tenant itself", b.key, 0}, caller{"another tenant", all, 0}, caller{"no token of an owner", ownerToken + "x", 0}), cookie)
			continue
		}
		for _, c := range append(callers, caller{"a key without the scope", b.without(o.Scope), 403}) {
			p.probe(o, c.name, target, c.key, bodies[o.Name()], c.want)
		}
		p.probe(o, "the owner's token", target, "", bodies[o.Name()], http.StatusUnauthorized, "Authorization", "Bearer "+ownerToken)
		p.foreign(o, all, cookie)
	}
	then, now := strings.Split(before, "\n"), strings.Split(b.everything(), "\n")
	for i := range max(len(then), len(now)) {
		if i >= len(then) || i >= len(now) || then[i] != now[i] {
			t.Errorf("something of the tenant has changed, at line %d: %s, before %s", i, now[min(i, len(now)-1)], then[min(i, len(then)-1)])
			break
		}
	}
	if p.probes < 300 {
		t.Errorf("%d probes, want at least 300", p.probes)
	}
	t.Logf("%d probes, %d leaks", p.probes, p.leaks)
}

type caller struct {
	name, key string
	want      int
}

// prober asks, and looks for what must not be in the answer.
type prober struct {
	*apiBench
	marks         []string
	probes, leaks int
}

// probe wants a status (0 = any) and no mark in the answer, but for those the caller sent.
func (p *prober) probe(o contract.Operation, name, target, key, body string, want int, headers ...string) *httptest.ResponseRecorder {
	p.t.Helper()
	p.probes++
	r := p.do(o.Method, target, key, body, headers...)
	if want != 0 && r.Code != want {
		p.leaks++
		p.t.Errorf("%s by %s: %d %s, want %d", o.Name(), name, r.Code, r.Body, want)
	}
	answer := r.Body.String() + fmt.Sprint(r.Header())
	for _, m := range p.marks {
		if strings.Contains(answer, m) && !strings.Contains(target+body, m) {
			p.leaks++
			p.t.Errorf("%s by %s: %q leaks: %s", o.Name(), name, m, answer)
		}
	}
	return r
}

// foreign asks with a valid key of another tenant.
func (p *prober) foreign(o contract.Operation, key, cookie string) {
	p.t.Helper()
	if o.Path == "/v1/clock" {
		return // a simulated clock is everybody's
	}
	target := p.target(o)
	named := strings.Contains(o.Path, "{")
	required := strings.Contains(target, "metric_id=")
	want := 0
	if named || required {
		want = http.StatusNotFound
	}
	r := p.probe(o, "another tenant", target, key, bodies[o.Name()], want)
	if want != 0 {
		nobodys := p.probe(o, "another tenant, an id that nobody has", p.unknown(target), key, bodies[o.Name()], want)
		if a, b := indifferent(r), indifferent(nobodys); a != b {
			p.leaks++
			p.t.Errorf("%s: an id of another tenant answers %s, one of nobody %s", o.Name(), a, b)
		}
	}
	session := strings.Split(cookie, ";")[0]
	if o.Method == http.MethodGet {
		p.probe(o, "a session of another tenant", target, "", "", want, "Cookie", session)
		for _, q := range o.Query { // filters by what belongs to the tenant
			if id := map[string]string{"metric_id": p.ids["/v1/metrics"], "device_id": p.w.device.String(), "alert_id": p.ids["/v1/alerts"], "rule_id": p.ids["/v1/alert-rules"],
				"against": p.ids["/v1/models"], "device_external_id": "press-1", "name": "temperature", "q": "temp"}[q.Name]; id != "" && !q.Required {
				p.probe(o, "another tenant, "+q.Name, target+map[bool]string{true: "&", false: "?"}[strings.Contains(target, "?")]+q.Name+"="+id, key, "", 0)
			}
		}
	} else {
		p.probe(o, "a session of another tenant", target, "", bodies[o.Name()], want, "Cookie", session, "X-EdgePulse-Request", "1")
		p.probe(o, "a session without its header", target, "", bodies[o.Name()], http.StatusForbidden, "Cookie", session)
	}
	if named && (o.Method == http.MethodPatch || o.Method == http.MethodDelete) {
		p.probe(o, "another tenant, with If-Match", target, key, bodies[o.Name()], want, "If-Match", `"1"`)
		p.probe(o, "another tenant, with a bad body", target, key, `{"unknown":1}`, want)
	}
	if named && !strings.HasPrefix(o.Path, "/v1/models") {
		for _, odd := range []string{"x", "%00", "%2e%2e", strings.ToUpper(p.idIn(target)) + "0"} {
			p.probe(o, "another tenant, an odd id", strings.Replace(target, p.idIn(target), odd, 1), key, bodies[o.Name()], 0)
		}
	}
}

// notTheOwner asks for what is the owner's: by a session, and with keys in either header.
func (p *prober) notTheOwner(o contract.Operation, callers []caller, cookie string) {
	p.t.Helper()
	target, body := p.target(o), bodies[o.Name()]
	for _, c := range callers {
		p.probe(o, c.name, target, c.key, body, http.StatusUnauthorized)
		p.probe(o, c.name+", as bearer", target, "", body, http.StatusUnauthorized, "Authorization", "Bearer "+c.key)
	}
	p.probe(o, "the owner's token as a key", target, ownerToken, body, http.StatusUnauthorized)
	p.probe(o, "a session", target, "", body, http.StatusUnauthorized, "Cookie", strings.Split(cookie, ";")[0], "X-EdgePulse-Request", "1")
}

// unknown puts an id in the place of the tenant's that nobody has.
func (p *prober) unknown(target string) string {
	for _, id := range p.ids {
		other := schemas.NewID().String()
		switch len(id) {
		case 64:
			other = strings.Repeat("0", 64)
		case 12:
			other = "aaaaaaaaaaaa"
		}
		target = strings.ReplaceAll(target, id, other)
	}
	return target
}

func (p *prober) idIn(target string) string {
	for _, id := range p.ids {
		if strings.Contains(target, id) {
			return id
		}
	}
	return "none"
}

// indifferent is an answer without what differs between any two.
func indifferent(r *httptest.ResponseRecorder) string {
	var body map[string]any
	_ = json.Unmarshal(r.Body.Bytes(), &body)
	delete(body, "request_id")
	delete(body, "instance")
	text, _ := json.Marshal(body)
	return fmt.Sprint(r.Code, string(text), r.Header().Get("ETag"))
}

// everything is what the tenant itself sees of its things, without what time alone changes.
func (b *apiBench) everything() string {
	var out strings.Builder
	for _, o := range b.c.Operations() {
		if o.Method != http.MethodGet || o.Scope != store.ScopeRead && o.Path != "/v1/keys/{id}" || o.Path == "/v1/live" || o.Path == "/v1/session" || o.Path == "/v1/overview" ||
			strings.HasSuffix(o.Path, "/trace") { // it shows what the log holds at a root, which the bench has not written
			continue
		}
		r := b.do(http.MethodGet, b.target(o), b.key, "")
		if r.Code != http.StatusOK {
			b.t.Errorf("%s: %d %s", o.Name(), r.Code, r.Body)
		}
		fmt.Fprintln(&out, o.Path, r.Body)
	}
	return out.String()
}

// marks are what only this tenant has: its ids and the names it gave.
func (b *apiBench) marks(everything string) []string {
	keyID, _, _ := apikey.Parse(b.key)
	out := []string{b.w.tenant.String(), "tenant-of-the-secret", keyID, b.w.device.String()}
	for _, id := range b.ids {
		out = append(out, id)
	}
	for _, name := range []string{"press-1", "the secret rule", "the secret silence", "the secret hook", "the secret key", "the-secret-plan", "far above"} {
		if strings.Contains(everything, name) {
			out = append(out, name)
		}
	}
	return out
}

// forged is the id of one key with the secret of another.
func forged(id, secret string) string {
	a, b := strings.Split(id, "_"), strings.Split(secret, "_")
	return strings.Join(append(a[:len(a)-1], b[len(b)-1]), "_")
}

func (b *apiBench) revoked() string {
	key := b.newKey(b.w.tenant, time.Time{}, store.ScopeIngest, store.ScopeRead, store.ScopeAdmin)
	id, _, _ := apikey.Parse(key)
	if err := b.db.RevokeKey(b.t.Context(), b.w.tenant, id); err != nil {
		b.t.Fatal(err)
	}
	return key
}

func (b *apiBench) ofDisabled() string {
	w := newWorld(b.t, b.db, "disabled")
	key := b.newKey(w.tenant, time.Time{}, store.ScopeIngest, store.ScopeRead, store.ScopeAdmin)
	if err := b.db.DisableTenant(b.t.Context(), w.tenant, true); err != nil {
		b.t.Fatal(err)
	}
	return key
}

// without is a key of the tenant itself that may do everything but this.
func (b *apiBench) without(scope string) string {
	return b.newKey(b.w.tenant, time.Time{}, map[string][]string{
		store.ScopeIngest: {store.ScopeRead, store.ScopeAdmin}, store.ScopeRead: {store.ScopeIngest}, store.ScopeAdmin: {store.ScopeIngest, store.ScopeRead}}[scope]...)
}
