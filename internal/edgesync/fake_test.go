package edgesync

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/schemas/edge"
)

const (
	account   = "0123456789abcdef0123456789abcdef"
	namespace = "fedcba9876543210fedcba9876543210"
	token     = "token-of-the-tests"
)

// fakeKV is Workers KV behind Cloudflare's API, and takes nothing that the
// documentation does not: methods, paths, headers, fields, limits.
type fakeKV struct {
	tb  testing.TB
	mu  sync.Mutex
	url string

	values map[string]stored
	calls  []string // "PUT bulk 10000"
	sent   []byte   // all that left, for a look at what it was

	trouble []int    // statuses of the next bulk calls, before they are done
	refuse  []string // keys that the next write does not take
}

type stored struct {
	value    string
	metadata json.RawMessage
	expires  int64
}

func newFakeKV(tb testing.TB) *fakeKV {
	k := &fakeKV{tb: tb, values: map[string]stored{}}
	srv := httptest.NewServer(http.HandlerFunc(k.serve))
	tb.Cleanup(srv.Close)
	k.url = srv.URL + "/client/v4"
	return k
}

func (k *fakeKV) config() Config {
	return Config{Token: token, Account: account, Namespace: namespace, BaseURL: k.url}
}

func (k *fakeKV) serve(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+token {
		answerAPI(w, 401, nil, nil, "Authentication error")
		return
	}
	call, ok := strings.CutPrefix(r.URL.Path, "/client/v4/accounts/"+account+"/storage/kv/namespaces/"+namespace+"/")
	if !ok {
		answerAPI(w, 404, nil, nil, "namespace not found")
		return
	}
	switch r.Method + " " + call {
	case "GET keys":
		k.list(w, r)
	case "PUT bulk", "POST bulk/delete":
		k.bulk(w, r, call)
	default:
		k.fail(w, 405, "%s %s is not a call of the API", r.Method, call)
	}
}

// fail is an answer to something that should never have been sent.
func (k *fakeKV) fail(w http.ResponseWriter, status int, format string, args ...any) {
	k.tb.Errorf(format, args...)
	answerAPI(w, status, nil, nil, fmt.Sprintf(format, args...))
}

func answerAPI(w http.ResponseWriter, status int, result, info any, problem string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	errs := []map[string]any{}
	if problem != "" {
		errs = append(errs, map[string]any{"code": 10000 + status, "message": problem})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"success": problem == "", "errors": errs, "messages": []string{}, "result": result, "result_info": info})
}

func (k *fakeKV) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit < 10 || limit > 1000 {
		k.fail(w, 400, "limit %q: expected 10 to 1000", q.Get("limit"))
		return
	}
	k.calls = append(k.calls, "GET keys")
	names := slices.Sorted(maps.Keys(k.values))
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, q.Get("prefix")) || n <= q.Get("cursor") })
	more := len(names) > limit
	names = names[:min(limit, len(names))]
	cursor := ""
	if more {
		cursor = names[len(names)-1]
	}
	page := []map[string]any{}
	for _, n := range names {
		page = append(page, map[string]any{"name": n, "metadata": k.values[n].metadata, "expiration": k.values[n].expires})
	}
	answerAPI(w, 200, page, map[string]any{"count": len(page), "cursor": cursor}, "")
}

func (k *fakeKV) bulk(w http.ResponseWriter, r *http.Request, call string) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 101<<20))
	if err != nil || len(body) > 100<<20 {
		k.fail(w, 413, "a body of %d bytes", len(body))
		return
	}
	if ct := r.Header.Get("Content-Type"); ct != "application/json" {
		k.fail(w, 415, "Content-Type %q", ct)
		return
	}
	if len(k.trouble) > 0 {
		status := k.trouble[0]
		k.trouble = k.trouble[1:]
		k.calls = append(k.calls, strconv.Itoa(status))
		answerAPI(w, status, nil, nil, "trouble")
		return
	}
	k.sent = append(k.sent, body...)
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.DisallowUnknownFields()
	if call == "bulk/delete" {
		var names []string
		if err := dec.Decode(&names); err != nil || len(names) == 0 || len(names) > 10_000 {
			k.fail(w, 400, "%d names, %v", len(names), err)
			return
		}
		for _, n := range names {
			delete(k.values, n)
		}
		k.calls = append(k.calls, fmt.Sprintf("POST bulk/delete %d", len(names)))
		answerAPI(w, 200, map[string]any{"successful_key_count": len(names), "unsuccessful_keys": []string{}}, nil, "")
		return
	}
	var pairs []struct {
		Key, Value string
		Expiration int64
		Metadata   json.RawMessage
	}
	if err := dec.Decode(&pairs); err != nil || len(pairs) == 0 || len(pairs) > 10_000 {
		k.fail(w, 400, "%d pairs, %v", len(pairs), err)
		return
	}
	for _, p := range pairs {
		if slices.Contains(k.refuse, p.Key) {
			continue
		}
		if len(p.Key) == 0 || len(p.Key) > 512 || len(p.Value) > 25<<20 || len(p.Metadata) > 1024 ||
			p.Expiration != 0 && p.Expiration < time.Now().Unix()+60 || !strictRecord(p.Value) {
			k.fail(w, 400, "pair %q %q %q %d", p.Key, p.Value, p.Metadata, p.Expiration)
			return
		}
		k.values[p.Key] = stored{p.Value, p.Metadata, p.Expiration}
	}
	k.calls = append(k.calls, fmt.Sprintf("PUT bulk %d", len(pairs)))
	answerAPI(w, 200, map[string]any{"successful_key_count": len(pairs) - len(k.refuse), "unsuccessful_keys": k.refuse}, nil, "")
	k.refuse = nil
}

func strictRecord(s string) bool {
	dec := json.NewDecoder(strings.NewReader(s))
	dec.DisallowUnknownFields()
	var r edge.Record
	return dec.Decode(&r) == nil && r.V == edge.RecordVersion && len(r.Hash) == 43 && len(r.Tenant) == 36
}

func (k *fakeKV) take() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := k.calls
	k.calls = nil
	return out
}
