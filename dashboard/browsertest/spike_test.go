package browsertest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// observe notes when a condition becomes true in the page, whoever looks.
func (p *tab) observe(name, condition string) {
	p.t.Helper()
	eval[any](p, fmt.Sprintf(`{window.seen ??= {}; const look = () => { if (%s) window.seen[%q] ??= Date.now(); else if (!window.seen[%q]) requestAnimationFrame(look) }; look()}`, condition, name, name))
}

// after is when that was, from an instant on this machine's clock.
func (p *tab) after(name string, from time.Time) time.Duration {
	p.t.Helper()
	p.wait(name, fmt.Sprintf("window.seen[%q]", name))
	return time.UnixMilli(int64(eval[float64](p, fmt.Sprintf("window.seen[%q]", name)))).Sub(from)
}

// TestSpike: an absurd value that is sent to the API shows on the open chart and as
// an alert in under two seconds, on pages that nobody reloads.
func TestSpike(t *testing.T) {
	metric := metricID(t, "demo-cold-0001", "temperature")
	until(t, 3*time.Minute, "calm on the metric", func() bool {
		var alerts struct{ Data []struct{} }
		call(t, "GET", "/v1/alerts?state=open&metric_id="+metric, nil, &alerts)
		return len(alerts.Data) == 0
	})
	const live = `document.querySelector('.live.on')`
	chart, list := open(t, desktop), open(t, phone)
	list.signIn("/alerts")
	chart.signIn("/series/" + metric + "?range=15m")
	chart.wait("chart", drawn+" && "+live)
	list.wait("live", live)
	loaded := eval[float64](chart, `performance.timeOrigin`)

	chart.observe("chart", `[...document.querySelectorAll('main button.row')].some(r => r.innerText.includes('spike') && r.innerText.includes('95 degC'))`)
	chart.observe("notice", `document.querySelector('.toast')?.innerText.includes('95 degC')`)
	list.observe("alert", `[...document.querySelectorAll('[data-alert]')].some(r => r.innerText.includes('95 degC'))`)
	give := slowWebhook(t)
	call(t, "POST", "/v1/ingest", map[string]any{"device_external_id": "demo-cold-0001",
		"metrics": []any{map[string]any{"name": "temperature", "value": 95}}}, nil)
	answered := time.Now()
	onChart, notice, inList := chart.after("chart", answered), chart.after("notice", answered), list.after("alert", answered)
	t.Logf("after the 202: %d ms on the open chart, %d ms as a notice, %d ms in the list of alerts",
		onChart.Milliseconds(), notice.Milliseconds(), inList.Milliseconds())
	for what, took := range map[string]time.Duration{"chart": onChart, "notice": notice, "list": inList} {
		if took > 2*time.Second {
			t.Errorf("%s after %s, expected at most 2 s", what, took)
		}
	}
	if again := eval[float64](chart, `performance.timeOrigin`); again != loaded {
		t.Error("the page was loaded again")
	}
	chart.picture("spike-desktop-light")
	list.picture("spike-phone-light")

	// From there to the alert: its way back to the very bytes.
	var alerts struct {
		Data []struct {
			AlertID string `json:"alert_id"`
		}
	}
	until(t, 30*time.Second, "alert", func() bool {
		call(t, "GET", "/v1/alerts?label=spike&limit=1&metric_id="+metric, nil, &alerts)
		return len(alerts.Data) == 1
	})
	chart.fasterThanPlans()
	chart.visit("/alerts/" + alerts.Data[0].AlertID)
	chart.wait("trace", `document.querySelector('pre.code')?.innerText.includes('95')`)
	chart.wait("stages", `['received', 'stored', 'scored', 'decided'].every(s => document.querySelector('.clock')?.innerText.includes(s))`)
	// An attempt that is still to come ends on the open page, without anybody's doing.
	slow := func(outcomes string) string {
		return fmt.Sprintf(`[...document.querySelectorAll('.outcome')].some(o => o.matches(%q) && o.parentElement.innerText.includes('a slow one'))`, outcomes)
	}
	chart.wait("delivery to come", slow(".planned, .retry"))
	if !eval[bool](chart, `window.withoutPlans`) {
		t.Error("the page knew its deliveries from the start: nothing was shown")
	}
	give(http.StatusOK)
	given := time.Now()
	chart.wait("delivery", slow(".delivered"))
	if took := time.Since(given); took > 10*time.Second { // the alert's next event would show it too
		t.Errorf("the end of a delivery shows after %s, expected a few seconds", took)
	}
	chart.wait("its stage", `document.querySelector('.clock').innerText.includes('delivered')`)
	t.Logf("the service's own clock: %q", chart.text(".clock"))
	chart.picture("spike-alert-desktop-light")
}

