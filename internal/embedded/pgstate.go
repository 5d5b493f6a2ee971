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
	if !ok || !processAlive(f.pid) || !isServerOf(f.pid, p.dataDir()) {
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

// removeStaleLocks removes the lock files of a server that is gone when their number is
// that of another process now, as is usual in containers, or of a dead one whose parent
// has not asked for it yet: PostgreSQL would refuse to start because of them. The folder
// lock is ours and no server of the folder lives.
func (p *Postgres) removeStaleLocks() error {
	locks, err := filepath.Glob(filepath.Join(p.socketDir, ".s.PGSQL.*.lock"))
	if err != nil {
		return fmt.Errorf("list locks of sockets: %w", err)
	}
	for _, path := range append(locks, filepath.Join(p.dataDir(), "postmaster.pid")) {
		pid, ok := lockPID(path)
		if !ok || !processAlive(pid) || isServerOf(pid, p.dataDir()) {
			continue // PostgreSQL itself deals with the file of a dead process
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove stale lock file: %w", err)
		}
	}
	return nil
}

// lockPID is the process that a lock file names.
func lockPID(path string) (int, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	line, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	return pid, err == nil && pid > 0
}

// awaitGone waits until a server of this folder lives no more; a dead one may still be
// listed until its parent asks for it.
func (p *Postgres) awaitGone(ctx context.Context, pid int, limit time.Duration) bool {
	deadline := time.After(limit)
	for processAlive(pid) && isServerOf(pid, p.dataDir()) {
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
