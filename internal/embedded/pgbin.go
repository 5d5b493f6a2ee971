package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
)

// minPostgres is the oldest server the schema runs on: views with
// security_invoker came with 15.
const minPostgres = 15

// ErrNoPostgres says that no usable PostgreSQL binaries were found.
var ErrNoPostgres = errors.New("no PostgreSQL binaries found")

// ErrInUse says that another process owns the folder.
var ErrInUse = errors.New("folder in use")

// Binaries are one installation of PostgreSQL.
type Binaries struct {
	Dir   string // folder of postgres and initdb, symlinks resolved
	Major int
}

func (b Binaries) path(tool string) string { return filepath.Join(b.Dir, tool) }

// FindPostgres looks for postgres and initdb: in setting (a bin folder, when not
// empty: then nowhere else), PATH, and where distributions put them, newest first.
// With major not 0 only that major version will do: a data folder belongs to one.
func FindPostgres(ctx context.Context, setting string, major int) (Binaries, error) {
	if setting != "" {
		b, err := inspectBinaries(ctx, setting)
		if err != nil {
			return Binaries{}, fmt.Errorf("use PostgreSQL binaries in %s: %w", setting, err)
		}
		if major != 0 && b.Major != major {
			return Binaries{}, fmt.Errorf("use PostgreSQL binaries in %s: they are version %d, the data folder needs %d: %w", setting, b.Major, major, ErrNoPostgres)
		}
		return b, nil
	}
	seen := map[string]bool{}
	other := 0
	for _, dir := range candidateDirs() {
		b, err := inspectBinaries(ctx, dir)
		if err != nil || seen[b.Dir] {
			continue
		}
		seen[b.Dir] = true
		if major != 0 && b.Major != major {
			other = b.Major
			continue
		}
		if b.Major >= minPostgres {
			return b, nil
		}
	}
	if other != 0 {
		return Binaries{}, fmt.Errorf("the data folder was made by PostgreSQL %d, only version %d is installed; install %d, or dump and restore: %w", major, other, major, ErrNoPostgres)
	}
	return Binaries{}, fmt.Errorf("%w; %s, or set EDGEPULSE_PG_BIN to the folder of its binaries", ErrNoPostgres, installHint())
}

func candidateDirs() []string {
	var dirs []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if dir != "" {
			dirs = append(dirs, dir)
		}
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",         // Debian, Ubuntu
		"/usr/pgsql-*/bin",                  // RHEL, PGDG packages
		"/usr/libexec/postgresql*",          // Alpine
		"/opt/homebrew/opt/postgresql*/bin", // Homebrew, Apple silicon
		"/usr/local/opt/postgresql*/bin",    // Homebrew, Intel
		"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
		"/usr/local/pgsql/bin", // built from source
	} {
		found, _ := filepath.Glob(pattern) // the patterns are well-formed
		slices.SortFunc(found, func(a, b string) int { return lastNumber(b) - lastNumber(a) })
		dirs = append(dirs, found...)
	}
	return dirs
}

var digits = regexp.MustCompile(`\d+`)

func lastNumber(path string) int {
	all := digits.FindAllString(path, -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(all[len(all)-1])
	return n
}

var versionLine = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// inspectBinaries follows dir/postgres to where it really lies: PATH may hold
// links, and initdb finds its files beside the real one.
func inspectBinaries(ctx context.Context, dir string) (Binaries, error) {
	real, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
	if err != nil {
		return Binaries{}, fmt.Errorf("%w: %w", ErrNoPostgres, err)
	}
	b := Binaries{Dir: filepath.Dir(real)}
	if _, err := os.Stat(b.path("initdb")); err != nil {
		return Binaries{}, fmt.Errorf("%w: %w", ErrNoPostgres, err)
	}
	out, err := exec.CommandContext(ctx, real, "--version").Output()
	if err != nil {
		return Binaries{}, fmt.Errorf("run postgres --version: %w", err)
	}
	m := versionLine.FindSubmatch(bytes.TrimSpace(out))
	if m == nil {
		return Binaries{}, fmt.Errorf("unexpected answer of postgres --version: %q", out)
	}
	b.Major, _ = strconv.Atoi(string(m[1]))
	if b.Major < minPostgres {
		return Binaries{}, fmt.Errorf("version %d is too old, %d or newer is needed: %w", b.Major, minPostgres, ErrNoPostgres)
	}
	return b, nil
}

func installHint() string {
	switch runtime.GOOS {
	case "darwin":
		return "install it with `brew install postgresql@17`"
	case "linux":
		for file, hint := range map[string]string{
			"/etc/debian_version": "install it with `apt-get install postgresql`",
			"/etc/alpine-release": "install it with `apk add postgresql`",
			"/etc/redhat-release": "install it with `dnf install postgresql-server`",
			"/etc/arch-release":   "install it with `pacman -S postgresql`",
		} {
			if _, err := os.Stat(file); err == nil {
				return hint
			}
		}
	}
	return "install PostgreSQL 15 or newer"
}
