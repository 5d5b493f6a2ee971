package browsertest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// fill types into the field of a label.
func (p *tab) fill(label, text string) {
	p.t.Helper()
	field := fmt.Sprintf(`document.getElementById([...document.querySelectorAll('label')].find(l => l.innerText.trim() === %q)?.htmlFor)`, label)
	p.wait("field "+label, field)
	eval[any](p, fmt.Sprintf(`{const f = %s; f.focus(); f.value = %q; f.dispatchEvent(new Event('input', {bubbles: true})); f.dispatchEvent(new Event('change', {bubbles: true}))}`, field, text))
}

// TestRule makes a rule, is told what is wrong at its field, reads what it means,
// changes, switches and deletes it.
func TestRule(t *testing.T) {
	p := open(t, desktop)
	p.allow("422")
	p.signIn("/rules/new")
	p.fill("Name", "Cold boxes run warm")
	p.fill("Devices", "demo-cold-*")
	p.fill("Metrics", "temperature")
	p.fill("Opens after", "soon")
	p.press("main button", "Create rule")
	p.wait("fault at its field", `document.querySelector('input[aria-invalid=true]')?.closest('.field').innerText.includes('expected a duration')`)
	p.fill("Opens after", "90s")
	p.wait("words", `document.querySelector('aside').innerText.includes('Watches metrics like “temperature” of devices like “demo-cold-*”') && document.querySelector('aside').innerText.includes('1 min 30 s')`)
	p.wait("preview", `/Today 1 of \d+/.test(document.querySelector('aside').innerText)`)
	p.press("main button", "Create rule")
	p.wait("list", `location.pathname === '/rules' && [...document.querySelectorAll('main a.row')].some(r => r.innerText.includes('Cold boxes run warm'))`)

	p.do(chromedp.Click(`[role=switch][aria-label="Cold boxes run warm is on"]`))
	p.wait("switched off", `document.querySelector('[role=switch][aria-label="Cold boxes run warm is on"]').getAttribute('aria-checked') === 'false'`)
	p.press("main a.row", "Cold boxes run warm")
	p.wait("rule", `document.querySelector('h1')?.innerText === 'Cold boxes run warm' && document.querySelector('aside')?.innerText.includes('switched off')`)
	p.fill("Name", "Cold boxes run hot")
	p.press("main button", "Save")
	p.wait("new name", `location.pathname === '/rules' && document.querySelector('main').innerText.includes('Cold boxes run hot')`)
	p.press("main a.row", "Cold boxes run hot")
	p.press("main button", "Delete")
	p.press("main button", "Delete it")
	p.wait("list without it", `location.pathname === '/rules' && document.querySelector('[role=switch]') && !document.querySelector('main').innerText.includes('Cold boxes')`)
}

// TestWebhook makes a webhook, sees its secret once, tests the demo's, and deletes
// its own.
func TestWebhook(t *testing.T) {
	p := open(t, phone)
	p.allow("422")
	p.signIn("/webhooks")
	p.press("main button", "New webhook")
	p.fill("URL", "http://10.0.0.1/hook")
	p.press("main button", "Create webhook")
	p.wait("fault at the URL", `document.querySelector('input[type=url][aria-invalid=true]')?.closest('.field').innerText.includes('https')`)
	p.fill("URL", "https://hooks.example.com/edgepulse")
	p.fill("Description", "browser test")
	p.press("main button", "Create webhook")
	p.wait("secret", `/whsec_[A-Za-z0-9+/=]{32,}/.test(document.querySelector('pre.code')?.innerText)`)
	p.picture("webhook-secret-phone-light")
	secret := p.text("pre.code")
	p.press("main button", "I have copied it")
	p.visit("/webhooks")
	p.wait("list", `document.querySelector('[role=switch]')`)
	if strings.Contains(eval[string](p, `document.documentElement.outerHTML`), secret) {
		t.Error("the secret is shown twice")
	}
	p.press("main a.row", "browser test")
	p.press("main button", "Delete")
	p.press("main button", "Delete it")
	p.wait("list without it", `location.pathname === '/webhooks' && document.querySelector('[role=switch]') && !document.querySelector('main').innerText.includes('browser test')`)

	p.press("main a.row", "inbox of the demo")
	p.press("main button", "Send a test event")
	p.wait("its delivery", `document.querySelector('main').innerText.includes('Test event delivered')`)
}

// TestKeyboard goes through the pages without a mouse.
func TestKeyboard(t *testing.T) {
	p := open(t, desktop)
	p.signIn("/")
	keys := func(s string) { p.t.Helper(); p.do(chromedp.KeyEvent(s)) }
	keys("g")
	keys("m")
	p.wait("metrics", `location.pathname === '/series' && document.querySelectorAll('main a.row').length > 5`)
	keys("/")
	keys("flow")
	p.wait("found", `location.search === '?q=flow' && document.querySelectorAll('main a.row').length === 1`)
	keys("\u001b")
	keys("j")
	p.wait("focus on the row", `document.activeElement.matches('main a.row')`)
	keys("\r")
	p.wait("metric", `location.pathname.startsWith('/series/') && `+drawn)
	eval[any](p, `history.back()`)
	p.wait("back at the search", `location.search === '?q=flow' && document.querySelectorAll('main a.row').length === 1`)
	keys("?")
	p.wait("help", `document.querySelector('dialog[open]')`)
	keys("\u001b")
	p.wait("no help", `!document.querySelector('dialog[open]')`)
	keys("t")
	p.wait("dark", `document.documentElement.dataset.theme === 'dark'`)
	p.visit("/devices")
	p.wait("still dark", `document.documentElement.dataset.theme === 'dark' && document.querySelector('h1')`)
}
