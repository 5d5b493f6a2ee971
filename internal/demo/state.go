package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/edgepulse/edgepulse/internal/embedded"
)

// state is what a later run must know. It holds the inbox's secret: readable by
// its owner only.
type state struct {
	Webhook string `json:"webhook"` // id of the endpoint
	URL     string `json:"url"`     // that it points at
	Secret  string `json:"secret"`

	// The history is sent again under the same keys when a run ended within it.
	HistoryFrom time.Time `json:"history_from"`
	HistoryTo   time.Time `json:"history_to"`
	HistoryDone bool      `json:"history_done"`

	SentTo time.Time `json:"sent_to"` // live points before this are at the service
	Round  int       `json:"round"`   // of anomalies, the next one to begin
}

func loadState(path string) (state, error) {
	var s state
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, fmt.Errorf("read state of the demo %s: %w", path, err)
	}
	return s, nil
}

func (s state) save(path string) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode state of the demo: %w", err)
	}
	if err := embedded.WriteFile(path, append(b, '\n')); err != nil {
		return fmt.Errorf("write state of the demo: %w", err)
	}
	return nil
}
