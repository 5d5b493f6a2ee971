package gateway

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/edgepulse/edgepulse/schemas/api"
)

func (b *bench) signIn(key string, headers ...string) *httptest.ResponseRecorder {
	body, _ := json.Marshal(map[string]string{"api_key": key})
	return b.do(http.MethodPost, "/v1/session", "", strings.NewReader(string(body)), headers...)
}

// cookieOf is the session's cookie of an answer.
func cookieOf(t *testing.T, w *httptest.ResponseRecorder) *http.Cookie {
	t.Helper()
	for _, c := range w.Result().Cookies() {
		if c.Name == sessionCookie {
			return c
		}
	}
	t.Fatalf("no cookie: %d %s", w.Code, w.Body)
	return nil
}

func TestSessionStandsForItsKey(t *testing.T) {
	b := newBench(t, nil)
	w := b.signIn(b.key)
	c := cookieOf(t, w)
	if w.Code != http.StatusOK || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Secure || !c.Expires.Equal(b.wall.Now().Add(12*time.Hour)) {
		t.Fatalf("%d %s, cookie %+v", w.Code, w.Body, c)
	}
	var session api.Session
	if err := json.Unmarshal(w.Body.Bytes(), &session); err != nil {
		t.Fatal(err)
	}
	if session.TenantID != b.tenant.String() || session.TenantName != "acme" || session.KeyName != "laptop" || len(session.Scopes) != 4 ||
		!session.ExpiresAt.Equal(c.Expires) || strings.Contains(w.Body.String(), b.key) || strings.Contains(c.Value, b.key) {
		t.Fatalf("%+v", session)
	}
	cookie := sessionCookie + "=" + c.Value
	if w := b.do(http.MethodGet, "/v1/session", "", nil, "Cookie", cookie); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), session.ExpiresAt.Format(time.RFC3339)) {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := b.do(http.MethodGet, "/v1/devices", "", nil, "Cookie", cookie); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	// Sign out clears it.
	out := b.do(http.MethodDelete, "/v1/session", "", nil, "Cookie", cookie, csrfHeader, "1")
	if gone := cookieOf(t, out); out.Code != http.StatusNoContent || gone.Value != "" || gone.MaxAge >= 0 {
		t.Fatalf("%d, %+v", out.Code, gone)
	}
	// It ends by itself.
	b.wall.advance(12 * time.Hour)
	if w := b.do(http.MethodGet, "/v1/session", "", nil, "Cookie", cookie); w.Code != http.StatusUnauthorized {
		t.Fatalf("after 12 h: %d %s", w.Code, w.Body)
	}
}

func TestSessionEndsWithItsKey(t *testing.T) {
	b := newBench(t, nil)
	short := b.keys.add(b.tenant, func(r *KeyRecord) { r.ExpiresAt = testStart.Add(time.Hour) }, ScopeRead)
	cookie := cookieOf(t, b.signIn(short))
	if !cookie.Expires.Equal(testStart.Add(time.Hour)) {
		t.Fatalf("the session of a key that ends in an hour ends %s", cookie.Expires)
	}
	cookie = cookieOf(t, b.signIn(b.key))
	b.keys.change(b.key, func(r *KeyRecord) { r.Revoked = true })
	b.wall.advance(5 * time.Second) // KeyTTL is 4 s
	if w := b.do(http.MethodGet, "/v1/devices", "", nil, "Cookie", sessionCookie+"="+cookie.Value); w.Code != http.StatusUnauthorized {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
}

func TestSessionIsSealed(t *testing.T) {
	b := newBench(t, nil)
	value := cookieOf(t, b.signIn(b.key)).Value
	raw, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		changed := append([]byte{}, raw...)
		changed[i] ^= 1
		if w := b.do(http.MethodGet, "/v1/session", "", nil, "Cookie", sessionCookie+"="+base64.RawURLEncoding.EncodeToString(changed)); w.Code != http.StatusUnauthorized {
			t.Fatalf("byte %d changed: %d", i, w.Code)
		}
	}
	for _, v := range []string{"", "x", value[:20], newSealer("another pepper").seal("k", testStart.Add(time.Hour))} {
		if w := b.do(http.MethodGet, "/v1/session", "", nil, "Cookie", sessionCookie+"="+v); w.Code != http.StatusUnauthorized {
			t.Fatalf("%q: %d", v, w.Code)
		}
	}
}

