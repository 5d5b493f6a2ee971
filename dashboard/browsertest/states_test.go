package browsertest

import (
	"regexp"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// TestEmpty: a tenant without anything is told what to do next on every page.
func TestEmpty(t *testing.T) {
	cli(t, "tenant", "create", "empty")
	key := regexp.MustCompile(`ep_\w+`).FindString(cli(t, "key", "create", "empty", "--scope", "read"))
	p := open(t, phone)
	p.visit("/")
	p.wait("sign-in", `document.querySelector('#key')`)
	p.do(chromedp.SendKeys("#key", key+"\r"))
	for _, at := range []struct{ path, says string }{
		{"/", "curl -sS"}, {"/series", "curl -sS"}, {"/devices", "curl -sS"}, {"/ingest", "curl -sS"},
		{"/alerts", "Nothing is open"}, {"/rules", "No rules yet"}, {"/webhooks", "No webhooks yet"},
	} {
		p.wait("page", `document.querySelector('nav')`)
		eval[any](p, `window.stop()`)
		p.visit(at.path)
		p.wait(at.says+" on "+at.path, settled+` && document.querySelector('main').innerText.includes(`+quote(at.says)+`)`)
	}
	p.picture("empty-phone-light")
}

// TestFailure: what fails says so, and a second try mends it.
func TestFailure(t *testing.T) {
	p := open(t, desktop)
	p.allow("/v1/")
	p.signIn("/rules")
	block := func(patterns ...*network.BlockPattern) {
		_, err := chromedp.Call(p.ctx, network.SetBlockedURLs, network.SetBlockedURLsParams{URLPatterns: patterns})
		must(t, err)
	}
	block(&network.BlockPattern{URLPattern: "*://*:*/v1/devices*", Block: true})
	p.press("nav a", "Devices")
	p.wait("what failed", `document.querySelector('[role=alert]')?.innerText.includes('does not answer')`)
	p.picture("failure-desktop-light")
	block()
	p.press("main button", "Try again")
	p.wait("devices", `!document.querySelector('[role=alert]') && document.querySelectorAll('main a.row').length >= 4`)

	p.visit("/alerts/018f4d3a-0000-7000-8000-000000000000")
	p.wait("not found, with its request id", `/404 not_found[^]*request [0-9a-f-]{36}/.test(document.querySelector('[role=alert]')?.innerText)`)
}
