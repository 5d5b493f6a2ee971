package embedded

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// socketPort is only part of the socket's file name.
const socketPort = 5432

// maxSocketPath is the length a unix socket's path may have: 107 on Linux, 103 on macOS.
const maxSocketPath = 103

// maxLogBytes is the size at which the log of the server is put aside at start.
const maxLogBytes = 16 << 20

// dataMajor is the major version that made the data folder, 0 where there is none yet.
func dataMajor(dataDir string) (int, error) {
	b, err := os.ReadFile(filepath.Join(dataDir, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read data version: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("read data version: %w", err)
	}
	return n, nil
}

// initialise runs initdb beside the final place, syncs it and renames it: a
// crash in between leaves no half data folder behind.
func (p *Postgres) initialise(ctx context.Context) error {
	if major, err := dataMajor(p.dataDir()); err != nil || major != 0 {
		return err
	}
	if _, err := os.Stat(p.dataDir()); err == nil {
		return fmt.Errorf("%s exists but is no PostgreSQL data folder; move it away", p.dataDir())
	}
	fresh := p.dataDir() + ".init"
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("remove unfinished data folder: %w", err)
	}
	if err := p.owner.mkdir(fresh, 0o700); err != nil {
		return err
	}
	pwfile := filepath.Join(p.opts.Dir, "initdb.password")
	if err := p.owner.writeFile(pwfile, []byte(p.password+"\n")); err != nil {
		return err
	}
	defer func() { _ = os.Remove(pwfile) }()
	if err := p.tool(ctx, "initdb", "-D", fresh, "-U", Superuser, "--pwfile="+pwfile,
		"--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--data-checksums", "--no-sync", "--no-instructions"); err != nil {
		return err
	}
	if err := p.tool(ctx, "initdb", "-D", fresh, "--sync-only"); err != nil {
		return err
	}
	if err := os.Rename(fresh, p.dataDir()); err != nil {
		return fmt.Errorf("put data folder in place: %w", err)
	}
	return syncDir(p.opts.Dir)
}

// tool runs one of PostgreSQL's programs as the server's user.
func (p *Postgres) tool(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, p.bin.path(name), args...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.SysProcAttr = toolAttr(p.owner)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("run %s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// loadPassword takes the password handed in, or the one kept in the folder, or makes one.
func (p *Postgres) loadPassword() (string, error) {
	if p.opts.Password != "" {
		return p.opts.Password, nil
	}
	path := filepath.Join(p.opts.Dir, "password")
	b, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read password: %w", err)
	}
	if major, err := dataMajor(p.dataDir()); err != nil || major != 0 {
		return "", errors.Join(err, fmt.Errorf("%s is missing, but the data folder has a password already: restore the file or hand the password in", path))
	}
	password := rand.Text()
	if err := WriteFile(path, []byte(password+"\n")); err != nil {
		return "", fmt.Errorf("keep password: %w", err)
	}
	return password, nil
}

// makeSocketDir is Dir/run, or a folder with a short name derived from Dir
// where that path would be too long for a socket.
func (p *Postgres) makeSocketDir() (string, error) {
	dir := filepath.Join(p.opts.Dir, "run")
	if len(dir)+len("/.s.PGSQL.65535") > maxSocketPath {
		sum := sha256.Sum256([]byte(p.opts.Dir))
		dir = filepath.Join("/tmp", "edgepulse-pg-"+strconv.Itoa(p.owner.uid)+"-"+hex.EncodeToString(sum[:6]))
	}
	if err := p.owner.mkdir(dir, 0o700); err != nil {
		return "", err
	}
	return dir, nil
}

func (p *Postgres) openLog() (*os.File, error) {
	path := p.LogFile()
	if info, err := os.Stat(path); err == nil && info.Size() > maxLogBytes {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("put old log aside: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open folder: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}
