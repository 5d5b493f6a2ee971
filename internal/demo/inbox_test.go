package demo

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func post(t *testing.T, i *Inbox, w *standardwebhooks.Webhook, id string, body []byte) int {
	t.Helper()
	at := time.Now()
	signature, err := w.Sign(id, at, body)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", InboxPath, bytes.NewReader(body))
	r.Header.Set(standardwebhooks.HeaderWebhookID, id)
	r.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	r.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	rec := httptest.NewRecorder()
	i.Receive(rec, r)
	return rec.Code
}

func list(t *testing.T, i *Inbox) (data []Message, refused int) {
	t.Helper()
	rec := httptest.NewRecorder()
	i.List(rec, nil)
	var out struct {
		Data    []Message `json:"data"`
		Refused int       `json:"refused"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	return out.Data, out.Refused
}

// TestInbox: only what is signed is taken, and what was taken outlives the process.
func TestInbox(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inbox.jsonl")
	i, err := OpenInbox(path)
	if err != nil {
		t.Fatal(err)
	}
	secret := "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	right, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := standardwebhooks.NewWebhookRaw(bytes.Repeat([]byte{8}, 32))
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(`{"type":"alert.opened","data":{"label":"spike"}}`)
	if code := post(t, i, right, "m0", body); code != http.StatusUnauthorized {
		t.Errorf("before the secret is known: %d", code)
	}
	if err := i.Trust(secret); err != nil {
		t.Fatal(err)
	}
	if code := post(t, i, wrong, "m1", body); code != http.StatusUnauthorized {
		t.Errorf("signed by somebody else: %d", code)
	}
	if code := post(t, i, right, "m2", body); code != http.StatusNoContent {
		t.Errorf("signed: %d", code)
	}
	data, refused := list(t, i)
	if len(data) != 1 || refused != 2 || !data[0].Verified || data[0].WebhookID != "m2" || string(data[0].Event) != string(body) {
		t.Errorf("%d refused, %+v", refused, data)
	}

	// The file stays bounded, and the newest messages survive.
	for n := range 5 * inboxKept {
		if code := post(t, i, right, "n"+strconv.Itoa(n), body); code != http.StatusNoContent {
			t.Fatal(code)
		}
	}
	if i.lines > 4*inboxKept {
		t.Errorf("the file has %d lines", i.lines)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenInbox(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	data, _ = list(t, again)
	if len(data) != inboxKept || data[0].WebhookID != "n"+strconv.Itoa(5*inboxKept-1) {
		t.Errorf("after a restart %d messages, the newest %s", len(data), data[0].WebhookID)
	}
}
