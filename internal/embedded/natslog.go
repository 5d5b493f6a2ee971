package embedded

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// natsLogger passes warnings and errors of the broker on; the rest is noise.
type natsLogger struct {
	log *slog.Logger

	mu    sync.Mutex
	fatal string
}

func (l *natsLogger) Noticef(string, ...any) {}
func (l *natsLogger) Debugf(string, ...any)  {}
func (l *natsLogger) Tracef(string, ...any)  {}

func (l *natsLogger) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Plaintext passwords detected") {
		return // the password is random, made by us and kept beside the data
	}
	l.log.Warn("nats: " + fmt.Sprintf(format, v...))
}

func (l *natsLogger) Errorf(format string, v ...any) {
	l.remember(fmt.Sprintf(format, v...))
	l.log.Error("nats: " + fmt.Sprintf(format, v...))
}

// Fatalf only records: inside another process the broker may not exit.
func (l *natsLogger) Fatalf(format string, v ...any) {
	l.remember(fmt.Sprintf(format, v...))
	l.log.Error("nats: " + fmt.Sprintf(format, v...))
}

func (l *natsLogger) remember(msg string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatal = msg
}

func (l *natsLogger) lastFatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}
