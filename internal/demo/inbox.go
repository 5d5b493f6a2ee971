package demo

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/edgepulse/edgepulse/internal/embedded"
)

const (
	inboxKept = 500       // newest messages that are listed
	inboxBody = 256 << 10 // largest message taken
)

// Message is one webhook as it arrived.
type Message struct {
	Verified   bool            `json:"verified"`
	ReceivedAt time.Time       `json:"received_at"`
	WebhookID  string          `json:"webhook_id"`
	Event      json.RawMessage `json:"event"` // the body, byte for byte
}

// Inbox receives webhooks and judges their signatures with the reference library
// of Standard Webhooks, which shares no code with the deliverer. What is not
// signed is counted and thrown away: the address takes requests of anybody.
//
// Messages stand in a file, one JSON line each, before they are answered.
type Inbox struct {
	mu       sync.Mutex
	verify   *standardwebhooks.Webhook // nil until the endpoint is known
	messages []Message                 // oldest first
	refused  int
	path     string
	file     *os.File
	lines    int
}

// OpenInbox reads what an earlier run received.
func OpenInbox(path string) (*Inbox, error) {
	i := &Inbox{path: path}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 2*inboxBody)
	for s.Scan() {
		var m Message
		if json.Unmarshal(s.Bytes(), &m) == nil { // a torn last line was never answered
			i.keep(m)
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read inbox %s: %w", path, err)
	}
	return i, i.rewrite()
}

// Trust sets the secret that messages must be signed with.
func (i *Inbox) Trust(secret string) error {
	v, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return fmt.Errorf("secret of the inbox: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.verify = v
	return nil
}

// Close ends the file.
func (i *Inbox) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.file.Close()
}

// Receive is the webhook's target.
func (i *Inbox) Receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, inboxBody))
	if err != nil {
		http.Error(w, "body too large", http.StatusRequestEntityTooLarge)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.verify == nil || i.verify.Verify(body, r.Header) != nil || !json.Valid(body) {
		i.refused++
		http.Error(w, "signature does not verify", http.StatusUnauthorized)
		return
	}
	m := Message{Verified: true, ReceivedAt: time.Now().UTC(), WebhookID: r.Header.Get(standardwebhooks.HeaderWebhookID), Event: body}
	if err := i.write(m); err != nil {
		http.Error(w, "inbox can't write", http.StatusInternalServerError) // the deliverer tries again
		return
	}
	i.keep(m)
	w.WriteHeader(http.StatusNoContent)
}

// List answers what has arrived, newest first.
func (i *Inbox) List(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	data := make([]Message, 0, len(i.messages))
	for k := len(i.messages) - 1; k >= 0; k-- {
		data = append(data, i.messages[k])
	}
	refused := i.refused
	i.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"data": data, "refused": refused}) // the reader has gone
}

func (i *Inbox) keep(m Message) {
	i.messages = append(i.messages, m)
	if n := len(i.messages); n > inboxKept {
		i.messages = i.messages[n-inboxKept:]
	}
}

// write appends a line; a file that has grown is made anew from what is kept.
func (i *Inbox) write(m Message) error {
	if i.lines >= 4*inboxKept {
		if err := i.file.Close(); err != nil {
			return err
		}
		if err := i.rewrite(); err != nil {
			return err
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	i.lines++
	_, err = i.file.Write(append(b, '\n'))
	return err
}

// rewrite replaces the file by the messages that are kept, and leaves it open.
func (i *Inbox) rewrite() error {
	var out bytes.Buffer
	for _, m := range i.messages {
		b, err := json.Marshal(m)
		if err != nil {
			return fmt.Errorf("encode message: %w", err)
		}
		out.Write(append(b, '\n'))
	}
	if err := embedded.WriteFile(i.path, out.Bytes()); err != nil {
		return fmt.Errorf("write inbox: %w", err)
	}
	f, err := os.OpenFile(i.path, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open inbox: %w", err)
	}
	i.file, i.lines = f, len(i.messages)
	return nil
}
