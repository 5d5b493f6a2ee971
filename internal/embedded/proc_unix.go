//go:build unix

package embedded

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
)

type shutdownSignal = syscall.Signal

// The shutdown modes of PostgreSQL.
const (
	shutdownFast      = syscall.SIGINT
	shutdownImmediate = syscall.SIGQUIT
	shutdownKill      = syscall.SIGKILL
)

func signalServer(pid int, s shutdownSignal) error { return syscall.Kill(pid, s) }

func processAlive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// lockThread keeps the goroutine on its thread.
func lockThread() (unlock func()) {
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}

// osUser is who the server runs as.
type osUser struct {
	drop     bool // this process is root: the child becomes uid:gid
	uid, gid int
	name     string
}

func serverUser() (osUser, error) {
	if uid := os.Geteuid(); uid != 0 {
		return osUser{uid: uid, gid: os.Getegid()}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err := errors.Join(err1, err2); err != nil {
			return osUser{}, fmt.Errorf("read user %s: %w", name, err)
		}
		return osUser{drop: true, uid: uid, gid: gid, name: name}, nil
	}
	return osUser{}, errors.New("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody: create one with `useradd --system postgres`, or run as another user")
}

func (u osUser) credential() *syscall.Credential {
	if !u.drop {
		return nil
	}
	return &syscall.Credential{Uid: uint32(u.uid), Gid: uint32(u.gid)}
}

func toolAttr(u osUser) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: u.credential(), Setpgid: true}
}

// checkTraversable finds a folder on the way to dir that the dropped user may
// not pass, before PostgreSQL fails with a message that names another one.
func (u osUser) checkTraversable(dir string) error {
	if !u.drop {
		return nil
	}
	for d := dir; ; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err != nil {
			return fmt.Errorf("look at folder: %w", err)
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil
		}
		bit := os.FileMode(0o001)
		switch {
		case int(st.Uid) == u.uid:
			bit = 0o100
		case int(st.Gid) == u.gid:
			bit = 0o010
		}
		if info.Mode().Perm()&bit == 0 {
			return fmt.Errorf("this process is root, PostgreSQL would run as user %s, and %s may not pass folder %s: run `chmod o+x %s`, choose another data folder, or run as a user that is not root", u.name, u.name, d, d)
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}

// mkdir makes a folder that belongs to the server's user.
func (u osUser) mkdir(dir string, perm os.FileMode) error {
	if err := os.Mkdir(dir, perm); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("create folder: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("look at folder: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || (int(st.Uid) != u.uid && int(st.Uid) != os.Geteuid()) {
		return fmt.Errorf("%s exists and is not ours", dir)
	}
	if u.drop {
		if err := os.Lchown(dir, u.uid, u.gid); err != nil {
			return fmt.Errorf("give folder to %s: %w", u.name, err)
		}
	}
	return nil
}

// writeFile writes a file that only the server's user can read.
func (u osUser) writeFile(path string, b []byte) error {
	_ = os.Remove(path)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	_, err = f.Write(b)
	if err == nil && u.drop {
		err = f.Chown(u.uid, u.gid)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
