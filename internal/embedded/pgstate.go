package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// errShmemInUse: backends of a crashed server have not exited yet.
var errShmemInUse = errors.New("shared memory of the previous server is still in use")

// pollEvery is how often files and processes are looked at while waiting.
const pollEvery = 10 * time.Millisecond

// pidFile is what a server writes into postmaster.pid: line 1 its process id,
// line 8 its status (PostgreSQL, miscinit.h: LOCK_FILE_LINE_PM_STATUS).
type pidFile struct {
	pid    int
	status string
}

func readPIDFile(dataDir string) (pidFile, bool) {
	b, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		return pidFile{}, false
	}
	lines := strings.Split(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil {
		return pidFile{}, false
	}
	f := pidFile{pid: pid}
	if len(lines) > 7 {
		f.status = strings.TrimSpace(lines[7])
	}
	return f, true
}

// awaitReady waits until the server says that it takes connections, as pg_ctl does.
func (p *Postgres) awaitReady(ctx context.Context) error {
	mark := p.logSize()
	for {
		if f, ok := readPIDFile(p.dataDir()); ok && f.pid == p.pid && f.status == "ready" {
			return nil
		}
		select {
		case <-p.done:
			tail := p.logTail(mark)
			if strings.Contains(tail, "is still in use") {
				return fmt.Errorf("%w: %s", errShmemInUse, tail)
			}
			return fmt.Errorf("server exited at start (%v): %s", p.exitErr, tail)
		case <-ctx.Done():
			return fmt.Errorf("server is not ready: %w; see %s", ctx.Err(), p.LogFile())
		case <-time.After(pollEvery):
		}
	}
}

// stopOrphan stops a server that still runs in the data folder though its
// parent is gone: the folder lock is ours, so no live parent owns it.
func (p *Postgres) stopOrphan(ctx context.Context) error {
	f, ok := readPIDFile(p.dataDir())
	if !ok || !processAlive(f.pid) {
		return nil // PostgreSQL itself deals with the file of a dead process
	}
	if !isServerOf(f.pid, p.dataDir()) {
		// The number was given to another process since (usual in containers);
		// PostgreSQL would refuse to start because of it.
		if err := os.Remove(filepath.Join(p.dataDir(), "postmaster.pid")); err != nil {
			return fmt.Errorf("remove stale postmaster.pid: %w", err)
		}
		return nil
	}
	p.opts.Logger.Warn("stopping a PostgreSQL that outlived its parent", "pid", f.pid)
	for _, signal := range []shutdownSignal{shutdownFast, shutdownImmediate} {
		if err := signalServer(f.pid, signal); err != nil && processAlive(f.pid) {
			return fmt.Errorf("stop orphaned server %d: %w", f.pid, err)
		}
		if p.awaitGone(ctx, f.pid, 20*time.Second) {
			return nil
		}
	}
	return fmt.Errorf("orphaned server %d does not stop", f.pid)
}

func (p *Postgres) awaitGone(ctx context.Context, pid int, limit time.Duration) bool {
	deadline := time.After(limit)
	for processAlive(pid) {
		select {
		case <-ctx.Done():
			return false
		case <-deadline:
			return false
		case <-time.After(pollEvery):
		}
	}
	return true
}

func (p *Postgres) logSize() int64 {
	info, err := os.Stat(p.LogFile())
	if err != nil {
		return 0
	}
	return info.Size()
}

// logTail is what the server wrote since mark, at most the last 2 KiB.
func (p *Postgres) logTail(mark int64) string {
	b, err := os.ReadFile(p.LogFile())
	if err != nil {
		return ""
	}
	if mark > int64(len(b)) {
		mark = 0
	}
	b = b[mark:]
	if len(b) > 2048 {
		b = b[len(b)-2048:]
	}
	return string(bytes.TrimSpace(b))
}
