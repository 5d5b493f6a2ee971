package browsertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

var browser context.Context

func startBrowser() (func() error, error) {
	dir, err := os.MkdirTemp("", "edgepulse-browser")
	if err != nil {
		return nil, err
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(dir),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-background-networking", true))
	alloc, stopAlloc := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, stop := chromedp.NewContext(alloc)
	if err := chromedp.Do(ctx); err != nil {
		return nil, fmt.Errorf("start chromium: %w", err)
	}
	browser = ctx
	return func() error {
		stop()
		stopAlloc()
		_ = os.RemoveAll(dir) // its last child may still write; the folder is temporary
		return nil
	}, nil
}

type view struct {
	name   string
	width  int64
	height int64
	phone  bool
	scheme string
}

var (
	desktop = view{name: "desktop", width: 1280, height: 800, scheme: "light"}
	phone   = view{name: "phone", width: 390, height: 844, phone: true, scheme: "light"}
)

func (v view) dark() view { v.scheme = "dark"; return v }

// tab is a page of a browser context of its own: cookies are not shared.
type tab struct {
	t   *testing.T
	ctx context.Context
	v   view

	mu      sync.Mutex
	faults  []string // whatever the console calls an error, and policy violations
	allowed []string // parts of faults that a test provokes
}

func open(t *testing.T, v view) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	ctx, end := context.WithTimeout(ctx, 5*time.Minute)
	t.Cleanup(end)
	p := &tab{t: t, ctx: ctx, v: v}
	must(t, chromedp.Listen(ctx, func(ev any) {
		switch e := ev.(type) {
		case *runtime.EventExceptionThrown:
			p.fault("exception: " + e.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			if e.Type == "error" || e.Type == "warning" {
				p.fault(fmt.Sprintf("console.%s: %v", e.Type, args(e.Args)))
			}
		case *log.EventEntryAdded:
			if e.Entry.Level == "error" || strings.Contains(e.Entry.Text, "Content Security Policy") {
				p.fault(fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL))
			}
		}
	}))
	var opts []chromedp.EmulateViewportOption
	if v.phone {
		opts = append(opts, chromedp.EmulateMobile, chromedp.EmulateTouch)
	}
	p.do(chromedp.EmulateViewport(v.width, v.height, opts...))
	p.scheme(v.scheme)
	t.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, f := range p.faults {
			t.Errorf("the console says: %s", f)
		}
		if t.Failed() {
			p.picture("failed-" + strings.ReplaceAll(t.Name(), "/", "-"))
		}
	})
	return p
}

func args(list []*runtime.RemoteObject) string {
	var out []string
	for _, a := range list {
		out = append(out, string(a.Value)+a.Description)
	}
	return strings.Join(out, " ")
}

func (p *tab) fault(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.allowed {
		if strings.Contains(text, a) {
			return
		}
	}
	p.faults = append(p.faults, text)
}

// allow names a fault that the test provokes.
func (p *tab) allow(part string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.allowed = append(p.allowed, part)
}

func (p *tab) scheme(name string) {
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
	must(p.t, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	must(p.t, chromedp.Do(p.ctx, steps...))
}

// eval answers what an expression is in the page.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// wait is until an expression becomes true, frame by frame.
func (p *tab) wait(what, expression string) {
	p.t.Helper()
	if _, err := chromedp.Run(p.ctx, chromedp.Poll[bool]("!!("+expression+")", chromedp.WithPollingTimeout(30*time.Second), chromedp.WithPollingInterval(20*time.Millisecond))); err != nil {
		body, _ := chromedp.Run(p.ctx, chromedp.Evaluate[string]("document.body.innerText.slice(0, 1500)"))
		p.t.Fatalf("no %s: %v\n%s", what, err, body)
	}
}

func (p *tab) visit(path string) {
	p.t.Helper()
	p.do(chromedp.Navigate(service.url + path))
}

// settled is when nothing is on its way any more.
const settled = `document.querySelector('main h1, main .note') && !document.querySelector('.bones') && ![...document.querySelectorAll('h1')].some(h => h.textContent === '…')`

// signIn types the key as a person would, and comes to path.
func (p *tab) signIn(path string) {
	p.t.Helper()
	p.visit(path)
	p.wait("sign-in", `document.querySelector('#key')`)
	p.do(chromedp.SendKeys("#key", service.key+"\r"))
	p.wait("page", `document.querySelector('nav') && `+settled)
}

func (p *tab) text(selector string) string {
	p.t.Helper()
	return eval[string](p, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
}

// click presses what is named by its visible text within what a selector finds.
func (p *tab) press(selector, text string) {
	p.t.Helper()
	found := fmt.Sprintf("[...document.querySelectorAll(%q)].find(e => e.innerText.trim().startsWith(%q) && e.offsetParent)", selector, text)
	p.wait(selector+" "+text, found)
	eval[any](p, found+".click()")
}

func (p *tab) cookies() []*network.Cookie {
	p.t.Helper()
	r, err := chromedp.Call(p.ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{service.url + "/"}})
	must(p.t, err)
	return r.Cookies
}

// picture keeps what is seen, when asked for.
func (p *tab) picture(name string) {
	if *pictures == "" {
		return
	}
	must(p.t, os.MkdirAll(*pictures, 0o755))
	tall := min(eval[float64](p, `document.documentElement.scrollHeight`), 2*float64(p.v.height))
	shot, err := chromedp.Call(p.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{CaptureBeyondViewport: new(true),
		Clip: &page.Viewport{Width: float64(p.v.width), Height: tall, Scale: 1}})
	if err != nil {
		p.t.Logf("picture of %s: %v", name, err)
		return
	}
	must(p.t, os.WriteFile(filepath.Join(*pictures, name+".png"), shot.Data, 0o644))
}

// quote is a text as JavaScript has it.
func quote(s string) string { return fmt.Sprintf("%q", s) }
