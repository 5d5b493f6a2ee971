//go:build unix

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// inbox is the receiver of webhooks. It believes nothing that is not signed.
type inbox struct {
	srv *httptest.Server

	mu       sync.Mutex
	verifier *standardwebhooks.Webhook
	byEvent  map[string]map[string]int // requests by event id and webhook-id
	requests int
	refused  []string
}

func newInbox() *inbox {
	in := &inbox{byEvent: map[string]map[string]int{}}
	in.srv = httptest.NewServer(http.HandlerFunc(in.receive))
	return in
}

func (in *inbox) close() { in.srv.Close() }

// trust takes the secret that the service showed once.
func (in *inbox) trust(secret string) error {
	v, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return fmt.Errorf("read webhook secret: %w", err)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.verifier = v
	return nil
}

func (in *inbox) receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "unreadable", http.StatusBadRequest)
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.requests++
	var event struct {
		Data struct {
			EventID string `json:"event_id"`
		} `json:"data"`
	}
	if err := in.verifier.Verify(body, r.Header); err != nil {
		in.refused = append(in.refused, err.Error())
		http.Error(w, "not signed", http.StatusUnauthorized)
		return
	}
	if err := json.Unmarshal(body, &event); err != nil || event.Data.EventID == "" {
		in.refused = append(in.refused, fmt.Sprintf("no event in %q", body))
		http.Error(w, "no event", http.StatusBadRequest)
		return
	}
	ids := in.byEvent[event.Data.EventID]
	if ids == nil {
		ids = map[string]int{}
		in.byEvent[event.Data.EventID] = ids
	}
	ids[r.Header.Get("webhook-id")]++
}

// events is how many different events have come, requests how many requests.
func (in *inbox) count() (events, requests int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.byEvent), in.requests
}
