// Command webhook is the smallest receiver of EdgePulse's webhooks: it verifies the
// Standard Webhooks signature and prints a line per alert event.
//
//	go run ./examples/webhook -secret whsec_… -addr 127.0.0.1:9000
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:9000", "address to listen on")
	secret := flag.String("secret", "", "the endpoint's secret, whsec_…, shown when it is created")
	flag.Parse()
	verifier, err := standardwebhooks.NewWebhook(*secret)
	if err != nil {
		log.Fatalf("-secret: %v", err)
	}
	http.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil || verifier.Verify(body, r.Header) != nil {
			http.Error(w, "signature does not verify", http.StatusUnauthorized)
			return
		}
		var event struct {
			Type string `json:"type"`
			Data struct {
				Device      string `json:"device_external_id"`
				Metric      string `json:"metric_name"`
				Label       string `json:"label"`
				Severity    string `json:"severity"`
				Explanation string `json:"explanation"`
			} `json:"data"`
		}
		if err := json.Unmarshal(body, &event); err != nil {
			http.Error(w, "not JSON", http.StatusBadRequest)
			return
		}
		// webhook-id is the same in every attempt: remember it where twice would hurt.
		d := event.Data
		fmt.Printf("%s %s %s/%s %s: %s (%s)\n", event.Type, d.Label, d.Device, d.Metric, d.Severity, d.Explanation, r.Header.Get("webhook-id"))
		w.WriteHeader(http.StatusNoContent)
	})
	log.Fatal(http.ListenAndServe(*addr, nil))
}
