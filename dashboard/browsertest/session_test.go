package browsertest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// TestSession: the key becomes a cookie that scripts can't read and other sites
// can't use; a wrong key is told apart; signing out ends it.
func TestSession(t *testing.T) {
	p := open(t, desktop)
	p.allow("/v1/session") // the 401 of the wrong key
	p.visit("/series")
	p.wait("sign-in", `document.querySelector('#key')`)
	p.do(chromedp.SendKeys("#key", "ep_live_wrong\r"))
	p.wait("refusal with a request id", `/request\s+[0-9a-f-]{36}/.test(document.querySelector('[role=alert]')?.innerText)`)
	if n := len(p.cookies()); n != 0 {
		t.Errorf("a wrong key left %d cookies", n)
	}

	p.signIn("/series?q=flow")
	if at := eval[string](p, `location.pathname + location.search`); at != "/series?q=flow" {
		t.Errorf("after signing in the address is %s", at)
	}
	cookies := p.cookies()
	if len(cookies) != 1 {
		t.Fatalf("%d cookies", len(cookies))
	}
	c := cookies[0]
	if !c.HTTPOnly || c.SameSite != network.CookieSameSiteStrict || c.Path != "/" || c.Name != "edgepulse_session" || c.Session {
		t.Errorf("cookie: %+v", c)
	}
	if seen := eval[string](p, `document.cookie + JSON.stringify({...localStorage}) + JSON.stringify({...sessionStorage})`); strings.Contains(seen, service.key) || strings.Contains(seen, c.Value) {
		t.Errorf("scripts can see %s", seen)
	}
	for _, forged := range []struct {
		name   string
		header http.Header
	}{
		{"a form of another site", http.Header{}},
		{"another origin", http.Header{"X-Edgepulse-Request": {"1"}, "Origin": {"https://evil.example"}}},
	} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", service.url+"/v1/alert-rules", strings.NewReader(`{"name":"forged"}`))
		must(t, err)
		req.Header = forged.header
		req.Header.Set("Content-Type", "application/json")
		req.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: status %d, expected 403", forged.name, res.StatusCode)
		}
	}

	p.press("button", "Sign out")
	p.wait("sign-in", `document.querySelector('#key')`)
	if n := len(p.cookies()); n != 0 {
		t.Errorf("%d cookies are left after signing out", n)
	}
}

// TestSessionEnds: a session that is gone asks for the key where one is, and goes
// on there.
func TestSessionEnds(t *testing.T) {
	p := open(t, desktop)
	p.allow("401")
	p.signIn("/rules")
	_, err := chromedp.Call(p.ctx, network.ClearBrowserCookies, cdp.Empty{})
	must(t, err)
	p.press("nav a", "Devices")
	p.wait("word that it ended", `document.querySelector('form')?.innerText.includes('session has ended')`)
	p.do(chromedp.SendKeys("#key", service.key+"\r"))
	p.wait("devices", `document.querySelector('h1')?.innerText === 'Devices' && document.querySelectorAll('main a.row').length >= 4`)
}

// TestPolicy: every page comes with a policy that forbids what was not built in.
func TestPolicy(t *testing.T) {
	for _, path := range []string{"/", "/alerts/x", "/series?q=a"} {
		res := call(t, "GET", path, nil, nil)
		policy := res.Header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: policy lacks %s: %s", path, part, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, res.Header)
		}
	}
	p := open(t, desktop)
	p.allow("Content Security Policy")
	p.allow("Content-Security-Policy")
	p.visit("/")
	p.wait("sign-in", `document.querySelector('#key')`)
	ran := eval[bool](p, `(() => { const s = document.createElement('script'); s.textContent = 'window.ran = true'; document.head.append(s); return !!window.ran })()`)
	if ran {
		t.Error("an inline script ran")
	}
}
