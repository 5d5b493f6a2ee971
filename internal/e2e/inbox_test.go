package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// inbox receives webhooks and checks them with the independent library.
type inbox struct {
	srv *httptest.Server
	mu  sync.Mutex
	// received counts the arrivals by webhook-id.
	received map[string]int
	events   map[string]string // event_id by webhook-id
	bad      []string
	secret   string
}

func newInbox(t *testing.T) *inbox {
	in := &inbox{received: map[string]int{}, events: map[string]string{}}
	in.srv = httptest.NewServer(http.HandlerFunc(in.take))
	t.Cleanup(in.srv.Close)
	return in
}

func (in *inbox) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	wh, err := standardwebhooks.NewWebhook(strings.TrimPrefix(in.secret, "whsec_"))
	if err == nil {
		err = wh.Verify(body, r.Header)
	}
	var e struct {
		Data struct {
			EventID string `json:"event_id"`
		} `json:"data"`
	}
	if jerr := json.Unmarshal(body, &e); err == nil {
		err = jerr
	}
	id := r.Header.Get("webhook-id")
	if err != nil {
		in.bad = append(in.bad, id+": "+err.Error())
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	in.received[id]++
	in.events[id] = e.Data.EventID
	w.WriteHeader(http.StatusNoContent)
}

func (in *inbox) counts() (distinct, total int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, n := range in.received {
		total += n
	}
	return len(in.received), total
}
