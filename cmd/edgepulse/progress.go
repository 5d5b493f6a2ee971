package main

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// progress shows count, rate and time left on one line of standard error, when
// that is a terminal.
type progress struct {
	mu    sync.Mutex
	what  string
	total int
	start time.Time
	shown time.Time
	tty   bool
	last  int
}

func newProgress(what string, total int) *progress {
	st, err := os.Stderr.Stat()
	return &progress{what: what, total: total, start: time.Now(), tty: err == nil && st.Mode()&os.ModeCharDevice != 0}
}

// set may be called from several goroutines.
func (p *progress) set(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = max(p.last, n)
	if !p.tty || time.Since(p.shown) < 100*time.Millisecond {
		return
	}
	p.shown = time.Now()
	p.print()
}

func (p *progress) print() {
	spent := time.Since(p.start).Seconds()
	rate := float64(p.last) / max(spent, 1e-3)
	line := fmt.Sprintf("%d %s, %.0f/s", p.last, p.what, rate)
	if p.total > p.last && rate > 0 {
		line += fmt.Sprintf(", %s left", (time.Duration(float64(p.total-p.last)/rate) * time.Second).String())
	}
	fmt.Fprintf(os.Stderr, "\r%-70s", line)
}

func (p *progress) end() {
	if p.tty {
		p.print()
		fmt.Fprintln(os.Stderr)
	}
}
