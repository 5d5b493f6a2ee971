//go:build unix

package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What the data survives is tested in package store, which owns the client.

const childDir = "EDGEPULSE_TEST_POSTGRES_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		p, err := StartPostgres(context.Background(), PostgresOptions{Dir: dir, NoDownload: true})
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println("pid", p.PID())
		select {} // until killed
	}
	os.Exit(m.Run())
}

// pgDir is a fresh folder that the server's user can reach. The folders of
// t.TempDir are closed to others, and tests may run as root.
func pgDir(t *testing.T) string {
	t.Helper()
	if _, err := FindPostgres(t.Context(), os.Getenv("EDGEPULSE_PG_BIN"), 0); err != nil {
		if os.Getenv("EDGEPULSE_TEST_STRICT") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("", "epg")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func startPG(t *testing.T, o PostgresOptions) *Postgres {
	t.Helper()
	o.NoDownload, o.BinDir = true, os.Getenv("EDGEPULSE_PG_BIN")
	begin := time.Now()
	p, err := StartPostgres(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("started in %d ms", time.Since(begin).Milliseconds())
	t.Cleanup(func() {
		select {
		case <-p.Done():
		default:
			_ = p.Stop()
		}
	})
	c, err := net.Dial("unix", filepath.Join(p.socketDir, fmt.Sprintf(".s.PGSQL.%d", p.port())))
	if err != nil {
		t.Fatalf("ready but not reachable: %v", err)
	}
	_ = c.Close()
	return p
}

func gone(t *testing.T, pid int) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for processAlive(pid) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d is still alive", pid)
		}
		time.Sleep(pollEvery)
	}
}

func TestPostgresStopsAndStartsAgain(t *testing.T) {
	dir := pgDir(t)
	p := startPG(t, PostgresOptions{Dir: dir})
	first := p.password
	if err := p.Stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	gone(t, p.PID())
	p = startPG(t, PostgresOptions{Dir: dir})
	if p.password != first {
		t.Fatal("password changed over a restart")
	}
	if os.Geteuid() == 0 {
		var st syscall.Stat_t
		if err := syscall.Stat(fmt.Sprintf("/proc/%d", p.PID()), &st); err == nil && st.Uid == 0 {
			t.Fatal("the server runs as root")
		}
	}
}

func TestPostgresFolderHasOneOwner(t *testing.T) {
	dir := pgDir(t)
	p := startPG(t, PostgresOptions{Dir: dir})
	if _, err := StartPostgres(t.Context(), PostgresOptions{Dir: dir, NoDownload: true}); !errors.Is(err, ErrInUse) {
		t.Fatalf("second start: %v", err)
	}
	if !processAlive(p.PID()) {
		t.Fatal("the second start hurt the first server")
	}
}

func TestPostgresReportsItsDeathAndRecovers(t *testing.T) {
	dir := pgDir(t)
	p := startPG(t, PostgresOptions{Dir: dir})
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if p.Err() == nil {
		t.Fatal("no error after SIGKILL")
	}
	if err := p.Stop(); err == nil {
		t.Fatal("stop of a killed server reports success")
	}
	startPG(t, PostgresOptions{Dir: dir})
}

