//go:build prometheus

package alarms

import (
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	stagesFlag = flag.String("stages", "scorer", "stages to kill, one after the other, or all")
	dead       = flag.Duration("dead", 0, "how long a stage stays dead; 0 = until it was named")
)

// promise is how soon an alert must name a dead stage.
const promise = 30 * time.Second

var stages = []string{"normaliser", "featurizer", "scorer", "alerter", "deliverer", "projector", "archiver", "gateway"}

// TestDeadStageIsNamed kills stages one after the other. Each must be named, no
// other one may be blamed, and all must be quiet again after it has come back.
func TestDeadStageIsNamed(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	d := start(t, ctx)
	d.until(t, ctx, "all stages are scraped and no alert about them is left", func() bool {
		return d.sample(ctx, `count(edgepulse_stage_running) == 10 and on () count(edgepulse_lag_seconds)`) && len(d.named(ctx)) == 0
	})
	list := strings.Split(*stagesFlag, ",")
	if *stagesFlag == "all" {
		list = stages
	}
	for _, stage := range list {
		t.Run(stage, func(t *testing.T) { d.killAndSee(t, ctx, stage) })
	}
}

func (d *deployment) killAndSee(t *testing.T, ctx context.Context, stage string) {
	killed := time.Now()
	d.kill(stage)
	var named, lagging time.Duration
	look := func() bool {
		for _, a := range d.named(ctx) {
			of := a.Labels["stage"]
			if of != stage && !(stage == "gateway" && of == "relay") { // the relay lives in the gateway's process
				t.Errorf("%s blames the %s, but the %s is dead", a.Labels["alertname"], of, stage)
			}
			took := time.Since(killed)
			switch a.Labels["alertname"] {
			case "EdgePulseStageDown":
				if named == 0 {
					named = took
				}
			case "EdgePulseStageLagging":
				if lagging == 0 {
					lagging = took
				}
			}
		}
		return named != 0 && time.Since(killed) >= *dead
	}
	limit, cancel := context.WithTimeout(ctx, max(promise, *dead)+10*time.Second)
	defer cancel()
	d.until(t, limit, "an alert names the "+stage, look)
	t.Logf("%s killed: named after %.1f s (EdgePulseStageDown); lag alert after %.1f s", stage, named.Seconds(), lagging.Seconds())
	if named > promise {
		t.Errorf("the %s was named after %s, promised are %s", stage, named, promise)
	}
	if !slices.Contains([]string{"projector", "archiver", "gateway"}, stage) && *dead >= time.Minute && lagging == 0 {
		t.Errorf("the lag of the dead %s did not raise EdgePulseStageLagging within %s", stage, *dead)
	}
	d.start(t, stage)
	back := time.Now()
	d.until(t, ctx, "the alerts end after the "+stage+" has come back", func() bool { return len(d.named(ctx)) == 0 })
	t.Logf("%s started again: quiet after %.1f s", stage, time.Since(back).Seconds())
}

type alert struct {
	Labels map[string]string `json:"labels"`
	State  string            `json:"state"`
}

// named are the firing alerts that accuse a stage.
func (d *deployment) named(ctx context.Context) []alert {
	var answer struct {
		Data struct {
			Alerts []alert `json:"alerts"`
		} `json:"data"`
	}
	if !d.ask(ctx, "/api/v1/alerts", &answer) {
		return nil
	}
	return slices.DeleteFunc(answer.Data.Alerts, func(a alert) bool {
		return a.State != "firing" || !slices.Contains([]string{"EdgePulseStageDown", "EdgePulseStageLagging", "EdgePulseDown"}, a.Labels["alertname"])
	})
}

// sample tells whether an expression gives anything.
func (d *deployment) sample(ctx context.Context, expr string) bool {
	var answer struct {
		Data struct {
			Result []any `json:"result"`
		} `json:"data"`
	}
	return d.ask(ctx, "/api/v1/query?query="+url.QueryEscape(expr), &answer) && len(answer.Data.Result) > 0
}

func (d *deployment) ask(ctx context.Context, path string, into any) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.prometheus+path, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK && json.NewDecoder(resp.Body).Decode(into) == nil
}

// until waits for a state; a failure shows what every process said last.
func (d *deployment) until(t *testing.T, ctx context.Context, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited for: %s: %v\nfiring: %v\n%s", what, ctx.Err(), d.named(context.Background()), d.tails())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
