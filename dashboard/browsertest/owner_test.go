package browsertest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// ownerToken opens the owner's view of the service under test.
const ownerToken = "ep_owner_of_the_browser_test"

func ownerEnv() string {
	sum := sha256.Sum256([]byte(ownerToken))
	return "EDGEPULSE_OWNER_TOKEN_HASH=" + hex.EncodeToString(sum[:])
}

// asOwner asks the API with the owner's token.
func asOwner(t *testing.T, method, path, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, service.url+path, strings.NewReader(body))
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+ownerToken)
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode >= 300 {
		t.Fatalf("%s %s: %s", method, path, answer.Status)
	}
}

// demoTenant is the tenant of the service's own key.
func demoTenant(t *testing.T) string {
	t.Helper()
	var list struct{ Data []struct{ ID, Name string } }
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, service.url+"/v1/owner/tenants", http.NoBody)
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+ownerToken)
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	defer func() { _ = answer.Body.Close() }()
	must(t, json.NewDecoder(answer.Body).Decode(&list))
	for _, tenant := range list.Data {
		if tenant.Name == "dev" {
			return tenant.ID
		}
	}
	t.Fatalf("no tenant dev among %v", list.Data)
	return ""
}

// TestOwner: the owner's token opens the page over all tenants, in both sizes and
// themes; a wrong one does not; and the token is nowhere but in the page's memory.
func TestOwner(t *testing.T) {
	axe, err := os.ReadFile(filepath.Join("..", "node_modules", "axe-core", "axe.min.js"))
	must(t, err)
	partlyWrong(t)
	asOwner(t, http.MethodPut, "/v1/owner/plans/small", `{"points_per_month":40000}`)
	asOwner(t, http.MethodPut, "/v1/owner/plans/roomy", `{"points_per_month":200000}`)
	demo := demoTenant(t)
	asOwner(t, http.MethodPatch, "/v1/owner/tenants/"+demo, `{"plan":"roomy"}`)
	defer asOwner(t, http.MethodPatch, "/v1/owner/tenants/"+demo, `{"plan":"default"}`)
	for _, v := range []view{desktop, phone} {
		t.Run(v.name, func(t *testing.T) {
			name := "a-small-tenant-on-the-" + v.name
			asOwner(t, http.MethodPost, "/v1/owner/tenants", `{"name":"`+name+`","plan":"small"}`)
			p := open(t, v)
			p.allow("401")
			p.visit("/owner")
			p.wait("the question for the token", `document.querySelector('#token')`)
			p.look("owner-sign-in", string(axe))
			enter := func(token string) {
				p.do(chromedp.SendKeys("#token", token), chromedp.Click("form .main"))
			}
			enter("ep_live_wrong")
			p.wait("the refusal", `document.querySelector('[role=alert]')?.innerText.includes('401')`)
			p.do(chromedp.Evaluate[chromedp.Void](`{ const t = document.querySelector('#token'); t.value = ''; t.dispatchEvent(new Event('input', {bubbles: true})) }`))
			enter(ownerToken)
			p.wait("tenants", `document.querySelectorAll('[data-tenant]').length >= 2 && document.querySelector('meter')`)
			p.wait("stages", `document.querySelectorAll('[data-log]').length === 6`)
			p.wait("use of the demo", `[...document.querySelectorAll('[data-tenant]')].some(e => /[1-9]/.test(e.querySelector('.use').innerText) && e.querySelector('meter')?.value > 1000)`)
			if text := p.text("main"); !strings.Contains(text, name) || !strings.Contains(text, "of 40,000") {
				t.Errorf("the page lacks a tenant or its quota: %s", text)
			}
			p.look("owner", string(axe))
			for _, where := range []string{"location.href", "document.cookie", "JSON.stringify(localStorage)", "JSON.stringify(sessionStorage)", "document.documentElement.outerHTML",
				"JSON.stringify(performance.getEntriesByType('resource').map(e => e.name))"} {
				if strings.Contains(eval[string](p, where), ownerToken) {
					t.Errorf("the token stands in %s", where)
				}
			}
			for _, c := range p.cookies() {
				if strings.Contains(c.Value, ownerToken) {
					t.Error("the token is in a cookie")
				}
			}
			// It follows what happens.
			asOwner(t, http.MethodPost, "/v1/owner/tenants", `{"name":"another-on-the-`+v.name+`"}`)
			begun := time.Now()
			p.wait("the new tenant", `document.querySelector('main').innerText.includes('another-on-the-`+v.name+`')`)
			t.Logf("a new tenant is shown after %s", time.Since(begun).Round(time.Millisecond))
			p.visit("/owner")
			p.wait("after a reload the token is asked for", `document.querySelector('#token')`)
		})
	}
}
