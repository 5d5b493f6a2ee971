package main

import (
	"bytes"
	"encoding/base64"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func TestReceiver(t *testing.T) {
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	var out bytes.Buffer
	handler, err := receiver(secret, log.New(&out, "", 0))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	signer, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	post := func(id, signed, sent string) int {
		now := time.Now()
		signature, err := signer.Sign(id, now, []byte(signed))
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest(http.MethodPost, server.URL, strings.NewReader(sent))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("webhook-id", id)
		req.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
		req.Header.Set("webhook-signature", signature)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	body := `{"type":"alert.opened","data":{"rule_name":"hot","device_external_id":"pump-7","metric_name":"temp","severity":"critical","score":0.97}}`
	for range 2 {
		if status := post("a", body, body); status != http.StatusNoContent {
			t.Errorf("status %d", status)
		}
	}
	if status := post("b", body, strings.Replace(body, "pump-7", "pump-8", 1)); status != http.StatusUnauthorized {
		t.Errorf("a changed body answers %d", status)
	}
	if got, want := out.String(), "alert.opened critical pump-7/temp rule=\"hot\" score=0.97 \n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}