// TestSessionAndOtherSites: a cookie alone changes nothing, and a page of another
// origin can neither use nor make a session.
func TestSessionAndOtherSites(t *testing.T) {
	for _, public := range []string{"", "https://edge.example"} {
		b := newBench(t, func(c *Config, _ *Deps) { c.PublicURL = public })
		own := "http://example.com" // the Host of httptest
		if public != "" {
			own = public
		}
		cookie := cookieOf(t, b.signIn(b.key, "Origin", own))
		if cookie.Secure != (public != "") {
			t.Fatalf("public url %q: %+v", public, cookie)
		}
		with := func(headers ...string) []string {
			return append([]string{"Cookie", sessionCookie + "=" + cookie.Value}, headers...)
		}
		for _, c := range []struct {
			headers []string
			status  int
		}{
			{with(), http.StatusForbidden},
			{with(csrfHeader, "0"), http.StatusForbidden},
			{with(csrfHeader, "1"), http.StatusCreated},
			{with(csrfHeader, "1", "Origin", own), http.StatusCreated},
			{with(csrfHeader, "1", "Origin", "https://evil.example"), http.StatusForbidden},
			{with(csrfHeader, "1", "Origin", "null"), http.StatusForbidden},
			{[]string{"X-API-Key", b.key, "Origin", "https://evil.example"}, http.StatusCreated}, // a key is no cookie
		} {
			w := b.do(http.MethodPost, "/v1/alert-rules", "", strings.NewReader(`{"name":"a"}`), c.headers...)
			if w.Code != c.status || c.status == http.StatusForbidden && problemOf(t, w).Code != "csrf" {
				t.Errorf("public url %q, %v: %d %s", public, c.headers[2:], w.Code, w.Body)
			}
		}
		if w := b.do(http.MethodDelete, "/v1/session", "", nil, with()...); w.Code != http.StatusForbidden {
			t.Errorf("sign out from elsewhere: %d", w.Code)
		}
		if w := b.signIn(b.key, "Origin", "https://evil.example"); w.Code != http.StatusForbidden {
			t.Errorf("sign in from elsewhere: %d", w.Code)
		}
	}
	b := newBench(t, nil)
	if c := cookieOf(t, b.signIn(b.key, "X-Forwarded-Proto", "https")); !c.Secure {
		t.Errorf("behind TLS: %+v", c)
	}
}

