package gateway

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgepulse/edgepulse/schemas/edge"
)

// Config holds the settings of the gateway; flags and EDGEPULSE_* variables derive from it.
type Config struct {
	Addr       string `help:"Address to listen on; empty = do not listen (the handler is used in process)." default:":8080" env:"EDGEPULSE_ADDR"`
	Partitions int    `help:"Partitions of the deployment; fixed for its life." default:"4" env:"EDGEPULSE_PARTITIONS"`
	Clock      string `help:"Clock of received_at and ticks: system, or sim (advanced by POST /v1/clock)." default:"system" enum:"system,sim" env:"EDGEPULSE_CLOCK"`
	Pepper     string `help:"Secret that API key hashes are keyed with; not in the database." env:"EDGEPULSE_PEPPER"`

	KeyTTL   time.Duration `help:"How long a looked-up key is believed; a revocation acts within it (at most 5s)." default:"4s" env:"EDGEPULSE_KEY_TTL"`
	KeyGrace time.Duration `help:"How long a known key is still accepted while the key store can't be asked." default:"5m" env:"EDGEPULSE_KEY_GRACE"`

	MaxWire      int64         `help:"Largest request body on the wire, bytes." default:"1048576" env:"EDGEPULSE_MAX_WIRE"`
	MaxInflated  int64         `help:"Largest request body after Content-Encoding, bytes." default:"4194304" env:"EDGEPULSE_MAX_INFLATED"`
	MaxRatio     int64         `help:"Largest ratio of inflated to wire bytes." default:"50" env:"EDGEPULSE_MAX_RATIO"`
	MaxPoints    int           `help:"Most points of a request, and of one gathered group." default:"5000" env:"EDGEPULSE_MAX_POINTS"`
	GroupBytes   int           `help:"Size at which a gathered group closes, bytes." default:"524288" env:"EDGEPULSE_GROUP_BYTES"`
	GroupEvery   time.Duration `help:"Shortest time between two groups of a partition: under load they grow in place of coming more often. One after a pause goes at once; where writing is slow, the distance grows up to four times." default:"5ms" env:"EDGEPULSE_GROUP_EVERY"`
	Inflight     int64         `help:"Bytes of requests in work at one time; beyond it 503." default:"67108864" env:"EDGEPULSE_INFLIGHT_BYTES"`
	TenantShare  int64         `help:"Bytes of requests of one tenant in work at one time; beyond it 429." default:"16777216" env:"EDGEPULSE_TENANT_INFLIGHT_BYTES"`
	IdempotencyN int           `help:"Idempotency keys remembered (best effort; the normaliser is authoritative)." default:"50000" env:"EDGEPULSE_IDEMPOTENCY_KEYS"`

	RefusalPause  time.Duration `help:"How long the answer to a tenant beyond its plan is held back, so that a client that does not wait as Retry-After says is slowed; 0 = not at all." default:"250ms" env:"EDGEPULSE_REFUSAL_PAUSE"`
	AppendTimeout time.Duration `help:"How long to wait for the log before 503." default:"10s" env:"EDGEPULSE_APPEND_TIMEOUT"`
	Ticks         bool          `help:"Write a tick per partition and second." default:"true" negatable:"" env:"EDGEPULSE_TICKS"`
	TickChunk     int           `help:"Ticks of a simulated clock per message: every message is one root, whose outputs must fit one commit." default:"300" env:"EDGEPULSE_TICK_CHUNK"`
	MaxAdvance    time.Duration `help:"Longest step of a simulated clock." default:"744h" env:"EDGEPULSE_MAX_ADVANCE"`

	LiveStreams int `help:"Live streams open at one time; one tenant may have half of them." default:"1000" env:"EDGEPULSE_LIVE_STREAMS"`

	PublicURL string `help:"Address under which browsers reach this gateway, when it is not the one they name in Host (a proxy rewrites it): https://edgepulse.example. With https the session's cookie is Secure." env:"EDGEPULSE_PUBLIC_URL" placeholder:"URL"`

	EdgeSecrets   string        `help:"Secrets the edge signs with, the newest first: 32 bytes in hex, at most two with a comma between; empty = no edge." env:"EDGEPULSE_EDGE_SECRETS" placeholder:"HEX[,HEX]"`
	EdgeTolerance time.Duration `help:"How far the clock of the edge may be off." default:"2m" env:"EDGEPULSE_EDGE_TOLERANCE"`
	RequireEdge   bool          `help:"Refuse what does not come through the edge, except health, readiness and metrics." env:"EDGEPULSE_REQUIRE_EDGE"`

	OwnerTokenHash string `help:"SHA-256 in hex of the token that opens /v1/owner, the view over all tenants; needs the owner's database address too. Empty = there is no such view. 'edgepulse owner token' makes one." env:"EDGEPULSE_OWNER_TOKEN_HASH" placeholder:"HEX"`

	WebhookAllow []string `help:"Webhook targets allowed besides public https: CIDRs or host:port, for example 127.0.0.1/32 or inbox:9000." env:"EDGEPULSE_WEBHOOK_ALLOW"`
}