// fasterThanPlans lets the next page of an alert open as if in the very moment of the
// alert, before any delivery was planned: its first answer bears none.
func (p *tab) fasterThanPlans() {
	p.t.Helper()
	_, err := chromedp.Call(p.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `{
		const real = window.fetch
		window.withoutPlans = false
		window.fetch = async (what, how) => {
			const answer = await real(what, how)
			if (window.withoutPlans || !/\/v1\/alerts\/[0-9a-f-]+$/.test(String(what))) return answer
			window.withoutPlans = true
			const alert = await answer.json()
			for (const event of [alert, ...alert.history ?? []]) delete event.deliveries
			return new Response(JSON.stringify(alert), answer)
		}
	}`})
	must(p.t, err)
}

// slowWebhook takes all alerts at once but that of the spike, which waits for give.
func slowWebhook(t *testing.T) (give func(status int)) {
	t.Helper()
	answer := make(chan int)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !strings.Contains(string(body), `"value":95,`) {
			return
		}
		select {
		case status := <-answer:
			w.WriteHeader(status)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(receiver.Close)
	var hook struct{ ID string }
	call(t, "POST", "/v1/webhooks", map[string]any{"url": receiver.URL, "description": "a slow one"}, &hook)
	return func(status int) {
		t.Helper()
		select {
		case answer <- status:
		case <-time.After(30 * time.Second):
			var log any
			call(t, "GET", "/v1/webhooks/"+hook.ID+"/deliveries", nil, &log)
			t.Fatalf("nobody asked the webhook: %v", log)
		}
		call(t, "DELETE", "/v1/webhooks/"+hook.ID, nil, nil)
	}
}

// TestZoom: dragging over the chart fetches that stretch anew, and back goes back.
func TestZoom(t *testing.T) {
	p := open(t, desktop)
	p.signIn("/series/" + metricID(t, "demo-pump-0002", "temperature") + "?range=24h")
	p.wait("chart", drawn)
	box := eval[map[string]float64](p, `(({x, y, width, height}) => ({x, y, width, height}))(document.querySelector('.u-over').getBoundingClientRect())`)
	mouse := func(kind input.DispatchMouseEventType, at float64, buttons int64) {
		_, err := chromedp.Call(p.ctx, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: kind, X: box["x"] + at*box["width"], Y: box["y"] + box["height"]/2,
			Button: input.MouseButtonLeft, Buttons: buttons, ClickCount: 1})
		must(t, err)
	}
	fetches := `performance.getEntriesByType('resource').filter(e => e.name.includes('/v1/series')).length`
	before := eval[int](p, fetches)
	mouse(input.DispatchMouseEventTypeMousePressed, .4, 1)
	for _, at := range []float64{.45, .5, .6} {
		mouse(input.DispatchMouseEventTypeMouseMoved, at, 1)
	}
	mouse(input.DispatchMouseEventTypeMouseReleased, .6, 0)
	p.wait("range in the address", `new URLSearchParams(location.search).get('from')`)
	hours := eval[float64](p, `(q => (q.get('to') - q.get('from')) / 3600e3)(new URLSearchParams(location.search))`)
	if hours < 4 || hours > 5.6 {
		t.Errorf("a fifth of 24 hours became %.2f hours", hours)
	}
	p.wait("fetch", fmt.Sprintf("%s > %d", fetches, before))
	p.picture("zoomed-desktop-light")
	eval[any](p, `history.back()`)
	p.wait("way back", `location.search === '?range=24h'`)
}
