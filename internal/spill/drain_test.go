package spill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/schemas/edge"
	"github.com/edgepulse/edgepulse/stream"
)

var secret = bytes.Repeat([]byte{7}, 32)

// world is a folder with a spill in it and a gateway that the test scripts.
type world struct {
	t     *testing.T
	blobs stream.Blobs
	drain *Drain
	log   bytes.Buffer

	mu     sync.Mutex
	seen   []string // bodies in the order in which they came
	answer func(edge.Spill) (Answer, error)
	away   error
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, answer: func(edge.Spill) (Answer, error) { return Answer{Status: 202}, nil }}
	var err error
	if w.blobs, err = archive.NewFolder(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	w.open(w.blobs)
	return w
}

func (w *world) open(b stream.Blobs) {
	w.drain = New(b, w, NewMetrics(prometheus.NewRegistry()), slog.New(slog.NewTextHandler(&w.log, nil)))
}

// Ready implements Door.
func (w *world) Ready(context.Context) error { return w.away }

// Put implements Door.
func (w *world) Put(_ context.Context, object []byte) (Answer, error) {
	s, err := edge.DecodeSpill(object)
	if err != nil {
		w.t.Errorf("the gateway gets an object that is none: %v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, string(s.Body))
	return w.answer(s)
}

const minute = 60_000_000

func (w *world) spill(key, body string, at int64) string {
	w.t.Helper()
	s, err := edge.NewSpill(edge.Claim{AcceptedAt: at, RequestID: uuid.NewString(), KeyID: key, IdempotencyKey: body, ContentType: "application/json"}, []byte(body), secret)
	if err != nil {
		w.t.Fatal(err)
	}
	object, err := s.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	name := edge.SpillName(s.Claim, "tenant", true) // names that say nothing about time
	if err := w.blobs.Create(w.t.Context(), name, object); err != nil {
		w.t.Fatal(err)
	}
	return name
}

func (w *world) pass() (Result, error) {
	w.t.Helper()
	w.seen = nil
	return w.drain.Pass(w.t.Context())
}

func (w *world) want(r Result, err error, want Result, failed bool, waiting int) {
	w.t.Helper()
	if r != want || (err != nil) != failed {
		w.t.Errorf("pass %+v %v, want %+v, error %t", r, err, want, failed)
	}
	names, err := w.blobs.List(w.t.Context(), edge.SpillPrefix)
	if err != nil || len(names) != waiting {
		w.t.Errorf("%d wait, want %d, %v", len(names), waiting, err)
	}
}

func TestAKeyNeverOvertakesItself(t *testing.T) {
	w := newWorld(t)
	var want []string
	for i := range 300 { // more than a chunk, over three minutes
		body := fmt.Sprintf("%04d", i)
		want = append(want, body)
		w.spill("one", body, 1795510000_000000+int64(i)*600_000)
	}
	r, err := w.pass()
	w.want(r, err, Result{Taken: 300}, false, 0)
	if !slices.Equal(w.seen, want) {
		t.Errorf("order %v", w.seen)
	}
}

func TestWhatIsRefusedIsMovedAsideAndCanComeBack(t *testing.T) {
	w := newWorld(t)
	name := w.spill("one", "bad", minute)
	w.spill("one", "good", 2*minute)
	if err := w.blobs.Create(t.Context(), edge.SpillPrefix+"garbage", []byte("none of ours")); err != nil {
		t.Fatal(err)
	}
	w.answer = func(s edge.Spill) (Answer, error) {
		if string(s.Body) == "bad" {
			return Answer{Status: 401, Code: "unauthorized", Detail: "why"}, nil
		}
		return Answer{Status: 202, Repeat: true}, nil
	}
	r, err := w.pass()
	w.want(r, err, Result{Repeats: 1, Refused: 2}, false, 0)
	list, err := Refused(t.Context(), w.blobs)
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	i := slices.IndexFunc(list, func(r Refusal) bool { return r.Name == name })
	if i < 0 || list[i].Code != "unauthorized" || list[i].Detail != "why" || list[i].KeyID != "one" || list[1-i].Code != "bad_spill" {
		t.Errorf("refused %+v", list)
	}
	if strings.Contains(w.log.String(), "none of ours") {
		t.Error("the log holds a payload")
	}
	if n, err := Retry(t.Context(), w.blobs); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	w.answer = func(edge.Spill) (Answer, error) { return Answer{Status: 202}, nil }
	r, err = w.pass()
	w.want(r, err, Result{Taken: 1, Refused: 1}, false, 0)
}

func TestAGatewayThatCantAnswerLosesNothing(t *testing.T) {
	for name, answer := range map[string]func(edge.Spill) (Answer, error){
		"away":        func(edge.Spill) (Answer, error) { return Answer{}, errors.New("connection refused") },
		"log full":    func(edge.Spill) (Answer, error) { return Answer{Status: 503, Code: "log_full"}, nil },
		"a bug":       func(edge.Spill) (Answer, error) { return Answer{Status: 500, Code: "internal"}, nil },
		"too slow":    func(edge.Spill) (Answer, error) { return Answer{Status: 408, Code: "body_too_slow"}, nil },
		"no secret":   func(edge.Spill) (Answer, error) { return Answer{Status: 503, Code: "edge_unknown"}, nil },
		"no database": func(edge.Spill) (Answer, error) { return Answer{Status: 503, Code: "keys_unavailable"}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.spill("one", "a", minute)
			w.spill("one", "b", 2*minute)
			w.answer = answer
			r, err := w.pass()
			w.want(r, err, Result{}, true, 2)
		})
	}
}

// unread fails the test when an object is read.
type unread struct {
	stream.Blobs
	t *testing.T
}

func (u unread) Get(_ context.Context, name string) ([]byte, error) {
	u.t.Errorf("%s is read although the gateway is away", name)
	return nil, errors.New("away")
}

func TestAnOutageReadsNothing(t *testing.T) {
	w := newWorld(t)
	w.spill("one", "a", minute)
	w.open(unread{w.blobs, t})
	w.away = errors.New("connection refused")
	r, err := w.pass()
	w.want(r, err, Result{}, true, 1)
}

func TestAQuotaHoldsOneKeyAndNoOther(t *testing.T) {
	w := newWorld(t)
	for _, key := range []string{"slow", "fast"} {
		for i := range 3 {
			w.spill(key, fmt.Sprint(key, i), int64(i+1)*minute)
		}
	}
	w.answer = func(s edge.Spill) (Answer, error) {
		if s.Claim.KeyID == "slow" && string(s.Body) != "slow0" {
			return Answer{Status: 429, Code: "quota_exceeded"}, nil
		}
		return Answer{Status: 202}, nil
	}
	r, err := w.pass()
	w.want(r, err, Result{Taken: 4, Left: 2}, false, 2)
	if slices.Contains(w.seen, "slow2") {
		t.Error("a key has overtaken itself")
	}
}

// forgetful is a store whose deletions fail: what a crash leaves behind.
type forgetful struct{ stream.Blobs }

func (forgetful) Delete(context.Context, string) error { return errors.New("the process is gone") }

func TestACrashBeforeTheDeletionSendsTheSameAgain(t *testing.T) {
	w := newWorld(t)
	w.spill("one", "a", minute)
	w.open(forgetful{w.blobs})
	r, err := w.pass()
	w.want(r, err, Result{}, true, 1)
	w.open(w.blobs)
	w.answer = func(edge.Spill) (Answer, error) { return Answer{Status: 202, Repeat: true}, nil }
	r, err = w.pass()
	w.want(r, err, Result{Repeats: 1}, false, 0)
}

func TestDoorTakesOnlyAGatewaysWord(t *testing.T) {
	var status int
	var body string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "POST" || r.URL.Path != "/v1/edge/spills" || r.Header.Get("X-Api-Key") != "" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	defer srv.Close()
	address := ""
	door := NewGateway(func() string { return address })
	if _, err := door.Put(t.Context(), nil); err == nil {
		t.Error("an answer before the gateway listens")
	}
	address = srv.URL + "/"
	for _, c := range []struct {
		status int
		body   string
		want   Answer
		ok     bool
	}{
		{202, `{"batch_id":"x","accepted":1,"rejected":0,"receipt":"r"}`, Answer{Status: 202}, true},
		{202, `{"batch_id":"x","repeat":true}`, Answer{Status: 202, Repeat: true}, true},
		{202, `{}`, Answer{}, false},
		{202, `accepted`, Answer{}, false},
		{401, `{"code":"unauthorized","detail":"d"}`, Answer{Status: 401, Code: "unauthorized", Detail: "d"}, true},
		{401, `<html>sign in`, Answer{}, false},
		{404, `{"code":"unknown_path"}`, Answer{}, false},
		{502, `bad gateway`, Answer{}, false},
		{301, ``, Answer{}, false},
	} {
		status, body = c.status, c.body
		if got, err := door.Put(t.Context(), []byte("x")); got != c.want || (err == nil) != c.ok {
			t.Errorf("%d %s: %+v, %v", c.status, c.body, got, err)
		}
	}
	for address, ok := range map[string]bool{"http://gateway:8080": true, "https://x/": true, "": false, "gateway:8080": false, "ftp://x": false} {
		if (CheckAddress(address) == nil) != ok {
			t.Errorf("%q: ok is not %t", address, ok)
		}
	}
}
