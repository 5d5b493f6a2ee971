package embedded

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
)

// rawNATS speaks the client protocol by hand: nats.go belongs to package stream.
type rawNATS struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func dialRaw(t *testing.T, c net.Conn, user, password string) *rawNATS {
	t.Helper()
	n := &rawNATS{t: t, c: c, r: bufio.NewReader(c)}
	t.Cleanup(func() { _ = c.Close() })
	n.line() // INFO
	n.send(`CONNECT {"verbose":false,"headers":true,"user":%q,"pass":%q}`+"\r\nPING\r\n", user, password)
	return n
}

func (n *rawNATS) send(format string, a ...any) {
	n.t.Helper()
	if _, err := fmt.Fprintf(n.c, format, a...); err != nil {
		n.t.Fatal(err)
	}
}

func (n *rawNATS) line() string {
	n.t.Helper()
	_ = n.c.SetReadDeadline(time.Now().Add(10 * time.Second))
	s, err := n.r.ReadString('\n')
	if err != nil {
		n.t.Fatal(err)
	}
	return strings.TrimSpace(s)
}

func (n *rawNATS) expect(want string) {
	n.t.Helper()
	if got := n.line(); got != want {
		n.t.Fatalf("got %q, want %q", got, want)
	}
}

// request answers the payload of the first reply.
func (n *rawNATS) request(subject, body string) map[string]any {
	n.t.Helper()
	n.send("SUB inbox 1\r\nUNSUB 1 1\r\nPUB %s inbox %d\r\n%s\r\n", subject, len(body), body)
	header := n.line()
	if !strings.HasPrefix(header, "MSG inbox 1 ") {
		n.t.Fatalf("unexpected reply %q", header)
	}
	var out map[string]any
	if err := json.Unmarshal([]byte(n.line()), &out); err != nil {
		n.t.Fatal(err)
	}
	return out
}

func startNATS(t *testing.T, o NATSOptions) *NATS {
	t.Helper()
	n, err := StartNATS(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Stop)
	return n
}

func inProcess(t *testing.T, n *NATS) *rawNATS {
	t.Helper()
	c, err := n.InProcessConn()
	if err != nil {
		t.Fatal(err)
	}
	user, password := n.Credentials()
	r := dialRaw(t, c, user, password)
	r.expect("PONG")
	return r
}

func TestNATSKeepsMessagesOverRestart(t *testing.T) {
	dir := t.TempDir()
	n := startNATS(t, NATSOptions{StoreDir: dir})
	if n.ClientURL() != "" {
		t.Fatalf("listens on %s though asked not to", n.ClientURL())
	}
	c := inProcess(t, n)
	if r := c.request("$JS.API.STREAM.CREATE.LOG", `{"name":"LOG","subjects":["log.0"],"storage":"file","retention":"limits"}`); r["error"] != nil {
		t.Fatal(r)
	}
	if r := c.request("log.0", "first"); r["seq"] != 1.0 {
		t.Fatal(r)
	}
	n.Stop()
	n = startNATS(t, NATSOptions{StoreDir: dir})
	if r := inProcess(t, n).request("log.0", "second"); r["seq"] != 2.0 {
		t.Fatalf("message lost: %v", r)
	}
}

func TestNATSSyncsEveryWrite(t *testing.T) {
	n := startNATS(t, NATSOptions{StoreDir: t.TempDir()})
	if !n.SyncAlways() {
		t.Fatal("jetstream runs without sync_interval: always")
	}
	z, err := n.srv.Jsz(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !z.Config.SyncAlways {
		t.Fatalf("jsz reports %+v", z.Config)
	}
	if n.MaxFileStore() <= 0 || z.Config.MaxStore != n.MaxFileStore() {
		t.Fatalf("store budget %d, jsz %d", n.MaxFileStore(), z.Config.MaxStore)
	}
}

func TestNATSOnTCPWantsCredentials(t *testing.T) {
	n := startNATS(t, NATSOptions{StoreDir: t.TempDir(), Port: -1})
	user, password := n.Credentials()
	if user == "" || len(password) < 20 {
		t.Fatalf("weak credentials: user %q, password of %d characters", user, len(password))
	}
	u, err := url.Parse(n.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ password, want string }{
		{password, "PONG"},
		{"wrong", "-ERR 'Authorization Violation'"},
	} {
		conn, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		dialRaw(t, conn, user, c.password).expect(c.want)
	}
	inProcess(t, n)
}

func TestNATSFolderHasOneOwner(t *testing.T) {
	dir := t.TempDir()
	startNATS(t, NATSOptions{StoreDir: dir})
	if _, err := StartNATS(NATSOptions{StoreDir: dir}); !errors.Is(err, ErrInUse) {
		t.Fatalf("second start: %v", err)
	}
}

func TestNATSNamesTheReasonWhenThePortIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, err = StartNATS(NATSOptions{StoreDir: t.TempDir(), Port: l.Addr().(*net.TCPAddr).Port, StartTimeout: time.Second})
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("got %v", err)
	}
}