func TestSignInRefusals(t *testing.T) {
	b := newBench(t, nil)
	ingester := b.keys.add(b.tenant, nil, ScopeIngest)
	if w := b.signIn(ingester); w.Code != http.StatusForbidden || problemOf(t, w).Code != "missing_scope" {
		t.Errorf("ingest only: %d %s", w.Code, w.Body)
	}
	if w := b.do(http.MethodPost, "/v1/session", "", strings.NewReader(`{"key":"x"}`)); w.Code != http.StatusBadRequest {
		t.Errorf("unknown field: %d %s", w.Code, w.Body)
	}
	for range 10 { // successes cost nothing
		if w := b.signIn(b.key); w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	throttled := false
	for range 12 {
		w := b.signIn("ep_live_nonsense")
		throttled = throttled || w.Code == http.StatusTooManyRequests && problemOf(t, w).Code == "too_many_attempts" && w.Header().Get("Retry-After") != ""
		if w.Code != http.StatusUnauthorized && !throttled {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	if !throttled {
		t.Error("guessing is not throttled")
	}
	if w := b.signIn(b.key); w.Code != http.StatusTooManyRequests {
		t.Errorf("the throttle is of the address: %d", w.Code)
	}
	b.wall.advance(7 * time.Second)
	if w := b.signIn(b.key); w.Code != http.StatusOK {
		t.Errorf("after a while: %d %s", w.Code, w.Body)
	}
	if strings.Contains(b.logs.String(), b.key) {
		t.Error("a key stands in the log")
	}
}

func TestThrottleForgets(t *testing.T) {
	clock := &wallClock{now: testStart}
	th := newThrottle(2, time.Second, clock.Now)
	for i := range maxThrottled {
		_, _ = th.take(strconv.Itoa(i))
	}
	_, _ = th.take("worst")
	_, _ = th.take("worst")
	_, _ = th.take("new")
	if len(th.buckets) > maxThrottled {
		t.Fatalf("%d callers remembered", len(th.buckets))
	}
	if _, p := th.take("worst"); p == nil {
		t.Fatal("who tried most was forgotten first")
	}
}

func TestAddressOf(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:1234": "192.0.2.7", "[::ffff:192.0.2.7]:1": "192.0.2.7", "[2001:db8:1:2:3:4:5:6]:1": "2001:db8:1:2::/64", "pipe": "pipe",
	} {
		if got := addressOf(&http.Request{RemoteAddr: remote}); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
}

func TestInterfaceIsServed(t *testing.T) {
	script := strings.Repeat("let a = 1;\n", 1000)
	b := newBench(t, func(_ *Config, d *Deps) {
		d.UI = fstest.MapFS{
			"index.html": {Data: []byte("<!doctype html><title>EdgePulse</title>")}, "icon.svg": {Data: []byte("<svg/>")},
			"assets/app-1.js": {Data: []byte(script)}, "_headers": {Data: []byte("secret")}, ".gitkeep": {},
		}
	})
	for _, c := range []struct{ target, contentType, cache string }{
		{"/", "text/html; charset=utf-8", "no-cache"},
		{"/metrics/" + someID, "text/html; charset=utf-8", "no-cache"}, // the page's own route
		{"/_headers", "text/html; charset=utf-8", "no-cache"},
		{"/icon.svg", "image/svg+xml", "no-cache"},
		{"/assets/app-1.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"},
	} {
		w := b.do(http.MethodGet, c.target, "", nil)
		h := w.Header()
		if w.Code != http.StatusOK || h.Get("Content-Type") != c.contentType || h.Get("Cache-Control") != c.cache || h.Get("Content-Security-Policy") != uiPolicy ||
			h.Get("X-Content-Type-Options") != "nosniff" || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: %d %v", c.target, w.Code, h)
		}
		if again := b.do(http.MethodGet, c.target, "", nil, "If-None-Match", h.Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() != 0 {
			t.Errorf("%s again: %d", c.target, again.Code)
		}
	}
	if w := b.do(http.MethodGet, "/assets/app-1.js", "", nil, "Accept-Encoding", "br, gzip;q=0.8"); w.Header().Get("Content-Encoding") != "gzip" || w.Body.Len() > 1000 {
		t.Errorf("%v, %d bytes", w.Header(), w.Body.Len())
	}
	if w := b.do(http.MethodGet, "/assets/app-1.js", "", nil, "Accept-Encoding", "gzip;q=0"); w.Header().Get("Content-Encoding") != "" || w.Body.String() != script {
		t.Errorf("%v", w.Header())
	}
	if w := b.do(http.MethodHead, "/", "", nil); w.Code != http.StatusOK || w.Body.Len() != 0 {
		t.Errorf("HEAD: %d", w.Code)
	}
	for _, target := range []string{"/v1", "/v1/nothing", "/assets/app-2.js", "/assets/x", "/favicon.ico"} {
		if w := b.do(http.MethodGet, target, "", nil); w.Code != http.StatusNotFound || problemOf(t, w).Code != "unknown_path" ||
			w.Header().Get("Content-Security-Policy") == uiPolicy {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	if w := b.do(http.MethodPost, "/", "", nil); w.Code != http.StatusNotFound {
		t.Errorf("POST /: %d", w.Code)
	}
}
