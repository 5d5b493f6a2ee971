package edgesync

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/cloudflare/cloudflare-go"
)

// Finding is one line of the doctor: what was looked at, what was seen, and how to mend it.
type Finding struct {
	What string
	OK   bool
	Seen string
	Mend string // empty when OK
}

// Doctor looks at everything between a sensor and the gateway. keys are those of
// Postgres; edgeURL is where the Worker answers, empty = not looked at.
func (s *Syncer) Doctor(ctx context.Context, keys []Key, edgeURL string) []Finding {
	out := []Finding{s.checkNamespace(ctx)}
	if out[0].OK {
		out = append(out, s.checkKeys(ctx, keys)...)
	}
	if edgeURL == "" {
		return append(out, Finding{"worker", false, "not looked at", "name its address: --edge-url https://…"})
	}
	return append(out, checkWorker(ctx, edgeURL)...)
}

func (s *Syncer) checkNamespace(ctx context.Context) Finding {
	const what = "account and namespace"
	_, err := s.api.ListWorkersKVKeys(ctx, s.rc, cloudflare.ListWorkersKVsParams{NamespaceID: s.cfg.Namespace, Limit: 10})
	if err == nil {
		return Finding{What: what, OK: true, Seen: "KV namespace " + s.cfg.Namespace + " answers"}
	}
	mend := "is the API reachable from here? " + "status: https://www.cloudflarestatus.com"
	switch text := err.Error(); {
	case strings.Contains(text, "403") || strings.Contains(text, "401") || strings.Contains(strings.ToLower(text), "auth"):
		mend = "give CLOUDFLARE_API_TOKEN the permission Workers KV Storage: Edit on this account"
	case strings.Contains(text, "404") || strings.Contains(text, "not found"):
		mend = "CLOUDFLARE_ACCOUNT_ID and EDGEPULSE_KV_NAMESPACE_ID must name the account and the namespace bound as KEYS (wrangler kv namespace list)"
	}
	return Finding{what, false, err.Error(), mend}
}

func (s *Syncer) checkKeys(ctx context.Context, keys []Key) []Finding {
	plan, err := s.Plan(ctx, keys)
	if err != nil {
		return []Finding{{"keys in step", false, err.Error(), "run it again; the API did not list"}}
	}
	f := Finding{What: "keys in step", OK: plan.Empty(), Seen: fmt.Sprintf("%d current, %d to write, %d to delete", plan.Same, len(plan.Write), len(plan.Delete))}
	if !f.OK {
		f.Mend = "run `edgepulse edge sync`, and keep `edgepulse edge sync --watch` running"
	}
	known := Finding{What: "keys known to the edge", OK: plan.Unknown == 0, Seen: fmt.Sprintf("%d work through the gateway only", plan.Unknown)}
	if !known.OK {
		known.Mend = "they were made before the edge: while the gateway is away they get 503; replace them (edgepulse key create, then revoke)"
	}
	return []Finding{f, known}
}

// workerHealth is GET /v1/health at the edge.
type workerHealth struct {
	Status string `json:"status"`
	Edge   *struct {
		Now time.Time `json:"now"`
	} `json:"edge"`
	Origin struct {
		Status    string  `json:"status"`
		Signature string  `json:"signature"`
		Skew      float64 `json:"skew_ms"`
	} `json:"origin"`
}

// maxSkew is the clock difference that deserves a word; the gateway takes two minutes.
const maxSkew = 5 * time.Second

func checkWorker(ctx context.Context, base string) []Finding {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	h, began, err := askWorker(ctx, base)
	if err != nil {
		return []Finding{{"worker", false, err.Error(), "is the Worker deployed, and does a route or custom domain lead to it? (wrangler deploy; wrangler tail)"}}
	}
	out := []Finding{{What: "worker", OK: true, Seen: base + " answers"}}
	origin := Finding{What: "gateway behind it", OK: h.Origin.Status == "ok", Seen: h.Origin.Status}
	secrets := Finding{What: "secrets agree", OK: h.Origin.Signature == "accepted", Seen: "the gateway accepts the signature"}
	if !origin.OK {
		origin.Mend = "ORIGIN_URL must lead to the gateway itself, without a page or redirect before it; requests are kept in R2 meanwhile"
	}
	if !secrets.OK {
		secrets.Seen = "not verified: " + h.Origin.Status
		secrets.Mend = "EDGE_SECRET of the Worker must be one of EDGEPULSE_EDGE_SECRETS of the gateway (edgepulse edge secrets | wrangler secret bulk)"
	}
	out = append(out, origin, secrets)
	skew := max(time.Duration(h.Origin.Skew*float64(time.Millisecond)).Abs(), clockDistance(h.Edge.Now, began, time.Now()))
	clock := Finding{What: "clocks", OK: skew < maxSkew, Seen: fmt.Sprintf("off by %s", skew.Round(time.Millisecond))}
	if !clock.OK {
		clock.Mend = "set the clock of gateway and of this machine (chrony, systemd-timesyncd): beyond 2 min the gateway refuses the edge"
	}
	return append(out, clock)
}

// clockDistance is how far t lies outside of the time in which it was told.
func clockDistance(t, from, to time.Time) time.Duration {
	switch {
	case t.Before(from):
		return from.Sub(t)
	case t.After(to):
		return t.Sub(to)
	}
	return 0
}

func askWorker(ctx context.Context, base string) (h workerHealth, began time.Time, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(base, "/")+"/v1/health", nil)
	if err != nil {
		return h, began, fmt.Errorf("make request: %w", err)
	}
	began = time.Now()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return h, began, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return h, began, fmt.Errorf("read answer: %w", err)
	}
	if err := json.Unmarshal(body, &h); err != nil || h.Edge == nil {
		return h, began, fmt.Errorf("%s/v1/health answers %d, but not as the Worker does", base, res.StatusCode)
	}
	return h, began, nil
}
