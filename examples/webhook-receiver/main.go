// Command webhook-receiver takes EdgePulse webhooks and prints one line per
// alert. It shows all that a receiver has to do: verify the signature over the
// raw body, drop what it has seen, answer quickly with 2xx.
//
//	WEBHOOK_SECRET=whsec_... go run ./examples/webhook-receiver -listen 127.0.0.1:9090
//
// A local EdgePulse reaches it when its webhook allow-list names the address.
package main

import (
	"encoding/json"
	"flag"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9090", "address to listen on")
	flag.Parse()
	handler, err := receiver(os.Getenv("WEBHOOK_SECRET"), log.Default())
	if err != nil {
		log.Fatalf("WEBHOOK_SECRET: %v", err)
	}
	server := &http.Server{Addr: *listen, Handler: handler, ReadTimeout: 10 * time.Second}
	log.Printf("waiting for webhooks on http://%s/", *listen)
	log.Fatal(server.ListenAndServe())
}

// receiver verifies and prints. A real one would keep the ids it has seen where
// they survive a restart, for at least the three days that retries can last.
func receiver(secret string, out *log.Logger) (http.Handler, error) {
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return nil, err
	}
	seen := newSeen(10_000)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "body too large or cut off", http.StatusBadRequest)
			return
		}
		if err := verifier.Verify(body, r.Header); err != nil {
			http.Error(w, "signature does not verify", http.StatusUnauthorized)
			return
		}
		var event struct {
			Type string `json:"type"`
			Data struct {
				Rule        string  `json:"rule_name"`
				Device      string  `json:"device_external_id"`
				Metric      string  `json:"metric_name"`
				Severity    string  `json:"severity"`
				Score       float64 `json:"score"`
				Explanation string  `json:"explanation"`
			} `json:"data"`
		}
		if err := json.Unmarshal(body, &event); err != nil {
			http.Error(w, "body is no JSON", http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
		if d := event.Data; seen.add(r.Header.Get("webhook-id")) {
			out.Printf("%s %s %s/%s rule=%q score=%.2f %s", event.Type, d.Severity, d.Device, d.Metric, d.Rule, d.Score, d.Explanation)
		}
	}), nil
}
