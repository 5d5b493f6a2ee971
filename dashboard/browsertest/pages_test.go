package browsertest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// place is a page with what must be there before it counts as shown.
type place struct{ name, path, ready string }

const drawn = `document.querySelectorAll('.plot canvas').length === 2 && document.querySelector('.reading strong')?.innerText.match(/[0-9]/)`

// places are all pages, with what the demo has for them.
func places(t *testing.T) []place {
	t.Helper()
	metric := metricID(t, "demo-cold-0001", "temperature")
	var alerts struct {
		Data []struct {
			AlertID  string `json:"alert_id"`
			DeviceID string `json:"device_id"`
		}
	}
	until(t, time.Minute, "alert", func() bool {
		call(t, "GET", "/v1/alerts?limit=1", nil, &alerts)
		return len(alerts.Data) == 1
	})
	var rules, hooks struct{ Data []struct{ ID string } }
	call(t, "GET", "/v1/alert-rules?limit=1", nil, &rules)
	call(t, "GET", "/v1/webhooks?limit=1", nil, &hooks)
	return []place{
		{"overview", "/", `document.querySelector('.tiles') && document.querySelector('svg[role=img] rect')`},
		{"alerts", "/alerts?state=all", `document.querySelector('[data-alert]')`},
		{"alert", "/alerts/" + alerts.Data[0].AlertID, drawn + ` && document.querySelector('.clock') && document.querySelector('pre.code')?.innerText.includes('device_external_id')`},
		{"metrics", "/series", `document.querySelectorAll('.spark path').length > 5`},
		{"metric", "/series/" + metric, drawn},
		{"metric-day", "/series/" + metric + "?range=24h", drawn},
		{"devices", "/devices", `document.querySelectorAll('main a.row').length >= 4`},
		{"device", "/devices/" + alerts.Data[0].DeviceID, `document.querySelector('.facts')`},
		{"rules", "/rules", `document.querySelector('[role=switch]')`},
		{"rule", "/rules/" + rules.Data[0].ID, `document.querySelector('.sentence')`},
		{"rule-new", "/rules/new", `document.querySelector('.sentence')`},
		{"webhooks", "/webhooks", `document.querySelector('[role=switch]')`},
		{"webhook", "/webhooks/" + hooks.Data[0].ID, `document.querySelector('.outcome')`},
		{"ingest", "/ingest", `document.querySelectorAll('main a.row').length > 5`},
		{"ingest-rejected", "/ingest?only=rejected", `document.querySelector('.rejections')`},
		{"nowhere", "/no/such/page", `document.querySelector('main .note')`},
	}
}

// TestPages looks at every page on both sizes in both themes: it shows its data,
// nothing is wider than the screen, nobody is shut out, and the console is silent.
func TestPages(t *testing.T) {
	partlyWrong(t)
	list := places(t)
	axe, err := os.ReadFile(filepath.Join("..", "node_modules", "axe-core", "axe.min.js"))
	must(t, err)
	for _, v := range []view{desktop, phone} {
		t.Run(v.name, func(t *testing.T) {
			p := open(t, v)
			p.visit("/")
			p.wait("sign-in", `document.querySelector('#key')`)
			p.look("sign-in", string(axe))
			p.signIn("/")
			for _, at := range list {
				p.visit(at.path)
				p.wait(at.name, settled)
				p.wait("content of "+at.name, at.ready)
				p.look(at.name, string(axe))
			}
		})
	}
}

// look checks what is shown now, light and dark. Who can use it is asked once, on
// the desktop; what a theme can change, its contrasts, for both themes.
func (p *tab) look(name, axe string) {
	p.t.Helper()
	if wide := eval[int](p, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
		p.t.Errorf("%s on the %s is %d pixels too wide: %s", name, p.v.name, wide, eval[string](p, `[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1).slice(0, 3).map(e => e.outerHTML.slice(0, 160)).join('\n')`))
	}
	if !p.v.phone {
		p.do(chromedp.Evaluate[chromedp.Void](axe))
	}
	for _, scheme := range []string{"light", "dark"} {
		p.scheme(scheme)
		p.wait("theme", fmt.Sprintf("document.documentElement.dataset.theme === %q", scheme))
		if !p.v.phone {
			rules := "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']"
			if scheme != p.v.scheme {
				rules = "{type: 'rule', values: ['color-contrast']}"
			}
			found := eval[[]string](p, `axe.run(document, {runOnly: `+rules+`}).then(r => r.violations.map(v => v.id + ': ' + v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + ' ' + (n.any[0]?.message ?? '')).join(' | ')))`)
			for _, f := range found {
				p.t.Errorf("%s, %s, %s: %s", name, p.v.name, scheme, f)
			}
		}
		p.picture(strings.Join([]string{name, p.v.name, scheme}, "-"))
	}
	p.scheme(p.v.scheme)
}

// partlyWrong sends a body of which one value can't be accepted.
func partlyWrong(t *testing.T) {
	call(t, "POST", "/v1/ingest", map[string]any{"device_external_id": "demo-cold-0001", "metrics": []any{
		map[string]any{"name": "humidity", "value": 61.5},
		map[string]any{"name": "pressure", "value": 1013.2, "ts": "2031-01-01T00:00:00Z"},
	}}, nil)
}
