package browsertest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
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
	chart.visit("/alerts/" + alerts.Data[0].AlertID)
	chart.wait("trace", `document.querySelector('pre.code')?.innerText.includes('95')`)
	chart.wait("stages", `['received', 'stored', 'scored', 'decided'].every(s => document.querySelector('.clock')?.innerText.includes(s))`)
	chart.wait("delivery", `document.querySelector('.outcome.delivered')`)
	t.Logf("the service's own clock: %q", chart.text(".clock"))
	chart.picture("spike-alert-desktop-light")
}

// TestDeliveriesFollow: an alert that is opened while a webhook still thinks shows a
// planned delivery, and its end without anybody's doing; so do a refusal and the retry
// that comes later.
func TestDeliveriesFollow(t *testing.T) {
	var asked atomic.Int32
	answer := make(chan int)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !strings.Contains(string(body), `"metric_name":"power"`) {
			return // another alert of the demo
		}
		asked.Add(1)
		select {
		case status := <-answer:
			w.WriteHeader(status)
		case <-r.Context().Done():
		}
	}))
	defer receiver.Close()
	var hook struct{ ID string }
	call(t, "POST", "/v1/webhooks", map[string]any{"url": receiver.URL, "description": "a slow one"}, &hook)
	defer call(t, "DELETE", "/v1/webhooks/"+hook.ID, nil, nil)

	p := open(t, desktop)
	p.signIn("/alerts")
	metric := metricID(t, "demo-energy-0000", "power")
	var alerts struct {
		Data []struct {
			AlertID string `json:"alert_id"`
		}
	}
	call(t, "POST", "/v1/ingest", map[string]any{"device_external_id": "demo-energy-0000",
		"metrics": []any{map[string]any{"name": "power", "value": 50_000}}}, nil)
	until(t, 30*time.Second, "alert", func() bool {
		call(t, "GET", "/v1/alerts?state=open&limit=1&metric_id="+metric, nil, &alerts)
		return len(alerts.Data) == 1 && asked.Load() > 0
	})
	p.visit("/alerts/" + alerts.Data[0].AlertID)
	line := func(outcome string) string {
		return fmt.Sprintf(`[...document.querySelectorAll('.outcome.%s')].some(o => o.parentElement.innerText.includes('a slow one'))`, outcome)
	}
	p.wait("plan", line("planned"))
	give := func(status int) {
		t.Helper()
		select {
		case answer <- status:
		case <-time.After(30 * time.Second):
			t.Fatal("nobody asked the webhook")
		}
	}
	give(http.StatusServiceUnavailable)
	p.wait("failed attempt", line("retry"))
	give(http.StatusOK)
	p.wait("delivery", line("delivered"))
	p.wait("its stage", `document.querySelector('.clock').innerText.includes('delivered')`)
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
