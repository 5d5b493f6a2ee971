// Package edgesync keeps Workers KV equal to the keys that work: what the edge
// knows follows Postgres.
//
// What comes in: the keys that work now, each with the hash made for the edge.
// What goes out: bulk writes and deletions through Cloudflare's API; only hashes
// leave. Order: deletions before writes, since a key that must stop working is more
// urgent than one that should begin. State: what was written last, so that a
// watched change costs no listing; the truth is compared again at every Sync.
// Failure: the error names the call; what was not confirmed is tried again by the
// next pass, and a key that KV does not have yet works through the gateway.
package edgesync

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cloudflare/cloudflare-go"

	"github.com/edgepulse/edgepulse/schemas/edge"
)

// Config says which namespace, and with what right.
type Config struct {
	Token     string // API token with the permission Workers KV Storage: Edit
	Account   string
	Namespace string
	BaseURL   string // empty = Cloudflare's
}

// Check names the first setting that is missing.
func (c Config) Check() error {
	for _, s := range []struct{ name, value string }{
		{"CLOUDFLARE_API_TOKEN", c.Token}, {"CLOUDFLARE_ACCOUNT_ID", c.Account}, {"EDGEPULSE_KV_NAMESPACE_ID", c.Namespace},
	} {
		if s.value == "" {
			return fmt.Errorf("set %s", s.name)
		}
	}
	return nil
}

// Key is one key that works now.
type Key struct {
	ID      string
	Tenant  string
	Hash    []byte // edge.Hash; nil for a key that the edge can't know
	Scopes  []string
	Expires *time.Time
}

// Limits of a bulk call.
const (
	maxPairs = 10_000
	maxBytes = 90 << 20 // Cloudflare says 100 MB
	// minTTL is the least lifetime that KV takes; a key with less is not written.
	minTTL = 90 * time.Second
)

// Syncer talks to one namespace.
type Syncer struct {
	cfg  Config
	api  *cloudflare.API
	rc   *cloudflare.ResourceContainer
	now  func() time.Time
	last map[string]string // name -> fingerprint, as KV has it; nil = not known
}

// New makes a Syncer; it does not connect.
func New(cfg Config) (*Syncer, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	opts := []cloudflare.Option{
		cloudflare.UsingRetryPolicy(5, 1, 20), cloudflare.UsingLogger(log.New(silent{}, "", 0)),
		cloudflare.HTTPClient(&http.Client{Timeout: 60 * time.Second}), cloudflare.UserAgent("edgepulse"),
	}
	if cfg.BaseURL != "" {
		u, err := url.Parse(cfg.BaseURL)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("address of the API %q is no URL", cfg.BaseURL)
		}
		opts = append(opts, cloudflare.BaseURL(strings.TrimRight(cfg.BaseURL, "/")))
	}
	api, err := cloudflare.NewWithAPIToken(cfg.Token, opts...)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return &Syncer{cfg: cfg, api: api, rc: cloudflare.AccountIdentifier(cfg.Account), now: time.Now}, nil
}

// silent drops the client's own log: it repeats what errors say.
type silent struct{}

func (silent) Write(p []byte) (int, error) { return len(p), nil }

// Plan is what has to change.
type Plan struct {
	Write   []*cloudflare.WorkersKVPair
	Delete  []string
	Same    int // already as they should be
	Unknown int // keys without a hash for the edge: they work through the gateway only
}

// Empty says that nothing has to change.
func (p Plan) Empty() bool { return len(p.Write) == 0 && len(p.Delete) == 0 }

// meta stands beside a value, so that a listing shows whether it is current.
type meta struct {
	Fingerprint string `json:"f"`
}

// wanted are the pairs that KV should hold.
func (s *Syncer) wanted(keys []Key) (pairs map[string]*cloudflare.WorkersKVPair, prints map[string]string, unknown int, err error) {
	pairs, prints = map[string]*cloudflare.WorkersKVPair{}, map[string]string{}
	for _, k := range keys {
		if len(k.Hash) == 0 {
			unknown++
			continue
		}
		if k.Expires != nil && k.Expires.Sub(s.now()) < minTTL {
			continue
		}
		value, err := edge.NewRecord(k.Tenant, k.Hash, k.Scopes, k.Expires).Encode()
		if err != nil {
			return nil, nil, 0, err
		}
		sum := sha256.Sum256([]byte(value))
		name := edge.KeyPrefix + k.ID
		prints[name] = hex.EncodeToString(sum[:8])
		pairs[name] = &cloudflare.WorkersKVPair{Key: name, Value: value, Metadata: meta{prints[name]}}
		if k.Expires != nil {
			pairs[name].Expiration = int(k.Expires.Unix())
		}
	}
	return pairs, prints, unknown, nil
}

