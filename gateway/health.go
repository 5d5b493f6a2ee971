package gateway

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// Check says why something is not ready; nil means ready.
type Check func(ctx context.Context) error

type healthAnswer struct {
	Status string            `json:"status"`
	Checks map[string]string `json:"checks,omitempty"`
}

// handleHealth says that the process lives; it asks nobody.
func (s *Server) handleHealth(w http.ResponseWriter, r *http.Request) {
	s.writeJSON(w, r, http.StatusOK, healthAnswer{Status: "ok"})
}

// handleReady asks all checks at once. Reasons go to the log only: the route is public.
func (s *Server) handleReady(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	answer := healthAnswer{Status: "ready", Checks: map[string]string{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for name, check := range s.deps.Ready {
		wg.Go(func() {
			err := check(ctx)
			mu.Lock()
			defer mu.Unlock()
			answer.Checks[name] = "ok"
			if err != nil {
				answer.Checks[name], answer.Status = "failed", "not ready"
				s.logger.Warn("not ready", "check", name, "error", err)
			}
		})
	}
	wg.Wait()
	status := http.StatusOK
	if s.draining.Load() {
		answer.Status = "draining"
	}
	if answer.Status != "ready" {
		status = http.StatusServiceUnavailable
	}
	s.writeJSON(w, r, status, answer)
}
