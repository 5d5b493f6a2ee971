package edgesync

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/apikey"
	"github.com/edgepulse/edgepulse/schemas/edge"
)

var pepper = []byte("pepper of the tests, 32 bytes ..")

// keyring makes keys with all that is secret about them.
func keyring(n int) (keys []Key, secrets [][]byte) {
	tenant := schemas.NewID().String()
	for range n {
		plain, id, hash := apikey.New("live", pepper)
		_, secret, _ := apikey.Parse(plain)
		secrets = append(secrets, []byte(plain), []byte(plain[len(plain)-49:]), []byte(hex.EncodeToString(secret)), []byte(edge.Proof(secret)),
			[]byte(edge.Proof(hash)), []byte(hex.EncodeToString(hash)))
		keys = append(keys, Key{ID: id, Tenant: tenant, Hash: edge.Hash(pepper, secret), Scopes: []string{"ingest"}})
	}
	return keys, secrets
}

func syncer(t *testing.T, k *fakeKV) *Syncer {
	t.Helper()
	s, err := New(k.config())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func synced(t *testing.T, s *Syncer, keys []Key) Plan {
	t.Helper()
	p, err := s.Sync(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSyncTenThousandKeys(t *testing.T) {
	k := newFakeKV(t)
	keys, secrets := keyring(10_001)
	s := syncer(t, k)
	began := time.Now()
	if p := synced(t, s, keys); len(p.Write) != 10_001 || len(k.values) != 10_001 {
		t.Fatalf("wrote %d, KV has %d", len(p.Write), len(k.values))
	}
	took := time.Since(began)
	if calls := k.take(); !slices.Equal(calls, []string{"GET keys", "PUT bulk 10000", "PUT bulk 1"}) {
		t.Errorf("calls %v", calls)
	}
	// Only hashes leave: neither a key, nor its secret, nor the hash that the database holds.
	sent := string(k.sent)
	secret := map[string]bool{}
	for _, s := range secrets {
		secret[string(s[:43])] = true
	}
	for i := 0; i+43 <= len(sent); i++ {
		if secret[sent[i:i+43]] {
			t.Fatalf("%q has left", sent[i:i+43])
		}
	}
	if bytes.Contains(k.sent, pepper) || bytes.Contains(k.sent, edge.Pepper(pepper)) {
		t.Fatal("a pepper has left")
	}
	began = time.Now()
	if p := synced(t, syncer(t, k), keys); !p.Empty() || p.Same != 10_001 {
		t.Errorf("a second sync writes %d and deletes %d", len(p.Write), len(p.Delete))
	}
	if calls := k.take(); len(calls) != 11 {
		t.Errorf("%d calls for 11 pages", len(calls))
	}
	if p := synced(t, s, nil); len(p.Delete) != 10_001 || len(k.values) != 0 {
		t.Errorf("deleted %d, KV has %d", len(p.Delete), len(k.values))
	}
	t.Logf("10,001 keys written in %s, listed and compared in %s", took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
}

func TestSyncWritesWhatChanged(t *testing.T) {
	k := newFakeKV(t)
	keys, _ := keyring(5)
	s := syncer(t, k)
	synced(t, s, keys)
	k.values["other/of-somebody-else"] = stored{value: "kept"}
	soon, later := time.Now().Add(30*time.Second), time.Now().Add(time.Hour)
	keys[0].Scopes = []string{"ingest", "backfill"}
	keys[1].Expires = &later
	keys[2].Expires = &soon // KV takes no lifetime that short
	keys[3].Hash = nil      // made before the edge
	p := synced(t, syncer(t, k), keys)
	var written []string
	for _, w := range p.Write {
		written = append(written, w.Key)
	}
	want := []string{"key/" + keys[0].ID, "key/" + keys[1].ID}
	slices.Sort(want)
	if !slices.Equal(written, want) || len(p.Delete) != 2 || p.Same != 1 || p.Unknown != 1 {
		t.Errorf("wrote %v, deleted %v, same %d, unknown %d", written, p.Delete, p.Same, p.Unknown)
	}
	if k.values["key/"+keys[1].ID].expires != later.Unix() || len(k.values) != 4 {
		t.Errorf("KV holds %v", k.values)
	}
	if p := synced(t, s, keys); !p.Empty() {
		t.Errorf("not in step: %+v", p)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	k := newFakeKV(t)
	keys, _ := keyring(3)
	p, err := syncer(t, k).Plan(t.Context(), keys)
	if err != nil || len(p.Write) != 3 || len(k.values) != 0 || !slices.Equal(k.take(), []string{"GET keys"}) {
		t.Errorf("plan %+v, %v, KV has %d", p, err, len(k.values))
	}
}

func TestTroubleIsRetried(t *testing.T) {
	k := newFakeKV(t)
	k.trouble = []int{429, 503}
	keys, _ := keyring(2)
	synced(t, syncer(t, k), keys)
	if calls := k.take(); !slices.Equal(calls, []string{"GET keys", "429", "503", "PUT bulk 2"}) || len(k.values) != 2 {
		t.Errorf("calls %v", calls)
	}
}

func TestKeysThatWereNotTakenAreToldAndTriedAgain(t *testing.T) {
	k := newFakeKV(t)
	keys, _ := keyring(3)
	k.refuse = []string{"key/" + keys[1].ID}
	s := syncer(t, k)
	_, err := s.Push(t.Context(), keys)
	if err == nil || !strings.Contains(err.Error(), keys[1].ID) {
		t.Fatalf("a success with a key missing: %v", err)
	}
	if p, err := s.Push(t.Context(), keys); err != nil || len(p.Write) != 1 || len(k.values) != 3 {
		t.Errorf("then wrote %d, KV has %d, %v", len(p.Write), len(k.values), err)
	}
}

func TestRefusalsAreNotRetried(t *testing.T) {
	k := newFakeKV(t)
	cfg := k.config()
	cfg.Token = "wrong"
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sync(t.Context(), nil); err == nil || strings.Contains(err.Error(), "wrong") {
		t.Errorf("with a wrong token: %v", err)
	}
	for _, bad := range []Config{{}, {Token: "t"}, {Token: "t", Account: "a"}, {Token: "t", Account: "a", Namespace: "n", BaseURL: "::"}} {
		if _, err := New(bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// script is a Source whose keys change when the test says so.
type script struct {
	states chan []Key
	now    []Key
}

func (s *script) Keys(context.Context) ([]Key, error) { return s.now, nil }

func (s *script) Watch(ctx context.Context, _ time.Duration, changed func(context.Context) error) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case keys, ok := <-s.states:
			if !ok {
				return errors.New("connection lost")
			}
			s.now = keys
			if err := changed(ctx); err != nil {
				return err
			}
		}
	}
}

func TestWatchFollowsWithoutListing(t *testing.T) {
	k := newFakeKV(t)
	keys, _ := keyring(4)
	src := &script{states: make(chan []Key)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	s := syncer(t, k)
	go func() { done <- s.Watch(ctx, src, slog.New(slog.DiscardHandler)) }()
	for _, state := range [][]Key{keys[:2], keys, keys[1:], keys[1:]} {
		src.states <- state
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want := []string{"GET keys", "PUT bulk 2", "PUT bulk 2", "POST bulk/delete 1"}
	if calls := k.take(); !slices.Equal(calls, want) || len(k.values) != 3 {
		t.Errorf("calls %v, want %v; KV has %d", calls, want, len(k.values))
	}
}

func TestDoctorSaysHowToMend(t *testing.T) {
	k := newFakeKV(t)
	keys, _ := keyring(2)
	health := `{"status":"ok","edge":{"now":"%s"},"origin":{"status":"ok","signature":"accepted","skew_ms":12}}`
	worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/health" {
			t.Errorf("asked %s", r.URL)
		}
		fmt.Fprintf(w, health, time.Now().UTC().Format(time.RFC3339Nano))
	}))
	defer worker.Close()
	failed := func(s *Syncer, keys []Key, url string) (out []string) {
		for _, f := range s.Doctor(t.Context(), keys, url) {
			if f.OK != (f.Mend == "") || f.Seen == "" {
				t.Errorf("finding %+v", f)
			}
			if !f.OK {
				out = append(out, f.What)
			}
		}
		return out
	}
	s := syncer(t, k)
	check := func(what string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: failed are %q, want %q", what, got, want)
		}
	}
	check("before the first sync", failed(s, keys, worker.URL), "keys in step")
	synced(t, s, keys)
	check("all well", failed(s, keys, worker.URL))
	check("old keys", failed(s, append(keys, Key{ID: "x"}), worker.URL), "keys known to the edge")
	check("no address", failed(s, keys, ""), "worker")
	health = `{"status":"ok","edge":{"now":"%s"},"origin":{"status":"edge_signature"}}`
	check("secrets differ", failed(s, keys, worker.URL), "gateway behind it", "secrets agree")
	health = `{"status":"ok","edge":{"now":"%s"},"origin":{"status":"ok","signature":"accepted","skew_ms":-9000}}`
	check("clocks differ", failed(s, keys, worker.URL), "clocks")
	health = `{"status":"ok %s"}`
	check("not the Worker", failed(s, keys, worker.URL), "worker")
	cfg := k.config()
	cfg.Namespace = "another"
	other, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	check("no such namespace", failed(other, keys, worker.URL)[:1], "account and namespace")
}