// A child process starts the server and is killed: the server must follow it,
// and the next start must work at once, orphan or not.
func TestPostgresDiesWithItsParent(t *testing.T) {
	dir := pgDir(t)
	child := exec.Command(os.Args[0], "-test.run=none")
	child.Env = append(os.Environ(), childDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "pid ") {
		t.Fatalf("child said %q, %v", line, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line[4:]))
	if err != nil {
		t.Fatal(err)
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	if runtime.GOOS == "linux" {
		gone(t, pid) // by the parent-death signal alone
	}
	startPG(t, PostgresOptions{Dir: dir}) // stops it where the system does not
	gone(t, pid)
}

// orphan leaves a server running whose lock nobody holds, as a system without
// parent-death signals does.
func TestPostgresStopsAnOrphan(t *testing.T) {
	dir := pgDir(t)
	p := startPG(t, PostgresOptions{Dir: dir})
	p.lock.release()
	q := startPG(t, PostgresOptions{Dir: dir})
	<-p.Done()
	if p.PID() == q.PID() {
		t.Fatal("the orphan was not replaced")
	}
}

func TestPostgresIgnoresAForeignPID(t *testing.T) {
	dir := pgDir(t)
	p := startPG(t, PostgresOptions{Dir: dir})
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	// The files of a crashed server whose process id is now that of another process of
	// the same user.
	other := exec.Command("sleep", "60")
	other.SysProcAttr = toolAttr(p.owner)
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	for _, path := range []string{filepath.Join(p.dataDir(), "postmaster.pid"), filepath.Join(p.socketDir, fmt.Sprintf(".s.PGSQL.%d.lock", p.port()))} {
		stale := fmt.Sprintf("%d\n%s\n0\n%d\n%s\n\n\n\n", other.Process.Pid, p.dataDir(), p.port(), p.socketDir)
		if err := p.owner.writeFile(path, []byte(stale)); err != nil {
			t.Fatal(err)
		}
	}
	startPG(t, PostgresOptions{Dir: dir})
}

func TestPostgresWithAVeryLongPath(t *testing.T) {
	dir := filepath.Join(pgDir(t), strings.Repeat("long", 30))
	p := startPG(t, PostgresOptions{Dir: dir})
	if len(p.socketDir) > maxSocketPath {
		t.Fatalf("socket folder %s is too long", p.socketDir)
	}
	t.Cleanup(func() { _ = os.RemoveAll(p.socketDir) })
}

func TestPostgresNamesTheFolderThatIsClosed(t *testing.T) {
	closed := filepath.Join(pgDir(t), "closed")
	if err := os.MkdirAll(filepath.Join(closed, "pg"), 0o700); err != nil {
		t.Fatal(err)
	}
	other := osUser{drop: true, uid: 1 << 30, gid: 1 << 30, name: "postgres"}
	err := other.checkTraversable(filepath.Join(closed, "pg"))
	if err == nil || !strings.Contains(err.Error(), "chmod o+x "+filepath.Join(closed, "pg")) {
		t.Fatalf("got %v", err)
	}
	if err := os.Chmod(filepath.Join(closed, "pg"), 0o711); err != nil {
		t.Fatal(err)
	}
	err = other.checkTraversable(filepath.Join(closed, "pg"))
	if err == nil || !strings.HasSuffix(strings.Split(err.Error(), "`")[1], "chmod o+x "+closed) {
		t.Fatalf("got %v", err)
	}
	if err := os.Chmod(closed, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := other.checkTraversable(filepath.Join(closed, "pg")); err != nil {
		t.Fatal(err)
	}
}

func TestPostgresRefusesDataOfAnotherVersion(t *testing.T) {
	dir := pgDir(t)
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := StartPostgres(t.Context(), PostgresOptions{Dir: dir, NoDownload: true})
	if !errors.Is(err, ErrNoPostgres) || !strings.Contains(err.Error(), "made by PostgreSQL 9") {
		t.Fatalf("got %v", err)
	}
}

func TestFindPostgresFollowsLinks(t *testing.T) {
	pgDir(t)
	b, err := FindPostgres(t.Context(), os.Getenv("EDGEPULSE_PG_BIN"), 0)
	if err != nil {
		t.Fatal(err)
	}
	links := t.TempDir()
	if err := os.Symlink(b.path("postgres"), filepath.Join(links, "postgres")); err != nil {
		t.Fatal(err)
	}
	got, err := FindPostgres(t.Context(), links, 0)
	if err != nil || got != b {
		t.Fatalf("got %+v, %v; want %+v", got, err, b)
	}
	if _, err := FindPostgres(t.Context(), t.TempDir(), 0); !errors.Is(err, ErrNoPostgres) {
		t.Fatalf("empty folder: %v", err)
	}
}