// Plan compares keys with what KV lists.
func (s *Syncer) Plan(ctx context.Context, keys []Key) (Plan, error) {
	have, err := s.list(ctx)
	if err != nil {
		return Plan{}, err
	}
	s.last = have
	plan, _, err := s.compare(keys)
	return plan, err
}

func (s *Syncer) compare(keys []Key) (Plan, map[string]string, error) {
	pairs, prints, unknown, err := s.wanted(keys)
	if err != nil {
		return Plan{}, nil, err
	}
	p := Plan{Unknown: unknown}
	for name := range s.last {
		if _, ok := pairs[name]; !ok {
			p.Delete = append(p.Delete, name)
		}
	}
	for name, pair := range pairs {
		if s.last[name] == prints[name] {
			p.Same++
			continue
		}
		p.Write = append(p.Write, pair)
	}
	slices.Sort(p.Delete)
	slices.SortFunc(p.Write, func(a, b *cloudflare.WorkersKVPair) int { return strings.Compare(a.Key, b.Key) })
	return p, prints, nil
}

// Sync lists KV and makes it equal to keys.
func (s *Syncer) Sync(ctx context.Context, keys []Key) (Plan, error) {
	plan, err := s.Plan(ctx, keys)
	if err != nil {
		return plan, err
	}
	return plan, s.apply(ctx, plan)
}

// Push makes KV equal to keys, believing what it wrote last; the first time it lists.
func (s *Syncer) Push(ctx context.Context, keys []Key) (Plan, error) {
	if s.last == nil {
		return s.Sync(ctx, keys)
	}
	plan, _, err := s.compare(keys)
	if err != nil {
		return plan, err
	}
	return plan, s.apply(ctx, plan)
}

func (s *Syncer) apply(ctx context.Context, p Plan) error {
	for names := range slices.Chunk(p.Delete, maxPairs) {
		if err := s.bulk(ctx, http.MethodPost, "bulk/delete", names); err != nil {
			return fmt.Errorf("delete %d keys: %w", len(names), err)
		}
		for _, n := range names {
			delete(s.last, n)
		}
	}
	for _, pairs := range calls(p.Write) {
		if err := s.bulk(ctx, http.MethodPut, "bulk", pairs); err != nil {
			return fmt.Errorf("write %d keys: %w", len(pairs), err)
		}
		for _, pair := range pairs {
			s.last[pair.Key] = pair.Metadata.(meta).Fingerprint
		}
	}
	return nil
}

// calls splits writes by number and size.
func calls(pairs []*cloudflare.WorkersKVPair) (out [][]*cloudflare.WorkersKVPair) {
	size := 0
	for _, p := range pairs {
		n := len(p.Key) + len(p.Value) + 200
		if len(out) == 0 || len(out[len(out)-1]) == maxPairs || size+n > maxBytes {
			out, size = append(out, nil), 0
		}
		out[len(out)-1] = append(out[len(out)-1], p)
		size += n
	}
	return out
}

type bulkResult struct {
	Unsuccessful []string `json:"unsuccessful_keys"`
}

// bulk goes through Raw: the typed calls drop the list of keys that failed, and
// delete by a route that the API calls deprecated. The client repeats 429, 5xx and lost connections by itself.
func (s *Syncer) bulk(ctx context.Context, method, call string, body any) error {
	path := fmt.Sprintf("/accounts/%s/storage/kv/namespaces/%s/%s", s.cfg.Account, s.cfg.Namespace, call)
	res, err := s.api.Raw(ctx, method, path, body, http.Header{"Content-Type": {"application/json"}})
	if err != nil {
		s.last = nil // what arrived is not known
		return err
	}
	if !res.Success {
		s.last = nil
		return errors.New("the API answers without success")
	}
	var r bulkResult
	if len(res.Result) > 0 && string(res.Result) != "null" {
		if err := json.Unmarshal(res.Result, &r); err != nil {
			return fmt.Errorf("read result: %w", err)
		}
	}
	if len(r.Unsuccessful) > 0 {
		s.last = nil
		return fmt.Errorf("%d keys were not taken, %s the first", len(r.Unsuccessful), r.Unsuccessful[0])
	}
	return nil
}

// list reads all names with their fingerprints.
func (s *Syncer) list(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	for cursor := ""; ; {
		page, err := s.api.ListWorkersKVKeys(ctx, s.rc, cloudflare.ListWorkersKVsParams{NamespaceID: s.cfg.Namespace, Limit: 1000,
			Cursor: cursor, Prefix: edge.KeyPrefix})
		if err != nil {
			return nil, fmt.Errorf("list keys in KV: %w", err)
		}
		for _, k := range page.Result {
			m, _ := k.Metadata.(map[string]any)
			f, _ := m["f"].(string)
			out[k.Name] = f
		}
		if cursor = page.Cursor; cursor == "" {
			return out, nil
		}
	}
}
