package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/edgepulse/edgepulse/schemas/apikey"
	"github.com/edgepulse/edgepulse/schemas/edge"
)

// edgeGate verifies what the Worker at the edge signs: that a request came through
// it, when, under which id. It replaces no check of the key.
type edgeGate struct {
	secrets   [][]byte
	tolerance time.Duration
	require   bool
	wall      func() time.Time
	metrics   *metrics
	replays   *replays
}

func newEdgeGate(cfg *Config, m *metrics, wall func() time.Time) *edgeGate {
	secrets, _ := edge.ParseSecrets(cfg.EdgeSecrets) // Config.Check has read them
	return &edgeGate{secrets: secrets, tolerance: cfg.EdgeTolerance, require: cfg.RequireEdge, wall: wall, metrics: m,
		replays: newReplays(2*cfg.EdgeTolerance, wall)}
}

// passage is a request that came through the edge, or says so.
type passage struct {
	claim    edge.Claim
	verified bool
	body     *signedBody // nil when the body is not covered by the signature
}

type passageKey struct{}

func passageFrom(ctx context.Context) *passage {
	p, _ := ctx.Value(passageKey{}).(*passage)
	return p
}

// open to whoever asks, also where the edge is required: probes, scrapers, and
// the drain, whose objects carry signatures of their own.
var besideEdge = map[string]bool{"/v1/health": true, "/v1/ready": true, "/metrics": true, spillRoute: true}

// admit judges the signature of a request. passage is nil for one that came
// directly; an unverified one still lends its id to the refusal, so that the edge
// recognises the answer as ours.
func (g *edgeGate) admit(r *http.Request) (*http.Request, *passage, *problem) {
	signature := r.Header.Get(edge.HeaderSignature)
	if signature == "" {
		if g.require && !besideEdge[r.URL.Path] {
			return r, nil, g.refuse("required", http.StatusForbidden, "edge_required", "this gateway takes requests through its edge only")
		}
		return r, nil, nil
	}
	id := r.Header.Get(edge.HeaderRequestID)
	if !edge.ValidRequestID(id) {
		return r, nil, g.badSignature()
	}
	p := &passage{claim: requestClaim(r, id)}
	switch skew := g.wall().Sub(time.UnixMicro(p.claim.AcceptedAt)).Abs(); {
	case !p.claim.Verify(g.secrets, signature):
		return r, p, g.badSignature()
	case skew > g.tolerance:
		return r, p, g.refuse("clock", http.StatusUnauthorized, "edge_clock", "the clock of the edge is off by "+skew.Round(time.Second).String())
	case !g.replays.first(id):
		return r, p, g.refuse("replayed", http.StatusConflict, "edge_replayed", "this signed request has been seen before")
	}
	p.verified = true
	g.metrics.edge.WithLabelValues("verified").Inc()
	if p.claim.BodySHA256 != edge.Unsigned {
		p.body = &signedBody{ReadCloser: r.Body, sum: sha256.New(), want: p.claim.BodySHA256}
		r.Body = p.body
	}
	return r.WithContext(context.WithValue(r.Context(), passageKey{}, p)), p, nil
}

func (g *edgeGate) badSignature() *problem {
	return g.refuse("signature", http.StatusUnauthorized, "edge_signature", "the signature of the edge is not valid here")
}

func (g *edgeGate) refuse(result string, status int, code, detail string) *problem {
	g.metrics.edge.WithLabelValues(result).Inc()
	return newProblem(status, code, detail)
}

func requestClaim(r *http.Request, id string) edge.Claim {
	joined := func(name string) string { return strings.Join(r.Header.Values(name), ", ") }
	at, _ := strconv.ParseInt(r.Header.Get(edge.HeaderAcceptedAt), 10, 64) // 0 verifies as little
	keyID, _, _ := apikey.Parse(presentedKey(r))
	return edge.Claim{Kind: edge.KindRequest, AcceptedAt: at, RequestID: id, Method: r.Method, Target: r.RequestURI, KeyID: keyID,
		IdempotencyKey: joined("Idempotency-Key"), ContentType: joined("Content-Type"), ContentEncoding: joined("Content-Encoding"),
		BodySHA256: r.Header.Get(edge.HeaderBodySHA256)}
}

// say tells a verified edge what the clock shows here: it compares.
func (p *passage) say(h http.Header, wall func() time.Time) {
	if p != nil && p.verified {
		h.Set(edge.HeaderVerified, strconv.FormatInt(wall().UnixMicro(), 10))
	}
}

// whole says whether the body that was read is the one that was signed. Ingest
// asks: what goes into the log is covered to the last byte.
func (p *passage) whole() *problem {
	if p.body == nil || !p.body.complete {
		return newProblem(http.StatusUnauthorized, "edge_signature", "the signature of the edge does not cover the body")
	}
	return nil
}

// signedBody compares a body with the hash that was signed, while it is read.
type signedBody struct {
	io.ReadCloser
	sum      hash.Hash
	want     string // hex
	complete bool   // read to its end, and it is the one
}

var errBodyNotSigned = errors.New("the body is not the one that was signed")

func (b *signedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.sum.Write(p[:n])
	if err == io.EOF {
		if hex.EncodeToString(b.sum.Sum(nil)) != b.want {
			return n, errBodyNotSigned
		}
		b.complete = true
	}
	return n, err
}

// replays remembers the ids of signed requests for as long as their time passes
// the tolerance: two generations, each as long as that. When a generation is full
// it ends early: what ingest would see twice then is still dropped by its
// idempotency key and by point identity.
type replays struct {
	mu        sync.Mutex
	wall      func() time.Time
	span      time.Duration
	began     time.Time
	now, past map[string]struct{}
}

const maxReplays = 500_000

func newReplays(span time.Duration, wall func() time.Time) *replays {
	return &replays{wall: wall, span: span, began: wall(), now: map[string]struct{}{}}
}

// first says whether an id has not been seen.
func (c *replays) first(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.wall(); t.Sub(c.began) >= c.span || len(c.now) >= maxReplays {
		c.past, c.now, c.began = c.now, map[string]struct{}{}, t
	}
	if _, seen := c.past[id]; seen {
		return false
	}
	if _, seen := c.now[id]; seen {
		return false
	}
	c.now[id] = struct{}{}
	return true
}