// DefaultConfig is what the tags say, for those who do not come through kong.
func DefaultConfig() Config {
	return Config{
		Addr: ":8080", Partitions: 4, Clock: "system", KeyTTL: 4 * time.Second, KeyGrace: 5 * time.Minute,
		MaxWire: 1 << 20, MaxInflated: 4 << 20, MaxRatio: 50, MaxPoints: 5000, GroupBytes: 512 << 10, GroupEvery: 5 * time.Millisecond,
		Inflight: 64 << 20, TenantShare: 16 << 20, IdempotencyN: 50000,
		RefusalPause: 250 * time.Millisecond, AppendTimeout: 10 * time.Second, Ticks: true, TickChunk: 300, MaxAdvance: 31 * 24 * time.Hour,
		LiveStreams:   1000,
		EdgeTolerance: 2 * time.Minute,
	}
}

// Check names the first setting that can't work.
func (c Config) Check() error {
	bad := func(name, why string) error { return fmt.Errorf("setting %s: %s", name, why) }
	switch {
	case c.Partitions < 1 || c.Partitions > 1024:
		return bad("partitions", "expected 1 to 1024")
	case c.Clock != "system" && c.Clock != "sim":
		return bad("clock", "expected system or sim")
	case c.Pepper == "":
		return bad("pepper", "is empty: API keys could be verified by whoever has the database")
	case c.KeyTTL < 0 || c.KeyTTL > 5*time.Second:
		return bad("key-ttl", "expected 0s to 5s: a revoked key must stop working within 5 s")
	case c.MaxWire < 1 || c.MaxInflated < c.MaxWire:
		return bad("max-inflated", "expected at least max-wire")
	case c.MaxInflated > 6<<20:
		return bad("max-inflated", "expected at most 6 MiB: a request must fit one message of the log")
	case c.MaxRatio < 1:
		return bad("max-ratio", "expected at least 1")
	case c.MaxPoints < 1:
		return bad("max-points", "expected at least 1")
	case c.GroupBytes < 1<<10:
		return bad("group-bytes", "expected at least 1024")
	case c.TenantShare < c.MaxInflated+c.MaxWire || c.Inflight < c.TenantShare:
		return bad("inflight", "expected inflight >= tenant-share >= max-wire + max-inflated")
	case c.RefusalPause < 0 || c.RefusalPause > 10*time.Second:
		return bad("refusal-pause", "expected 0s to 10s")
	case c.AppendTimeout <= 0:
		return bad("append-timeout", "expected a positive duration")
	case c.MaxAdvance < time.Second:
		return bad("max-advance", "expected at least 1s")
	case c.LiveStreams < 1:
		return bad("live-streams", "expected at least 1")
	case c.TickChunk < 1 || c.TickChunk > 10000:
		return bad("tick-chunk", "expected 1 to 10000")
	}
	if u, err := url.Parse(c.PublicURL); c.PublicURL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		return bad("public-url", "expected http(s)://host")
	}
	secrets, err := edge.ParseSecrets(c.EdgeSecrets)
	switch {
	case err != nil:
		return bad("edge-secrets", err.Error())
	case c.RequireEdge && len(secrets) == 0:
		return bad("require-edge", "needs edge-secrets: nobody could come in")
	case c.EdgeTolerance < time.Second || c.EdgeTolerance > 15*time.Minute:
		return bad("edge-tolerance", "expected 1s to 15m")
	}
	if h, err := hex.DecodeString(c.OwnerTokenHash); c.OwnerTokenHash != "" && (err != nil || len(h) != 32) {
		return bad("owner-token-hash", "expected 64 hexadecimal digits: the SHA-256 of the token, not the token")
	}
	for _, a := range c.WebhookAllow {
		if _, err := netip.ParsePrefix(a); err != nil && (strings.Contains(a, "/") || !strings.Contains(a, ":")) {
			return bad("webhook-allow", fmt.Sprintf("%q is neither a CIDR nor host:port", a))
		}
	}
	return nil
}

// Deps are what the gateway needs from others.
type Deps struct {
	Log      Log
	Keys     Keys
	Queries  Queries
	Clock    Clock // nil = by Config.Clock
	Logger   *slog.Logger
	Registry *prometheus.Registry
	// Ready are the checks of /v1/ready by name; an error means not ready.
	Ready map[string]Check
	// Routes are served beside the API: dashboard, live stream, OpenAPI.
	Routes []Route
	// Live is what the live stream follows; nil = there is none.
	Live LiveSource
	// Usage judges the plan's points a month and metrics; nil = they are not judged.
	Usage Usage
	// Shares tell the other gateways what this one has taken of the tenants' plans;
	// nil = it is the only one.
	Shares Shares
	// KeyUses keeps when keys were used last; nil = nobody does.
	KeyUses KeyUses
	// Accounts serve keys, usage and audit log to tenants; nil = these routes do not exist.
	Accounts Accounts
	// Owner serves /v1/owner, when OwnerTokenHash is set too; nil = there is no such path.
	Owner Owner
	// UI is the web interface served at /; nil = none.
	UI fs.FS
	// Wall is the clock of key expiry and caches; nil = time.Now.
	Wall func() time.Time
}

// Route is a handler from outside. With a scope the request is authenticated first
// and TenantFrom(r.Context()) names the tenant; without, it is public.
type Route struct {
	Pattern string // of http.ServeMux
	Scope   string
	Handler http.Handler
}

func (d Deps) validate() error {
	switch {
	case d.Log == nil:
		return errors.New("gateway needs a log")
	case d.Keys == nil:
		return errors.New("gateway needs keys")
	case d.Queries == nil:
		return errors.New("gateway needs queries")
	case d.Logger == nil:
		return errors.New("gateway needs a logger")
	case d.Registry == nil:
		return errors.New("gateway needs a registry")
	}
	return nil
}
